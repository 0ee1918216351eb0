//! An append-only log in segment files: the ground under the spool and the journal.
//!
//! A record is a frame `length u32, CRC-32 u32, sequence number u64, payload`, little-endian; the checksum covers
//! number and payload. A segment is named by its first sequence number. Opening reads every frame once; the first frame
//! that is torn ends its segment, which a new segment then follows, so a torn tail loses only what was never whole.
//! One `write(2)` per call: what was appended survives `kill -9`; what was [`Segments::sync_handle`]d survives a
//! power cut. So does every segment but the last, unless the log is [`Segments::fleeting`].
//!
//! Deliberately missing: a limit on the number of segments; the owner drops the oldest by its own rules.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::Disk;
use crate::durable::{DurableError, create_folder_on};

/// A segment that has grown to this many bytes is followed by a new one.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 20;
/// Largest payload of one record.
pub const RECORD_BYTES_MAX: usize = 4 << 20;

const FRAME_HEADER_LEN: usize = 16;
const EXTENSION: &str = "log";

/// A log.
pub struct Segments {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segments: VecDeque<Segment>,
    tail: Option<Box<dyn Write + Send>>,
    /// Whether the last segment may end in a part of a frame that this process wrote.
    torn: bool,
    next_seq: u64,
    segment_bytes_max: u64,
    is_fleeting: bool,
}

#[derive(Clone, Debug)]
struct Segment {
    first_seq: u64,
    records: u64,
    /// Whole frames only.
    bytes: u64,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// First sequence number of its segment.
    pub segment: u64,
    /// Offset of its frame.
    pub offset: u64,
}

/// A segment that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its first sequence number.
    pub segment: u64,
    /// How many records it held.
    pub records: u64,
    /// Sequence number after its last record.
    pub end_seq: u64,
}

impl Segments {
    /// Opens or begins the log in `folder` and passes every whole record to `visit`, oldest first.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        segment_bytes_max: u64,
        mut visit: impl FnMut(Place, u64, &[u8]),
    ) -> Result<Self, DurableError> {
        let wrap = |source| DurableError::Read { path: folder.to_owned(), source };
        create_folder_on(&*disk, folder)?;
        let names = segment_names(&*disk, folder).map_err(wrap)?;
        let mut log = Self {
            disk,
            folder: folder.to_owned(),
            segments: VecDeque::new(),
            tail: None,
            torn: false,
            next_seq: 1,
            segment_bytes_max,
            is_fleeting: false,
        };
        for first_seq in names {
            let segment = log.scan(first_seq, &mut visit).map_err(wrap)?;
            log.next_seq = log.next_seq.max(first_seq + segment.records);
            log.segments.push_back(segment);
        }
        Ok(log)
    }

    /// The same log of what may be lost with the power: it never waits for the disk.
    #[must_use]
    pub fn fleeting(self) -> Self {
        Self { is_fleeting: true, ..self }
    }

    fn scan(&self, first_seq: u64, visit: &mut impl FnMut(Place, u64, &[u8])) -> io::Result<Segment> {
        let file = self.disk.open(&self.path(first_seq))?.ok_or(io::ErrorKind::NotFound)?;
        let mut reader = BufReader::new(file);
        let mut segment = Segment { first_seq, records: 0, bytes: 0 };
        while let Some((seq, payload)) = read_frame(&mut reader)? {
            if seq != first_seq + segment.records {
                break;
            }
            visit(Place { segment: first_seq, offset: segment.bytes }, seq, &payload);
            segment.records += 1;
            segment.bytes += frame_len(&payload);
        }
        Ok(segment)
    }

    /// Appends a record and returns its sequence number.
    ///
    /// # Errors
    /// It is too large, or the disk refuses it; the log is then as before.
    pub fn append(&mut self, payload: &[u8]) -> Result<u64, DurableError> {
        self.append_all(&[payload])?;
        Ok(self.last_seq())
    }

    /// Appends records one behind the other with a single `write(2)`, and returns their places.
    ///
    /// # Errors
    /// One is too large, or the disk refuses them; the log is then as before.
    pub fn append_all(&mut self, payloads: &[&[u8]]) -> Result<Vec<Place>, DurableError> {
        if let Some(payload) = payloads.iter().find(|payload| payload.len() > RECORD_BYTES_MAX) {
            let why = format!("a record of {} bytes, over {RECORD_BYTES_MAX}", payload.len());
            return Err(self.refuse(io::Error::new(io::ErrorKind::FileTooLarge, why)));
        }
        self.roll_if_full()?;
        match self.write_frames(payloads) {
            Ok(places) => Ok(places),
            Err(source) => {
                // A part of a frame may stand in the file: the next record is written over it.
                (self.tail, self.torn) = (None, true);
                Err(self.refuse(source))
            }
        }
    }

    fn write_frames(&mut self, payloads: &[&[u8]]) -> io::Result<Vec<Place>> {
        let (Some(file), Some(segment)) = (&mut self.tail, self.segments.back_mut()) else {
            return Err(io::Error::other("the log has no open segment"));
        };
        let mut frames =
            Vec::with_capacity(payloads.iter().map(|payload| FRAME_HEADER_LEN + payload.len()).sum());
        let mut places = Vec::with_capacity(payloads.len());
        for (seq, payload) in (self.next_seq..).zip(payloads) {
            places.push(Place { segment: segment.first_seq, offset: segment.bytes + frames.len() as u64 });
            encode_frame(&mut frames, seq, payload);
        }
        file.write_all(&frames)?;
        segment.records += payloads.len() as u64;
        segment.bytes += frames.len() as u64;
        self.next_seq += payloads.len() as u64;
        Ok(places)
    }

    fn refuse(&self, source: io::Error) -> DurableError {
        DurableError::Write { path: self.folder.clone(), source }
    }

    fn roll_if_full(&mut self) -> Result<(), DurableError> {
        let full = self.segments.back().is_none_or(|segment| segment.bytes >= self.segment_bytes_max);
        if self.tail.is_some() && !full {
            return Ok(());
        }
        if let Some(segment) = self.segments.back().filter(|_| self.torn && !full) {
            let path = self.path(segment.first_seq);
            let tail = self.disk.append(&path, segment.bytes);
            self.tail = Some(tail.map_err(|source| DurableError::Write { path, source })?);
            self.torn = false;
            return Ok(());
        }
        if self.tail.take().is_some()
            && !self.is_fleeting
            && let Some(segment) = self.segments.back()
        {
            let path = self.path(segment.first_seq);
            self.disk.sync_file(&path).map_err(|source| DurableError::Write { path, source })?;
        }
        // A last segment without any whole record has the name that the new one needs.
        if self.segments.back().is_some_and(|segment| segment.records == 0) {
            self.segments.pop_back();
        }
        let path = self.path(self.next_seq);
        let opened = self.disk.append(&path, 0);
        self.tail = Some(opened.map_err(|source| DurableError::Write { path, source })?);
        self.torn = false;
        self.segments.push_back(Segment { first_seq: self.next_seq, records: 0, bytes: 0 });
        match self.is_fleeting {
            true => Ok(()),
            false => self.disk.sync_folder(&self.folder).map_err(|source| self.refuse(source)),
        }
    }

    /// What makes every record appended so far durable; none if nothing was appended since the log was opened.
    #[must_use]
    pub fn sync_handle(&self) -> Option<SyncHandle> {
        let segment = self.segments.back().filter(|_| self.tail.is_some())?;
        Some(SyncHandle { disk: Arc::clone(&self.disk), path: self.path(segment.first_seq) })
    }

    /// Passes the records of a segment from `place` on to `visit`, until it has seen enough or one is gone or damaged.
    pub fn scan_from(&self, place: Place, mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) {
        let Ok(Some(mut file)) = self.disk.open(&self.path(place.segment)) else { return };
        if file.seek(SeekFrom::Start(place.offset)).is_err() {
            return;
        }
        let mut reader = BufReader::new(file);
        while let Ok(Some((_, payload))) = read_frame(&mut reader) {
            if visit(&payload).is_break() {
                return;
            }
        }
    }

    /// Up to `records_max` records after `seq`, and no more than `bytes_max` bytes unless the first alone is larger.
    #[must_use]
    pub fn read_after(&self, seq: u64, records_max: usize, bytes_max: usize) -> Vec<(u64, Vec<u8>)> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for segment in self.segments.iter().filter(|segment| segment.first_seq + segment.records > seq + 1) {
            let Ok(Some(file)) = self.disk.open(&self.path(segment.first_seq)) else { continue };
            let mut reader = BufReader::new(file);
            while let Ok(Some((found, payload))) = read_frame(&mut reader) {
                if found <= seq {
                    continue;
                }
                bytes += payload.len();
                if !batch.is_empty() && bytes > bytes_max {
                    return batch;
                }
                batch.push((found, payload));
                if batch.len() >= records_max {
                    return batch;
                }
            }
        }
        batch
    }

    /// Sequence number of the newest record; 0 before the first.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Makes sure that sequence numbers go on after `seq`, even if every record was dropped.
    pub fn skip_to(&mut self, seq: u64) {
        if self.next_seq <= seq {
            self.next_seq = seq + 1;
            self.tail = None;
        }
    }

    /// Bytes on the disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Drops the oldest segment; none if there is no segment but the one being written.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn drop_oldest(&mut self) -> Result<Option<Dropped>, DurableError> {
        if self.segments.len() <= 1 {
            return Ok(None);
        }
        let Some(segment) = self.segments.pop_front() else { return Ok(None) };
        self.remove(&segment)?;
        let Segment { first_seq, records, .. } = segment;
        Ok(Some(Dropped { segment: first_seq, records, end_seq: first_seq + records }))
    }

    /// Removes whole segments whose records are all at most `seq`.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn drop_through(&mut self, seq: u64) -> Result<(), DurableError> {
        while self.segments.len() > 1 && self.segments[0].first_seq + self.segments[0].records <= seq + 1 {
            self.drop_oldest()?;
        }
        Ok(())
    }

    fn remove(&self, segment: &Segment) -> Result<(), DurableError> {
        let path = self.path(segment.first_seq);
        self.disk.remove_file(&path).map_err(|source| DurableError::Write { path, source })
    }

    fn path(&self, first_seq: u64) -> PathBuf {
        self.folder.join(format!("{first_seq:020}.{EXTENSION}"))
    }
}

/// Makes the records of a log durable without holding it.
#[derive(Debug)]
pub struct SyncHandle {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl SyncHandle {
    /// Makes them durable.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sync(&self) -> Result<(), DurableError> {
        match self.disk.sync_file(&self.path) {
            // The segment was dropped meanwhile: nothing of it is to be kept.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced.map_err(|source| DurableError::Write { path: self.path.clone(), source }),
        }
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments")
            .field("folder", &self.folder)
            .field("segments", &self.segments)
            .finish_non_exhaustive()
    }
}

fn segment_names(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<u64>> {
    let ending = format!(".{EXTENSION}");
    let number = |name: String| name.strip_suffix(&ending)?.parse().ok();
    let mut names: Vec<u64> = disk.names(folder)?.into_iter().filter_map(number).collect();
    names.sort_unstable();
    Ok(names)
}

fn frame_len(payload: &[u8]) -> u64 {
    (FRAME_HEADER_LEN + payload.len()) as u64
}

fn encode_frame(frame: &mut Vec<u8>, seq: u64, payload: &[u8]) {
    frame.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&checksum(seq, payload).to_le_bytes());
    frame.extend_from_slice(&seq.to_le_bytes());
    frame.extend_from_slice(payload);
}

fn checksum(seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

/// The next whole frame; none at the end or where it is torn.
fn read_frame(reader: &mut impl Read) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut header = [0; FRAME_HEADER_LEN];
    if !read_whole(reader, &mut header)? {
        return Ok(None);
    }
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (len, sum) = (word(0) as usize, word(4));
    let seq = u64::from(word(8)) | u64::from(word(12)) << 32;
    if len > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut payload = vec![0; len];
    if !read_whole(reader, &mut payload)? || checksum(seq, &payload) != sum {
        return Ok(None);
    }
    Ok(Some((seq, payload)))
}

fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::OsDisk;

    fn open(folder: &Path) -> (Segments, Vec<(u64, Vec<u8>)>) {
        let mut seen = Vec::new();
        let log = Segments::open(Arc::new(OsDisk), folder, 100, |_, seq, payload| {
            seen.push((seq, payload.to_vec()));
        })
        .unwrap();
        (log, seen)
    }

    fn filled(folder: &Path, records: u8) -> Segments {
        let (mut log, _) = open(folder);
        for n in 0..records {
            log.append(&[n; 20]).unwrap();
        }
        log
    }

    #[test]
    fn records_come_back_in_order_over_segments() {
        let folder = tempfile::tempdir().unwrap();
        let log = filled(folder.path(), 30);
        assert!(log.segments.len() > 5);
        let (mut again, seen) = open(folder.path());
        assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
        assert_eq!(again.append(b"next").unwrap(), 31);
        let batch = again.read_after(28, 10, 1000);
        assert_eq!(batch.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [29, 30, 31]);
        assert_eq!(again.read_after(0, 10, 45).len(), 2);
    }

    #[test]
    fn a_tail_torn_at_any_byte_loses_only_the_torn_record() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open(folder.path());
        log.append(b"kept").unwrap();
        log.append(b"torn").unwrap();
        let path = log.path(1);
        let whole = fs::read(&path).unwrap();
        let first = frame_len(b"kept") as usize;
        for cut in first..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut again, seen) = open(folder.path());
            assert_eq!(seen, [(1, b"kept".to_vec())], "cut at {cut}");
            assert_eq!(again.append(b"new").unwrap(), 2);
            let (_, seen) = open(folder.path());
            assert_eq!(seen, [(1, b"kept".to_vec()), (2, b"new".to_vec())], "cut at {cut}");
            fs::remove_file(folder.path().join(format!("{:020}.log", 2))).unwrap();
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_and_what_follows_survives() {
        let folder = tempfile::tempdir().unwrap();
        let log = filled(folder.path(), 9);
        let path = log.path(1);
        let mut bytes = fs::read(&path).unwrap();
        bytes[FRAME_HEADER_LEN + 3] ^= 1;
        fs::write(&path, bytes).unwrap();
        let (_, seen) = open(folder.path());
        assert_eq!(seen.first().map(|(seq, _)| *seq), Some(4));
        assert_eq!(seen.last().map(|(seq, _)| *seq), Some(9));
    }

    #[test]
    fn dropping_is_by_whole_segments() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = filled(folder.path(), 9);
        log.drop_through(4).unwrap();
        assert_eq!(log.read_after(0, 1, 1000)[0].0, 4);
        let dropped = log.drop_oldest().unwrap().unwrap();
        assert_eq!((dropped.segment, dropped.records, dropped.end_seq), (4, 3, 7));
        assert_eq!(log.drop_oldest().unwrap(), None);
        assert_eq!(log.read_after(0, 1, 1000)[0].0, 7);
    }

    #[test]
    fn numbers_go_on_after_everything_was_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open(folder.path());
        log.skip_to(41);
        assert_eq!(log.append(b"x").unwrap(), 42);
        assert!(log.append(&vec![0; RECORD_BYTES_MAX + 1]).is_err());
    }
}
