//! What an app keeps of its answers until the agent takes it: alarms, and inputs whose label came.

use std::collections::VecDeque;

use edgeward_monitor::Alarm;

/// Most alarms kept; further ones are counted only, since a monitor in alarm says little new.
pub(crate) const ALARMS_KEPT_MAX: usize = 64;
/// Most labelled inputs kept; the oldest go first.
pub(crate) const LABELLED_KEPT_MAX: usize = 1024;
/// Most values of labelled inputs kept, all together.
pub(crate) const LABELLED_VALUES_MAX: usize = 512 << 10;

/// An input whose label came.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelledInput {
    /// The input's values; empty if they are too many to be kept.
    pub values: Vec<f32>,
    /// What was predicted.
    pub predicted: String,
    /// The truth.
    pub truth: String,
    /// What is impossible about the input or the label.
    pub suspicion: Option<String>,
}

/// Both, up to their limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Alarms in the order in which they came.
    pub alarms: Vec<Alarm>,
    /// Labelled inputs in the order in which their labels came.
    pub labelled: VecDeque<LabelledInput>,
    /// How many of either were not kept.
    pub dropped: u64,
    /// Values of all labelled inputs.
    values: usize,
}

impl Kept {
    pub(crate) fn alarm(&mut self, alarm: &Alarm) {
        match self.alarms.len() < ALARMS_KEPT_MAX {
            true => self.alarms.push(alarm.clone()),
            false => self.dropped += 1,
        }
    }

    pub(crate) fn label(&mut self, input: LabelledInput) {
        self.values += input.values.len();
        self.labelled.push_back(input);
        while self.labelled.len() > LABELLED_KEPT_MAX || self.values > LABELLED_VALUES_MAX {
            let Some(oldest) = self.labelled.pop_front() else { return };
            self.values -= oldest.values.len();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(values: usize) -> LabelledInput {
        let [predicted, truth] = ["a", "b"].map(str::to_owned);
        LabelledInput { values: vec![0.0; values], predicted, truth, suspicion: None }
    }

    fn check(inputs: usize, values: usize, expect: (usize, u64)) {
        let mut kept = Kept::default();
        (0..inputs).for_each(|_| kept.label(input(values)));
        assert_eq!((kept.labelled.len(), kept.dropped), expect);
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        check(LABELLED_KEPT_MAX, 1, (LABELLED_KEPT_MAX, 0));
        check(LABELLED_KEPT_MAX + 3, 1, (LABELLED_KEPT_MAX, 3));
        check(3, LABELLED_VALUES_MAX / 2, (2, 1));
        check(1, LABELLED_VALUES_MAX + 1, (0, 1));
    }
}
