//! One observed prediction, borrowed from whoever made it.

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
