//! Many rows at once: the same alarms, bit by bit, at several times the speed.
//!
//! A block is worked through one stream after the other, so that a stream's table and statistics stay in
//! registers and the nearest cache. If the evidence passes the threshold within a block, the detector goes back
//! to the block's start and takes only the rows up to there. Deliberately missing: threads.

use crate::alarm::Alarm;
use crate::monitor::Monitor;
use crate::reference::{StreamKind, class_cell};
use crate::sample::Rows;

/// Rows of a block: enough to amortise a stream's change-over, few enough for the nearest cache.
const BLOCK_ROWS: usize = 64;

impl Monitor {
    /// Counts and judges rows, oldest first: the alarms, and the state afterwards, are those of calling
    /// [`Monitor::observe`] with each.
    pub fn observe_rows(&mut self, rows: &Rows<'_>) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for start in (0..rows.len()).step_by(BLOCK_ROWS) {
            let end = rows.len().min(start + BLOCK_ROWS);
            if self.profile.begin_block(end - start) {
                self.observe_block(rows, start, end, &mut alarms);
            } else {
                (start..end).for_each(|row| alarms.extend(self.observe(&rows.sample(row))));
            }
        }
        alarms
    }

    fn observe_block(&mut self, rows: &Rows<'_>, start: usize, end: usize, alarms: &mut Vec<Alarm>) {
        let first = alarms.len();
        self.block.resize(self.reference.streams.len(), end - start);
        for stream in 0..self.reference.streams.len() {
            self.place_stream(rows, start, stream, alarms);
        }
        let mut from = 0;
        while let Some((row, detection)) = self.detector.observe_block(&self.block, from) {
            self.raise_drift(&detection, self.samples + row as u64 + 1, alarms);
            from = row + 1;
        }
        self.samples += (end - start) as u64;
        alarms[first..].sort_by_key(|alarm| alarm.sample);
    }

    /// Places one stream's values of a block, counts them and checks those outside the support.
    fn place_stream(&mut self, rows: &Rows<'_>, start: usize, stream: usize, alarms: &mut Vec<Alarm>) {
        let Self { reference, profile, block, watch, samples, detector, .. } = self;
        let cells = block.stream_mut(stream);
        let described = &reference.streams[stream];
        let mut values = [f32::NAN; BLOCK_ROWS];
        let values = &mut values[..cells.len()];
        match &described.kind {
            StreamKind::Numeric(numeric) => {
                reference.values(rows, start, stream, values);
                numeric.bins.cells_of(values, cells);
            }
            StreamKind::Categories(categories) => {
                reference.values(rows, start, stream, values);
                cells
                    .iter_mut()
                    .zip(&*values)
                    .for_each(|(cell, value)| *cell = categories.cell(*value) as u32);
            }
            StreamKind::Categorical { classes } => {
                for (row, cell) in cells.iter_mut().enumerate() {
                    *cell = class_cell(rows.sample(start + row).predicted, classes.len()) as u32;
                }
            }
        }
        profile.count_block(stream, cells, values);
        for (row, cell) in cells.iter_mut().enumerate() {
            let raw = *cell as usize;
            let (judged, surprise) = detector.whiten(described, stream, raw, values[row]);
            *cell = judged;
            if described.is_odd(raw, judged) {
                let judged =
                    watch.judge(reference, stream, (values[row], surprise), *samples + row as u64 + 1);
                alarms.extend(judged);
            }
        }
    }
}
