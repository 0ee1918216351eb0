//! Well-known detectors for those who compare: ADWIN, DDM and Page-Hinkley, step by step as the Python package
//! `river` has them, its defaults included. No false-alarm budget follows from their parameters, and all but
//! DDM depend on the unit of what they watch; [`crate::Detector`] has neither fault.
//!
//! Each forgets everything on the step after an alarm. Deliberately missing: river's other detectors, warnings
//! apart from DDM's, and restarts from bytes.

use std::collections::VecDeque;

/// Adaptive windowing: A. Bifet and R. Gavaldà, SIAM Data Mining (2007). Alarms when two parts of the window have
/// means that differ by more than chance allows at confidence `delta`.
#[derive(Debug, Clone, PartialEq)]
pub struct Adwin {
    delta: f64,
    window: Window,
    steps: u64,
    alarmed: bool,
}

/// Steps between searches for a cut.
const CLOCK: u64 = 32;
/// Buckets of one size; one more, and the two oldest become one of twice the size.
const BUCKETS_MAX: usize = 5;
/// Windows up to this width are not searched.
const GRACE: f64 = 10.0;
/// Shortest part of the window that counts.
const PART_MIN: f64 = 5.0;

/// An exponential histogram of the latest values.
#[derive(Debug, Clone, Default, PartialEq)]
struct Window {
    /// Row `i` holds sums and sums of squared deviations of `2^i` values each, oldest first.
    rows: Vec<VecDeque<(f64, f64)>>,
    width: f64,
    total: f64,
    deviations: f64,
}

impl Default for Adwin {
    fn default() -> Self {
        Self::new(0.002)
    }
}

impl Adwin {
    /// A detector of confidence `delta`, between 0 and 1.
    #[must_use]
    pub fn new(delta: f64) -> Self {
        Self { delta, window: Window::default(), steps: 0, alarmed: false }
    }

    /// Takes one value; whether the mean changed.
    pub fn observe(&mut self, value: f64) -> bool {
        if self.alarmed {
            *self = Self::new(self.delta);
        }
        self.window.push(value);
        self.steps += 1;
        if self.steps.is_multiple_of(CLOCK) && self.window.width > GRACE {
            while self.window.has_cut(self.delta) {
                self.window.forget_oldest();
                self.alarmed = true;
            }
        }
        self.alarmed
    }

    /// Values that the window holds.
    #[must_use]
    pub const fn width(&self) -> u64 {
        self.window.width as u64
    }

    /// Mean of the window; 0 before the first value.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.window.width > 0.0 { self.window.total / self.window.width } else { 0.0 }
    }
}

/// What two groups of values add to each other's squared deviations.
fn between(n: f64, mean: f64, other_n: f64, other_mean: f64) -> f64 {
    n * other_n * (mean - other_mean) * (mean - other_mean) / (n + other_n)
}

impl Window {
    fn push(&mut self, value: f64) {
        if self.width > 0.0 {
            let shift = value - self.total / self.width;
            self.deviations += self.width * shift * shift / (self.width + 1.0);
        }
        self.width += 1.0;
        self.total += value;
        self.insert(0, (value, 0.0));
    }

    /// Adds a bucket to a row, and merges the row's two oldest into the next while there are too many.
    fn insert(&mut self, row: usize, bucket: (f64, f64)) {
        if row == self.rows.len() {
            self.rows.push(VecDeque::new());
        }
        self.rows[row].push_back(bucket);
        if self.rows[row].len() > BUCKETS_MAX
            && let Some(first) = self.rows[row].pop_front()
            && let Some(second) = self.rows[row].pop_front()
        {
            let size = 2f64.powi(row as i32);
            let apart = between(size, first.0 / size, size, second.0 / size);
            self.insert(row + 1, (first.0 + second.0, first.1 + second.1 + apart));
        }
    }

    fn forget_oldest(&mut self) {
        let Some(last) = self.rows.len().checked_sub(1) else { return };
        let Some((total, deviations)) = self.rows[last].pop_front() else { return };
        let size = 2f64.powi(last as i32);
        self.width -= size;
        self.total -= total;
        self.deviations -= deviations + between(size, total / size, self.width, self.total / self.width);
        if self.rows[last].is_empty() {
            self.rows.pop();
        }
    }

    /// Whether some cut between buckets parts two means.
    fn has_cut(&self, delta: f64) -> bool {
        let (mut old, mut old_total) = (0.0, 0.0);
        for (row, buckets) in self.rows.iter().enumerate().rev() {
            for (total, _) in buckets {
                old += 2f64.powi(row as i32);
                old_total += total;
                let (new, new_total) = (self.width - old, self.total - old_total);
                let apart = (old_total / old - new_total / new).abs();
                if old >= PART_MIN && new >= PART_MIN && apart > self.by_chance(old, new, delta) {
                    return true;
                }
            }
        }
        false
    }

    /// Difference of means that chance explains, theorem 3.2 of the paper with parts counted from their least.
    fn by_chance(&self, old: f64, new: f64, delta: f64) -> f64 {
        let confidence = (2.0 * self.width.ln() / delta).ln();
        let parts = 1.0 / (old - PART_MIN + 1.0) + 1.0 / (new - PART_MIN + 1.0);
        (2.0 * parts * self.deviations / self.width * confidence).sqrt() + 2.0 / 3.0 * confidence * parts
    }
}

/// What [`Ddm`] thinks of the error rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdmState {
    /// As good as it ever was.
    Stable,
    /// Two deviations above its best.
    Warning,
    /// Three deviations above its best.
    Drift,
}

/// Drift detection method: J. Gama et al., SBIA (2004). Alarms when the error rate rises above its lowest.
#[derive(Debug, Clone, PartialEq)]
pub struct Ddm {
    n: f64,
    rate: f64,
    /// Rate and deviation where their sum was least.
    best: Option<(f64, f64)>,
    state: DdmState,
}

const DDM_WARM_UP: f64 = 30.0;
const DDM_WARNING: f64 = 2.0;
const DDM_DRIFT: f64 = 3.0;

impl Default for Ddm {
    fn default() -> Self {
        Self { n: 0.0, rate: 0.0, best: None, state: DdmState::Stable }
    }
}

impl Ddm {
    /// Takes one outcome: whether the prediction was wrong.
    pub fn observe(&mut self, wrong: bool) -> DdmState {
        if self.state == DdmState::Drift {
            *self = Self::default();
        }
        self.n += 1.0;
        self.rate += (f64::from(u8::from(wrong)) - self.rate) / self.n;
        if self.n > DDM_WARM_UP {
            self.judge((self.rate * (1.0 - self.rate) / self.n).sqrt());
        }
        self.state
    }

    fn judge(&mut self, deviation: f64) {
        let level = self.rate + deviation;
        let best = match self.best {
            Some(best) if level > best.0 + best.1 => best,
            _ => (self.rate, deviation),
        };
        self.best = Some(best);
        self.state = if level > best.0 + DDM_DRIFT * best.1 {
            DdmState::Drift
        } else if level > best.0 + DDM_WARNING * best.1 {
            DdmState::Warning
        } else {
            DdmState::Stable
        };
    }
}

/// Page's test for a changed mean, both sides: E. Page, Biometrika 41 (1954); D. Hinkley (1971).
#[derive(Debug, Clone, PartialEq)]
pub struct PageHinkley {
    threshold: f64,
    tolerance: f64,
    n: u64,
    mean: f64,
    rise: f64,
    lowest_rise: f64,
    fall: f64,
    highest_fall: f64,
    alarmed: bool,
}

const PAGE_WARM_UP: u64 = 30;
const PAGE_FORGETTING: f64 = 1.0 - 0.0001;

impl Default for PageHinkley {
    fn default() -> Self {
        Self::new(50.0, 0.005)
    }
}

impl PageHinkley {
    /// Alarms when deviations beyond `tolerance` sum to more than `threshold`, both in the unit of the values.
    #[must_use]
    pub const fn new(threshold: f64, tolerance: f64) -> Self {
        Self {
            threshold,
            tolerance,
            n: 0,
            mean: 0.0,
            rise: 0.0,
            lowest_rise: f64::INFINITY,
            fall: 0.0,
            highest_fall: -1.0,
            alarmed: false,
        }
    }

    /// Takes one value; whether the mean changed.
    pub fn observe(&mut self, value: f64) -> bool {
        if self.alarmed {
            *self = Self::new(self.threshold, self.tolerance);
        }
        self.n += 1;
        self.mean += (value - self.mean) / self.n as f64;
        let deviation = value - self.mean;
        self.rise = PAGE_FORGETTING * self.rise + deviation - self.tolerance;
        self.fall = PAGE_FORGETTING * self.fall + deviation + self.tolerance;
        self.lowest_rise = self.lowest_rise.min(self.rise);
        self.highest_fall = self.highest_fall.max(self.fall);
        let largest = (self.rise - self.lowest_rise).max(self.highest_fall - self.fall);
        self.alarmed = self.n >= PAGE_WARM_UP && largest > self.threshold;
        self.alarmed
    }
}
