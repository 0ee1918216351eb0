//! Observed predictions, borrowed from whoever made them.

/// A value that is not there. Any NaN counts as missing; this one, which arithmetic never makes, tells that nothing was
/// given from a number that is none.
pub const MISSING_VALUE: f32 = f32::from_bits(0x7fc0_0001);
/// A value of another type than the feature has, as a text where a number is due; it counts as missing, too.
pub const WRONG_TYPE_VALUE: f32 = f32::from_bits(0x7fc0_0002);

/// A category that a feature's reference does not name; unlike other NaN it is not missing.
pub const UNSEEN_VALUE: f32 = f32::from_bits(0x7fc0_0003);

/// What is known about one prediction at the time it is made.
///
/// `features` holds one value per reference feature; NaN is a missing value. A shorter slice counts the rest
/// as missing, extra values are ignored: shape errors are reported where requests are validated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Input values in the order of the reference's feature names.
    pub features: &'a [f32],
    /// Index of the predicted class; `None` for models that do not classify.
    pub predicted: Option<u32>,
    /// Probability the model gave its prediction, 0 to 1.
    pub confidence: Option<f32>,
}

/// Many predictions at once, the features of one after those of the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    /// Input values, `width` to a row; a last row that is too short is ignored.
    pub features: &'a [f32],
    /// Features per row; without features nothing can tell how many rows there are.
    pub width: usize,
    /// Predicted class of each row; rows beyond its end have none.
    pub predicted: &'a [Option<u32>],
    /// Confidence of each row, NaN for none; rows beyond its end have none.
    pub confidence: &'a [f32],
}

impl<'a> Rows<'a> {
    /// Rows of features alone.
    #[must_use]
    pub const fn of_features(features: &'a [f32], width: usize) -> Self {
        Self { features, width, predicted: &[], confidence: &[] }
    }

    /// Number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.features.len().checked_div(self.width) {
            Some(rows) => rows,
            None => 0,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of the rows; beyond the last, a sample of nothing.
    #[must_use]
    pub fn sample(&self, row: usize) -> Sample<'a> {
        let features = self.features.get(row * self.width..(row + 1) * self.width);
        Sample {
            features: features.unwrap_or_default(),
            predicted: self.predicted.get(row).copied().flatten(),
            confidence: self.confidence.get(row).copied().filter(|confidence| !confidence.is_nan()),
        }
    }
}
