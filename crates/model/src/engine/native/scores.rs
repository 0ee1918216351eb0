//! From summed leaves to scores and a class.
//!
//! The formulas are ONNX Runtime's, which is what people compare with: the probit by Winitzki's approximation of the
//! inverse error function, a "zero" softmax that leaves zeros alone, and the rules for two classes in [`Classes`].

use super::KernelError;

/// What becomes of the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl Transform {
    pub(super) fn parse(text: Option<&[u8]>) -> Result<Self, KernelError> {
        Ok(match text.unwrap_or(b"NONE") {
            b"NONE" => Self::None,
            b"SOFTMAX" => Self::Softmax,
            b"LOGISTIC" => Self::Logistic,
            b"SOFTMAX_ZERO" => Self::SoftmaxZero,
            b"PROBIT" => Self::Probit,
            other => {
                let name = String::from_utf8_lossy(other);
                return Err(KernelError::unsupported(format!("has the unknown post_transform '{name}'")));
            }
        })
    }

    /// Transforms one row of two scores or more in place.
    pub(super) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Softmax => softmax(scores),
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }

    /// Transforms a regression's only score: of all transforms only the probit has effect there.
    pub(super) fn apply_single(self, score: f32) -> f32 {
        if self == Self::Probit { probit(score) } else { score }
    }
}

fn softmax(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - greatest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn softmax_zero(scores: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::MIN, f32::max);
    let shrink = (-greatest).exp();
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        if score.abs() > 1e-7 {
            *score = (*score - greatest).exp();
            sum += *score;
        } else {
            *score *= shrink;
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

fn logistic(value: f32) -> f32 {
    let positive = 1.0 / (1.0 + (-value.abs()).exp());
    if value < 0.0 { 1.0 - positive } else { positive }
}

fn probit(value: f32) -> f32 {
    std::f32::consts::SQRT_2 * inverse_erf(2.0 * value - 1.0)
}

fn inverse_erf(value: f32) -> f32 {
    let sign = if value < 0.0 { -1.0 } else { 1.0 };
    let log = ((1.0 - value) * (1.0 + value)).ln();
    let half = 2.0 / (std::f32::consts::PI * 0.147) + 0.5 * log;
    sign * (-half + (half * half - log / 0.147).sqrt()).sqrt()
}

/// How a classifier's sums become scores and a class.
pub(super) struct Classes {
    pub(super) transform: Transform,
    pub(super) base_values: Vec<f32>,
    /// Every weight is for one and the same class, of two.
    pub(super) single_weight: bool,
    pub(super) all_positive: bool,
}

/// The class of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The class of this index.
    Index(usize),
    /// The label is this number, whatever the labels are; with texts, the class of this index.
    Number(usize),
}

impl Classes {
    /// Turns one row's sums into scores. `seen` says which classes any leaf spoke of.
    pub(super) fn finish(&self, scores: &mut [f32], seen: &mut [bool]) -> Class {
        match scores.len() {
            1 => self.finish_one(scores),
            2 => self.finish_two(scores, seen),
            _ => {
                for ((score, seen), base) in scores.iter_mut().zip(&mut *seen).zip(&self.base_values) {
                    *score += base;
                    *seen = true;
                }
                let class = greatest(scores, seen);
                self.transform.apply(scores);
                Class::Index(class)
            }
        }
    }

    /// A single class: its score stays as it is, unless it is the probit.
    fn finish_one(&self, scores: &mut [f32]) -> Class {
        if let [base] = self.base_values[..] {
            scores[0] += base;
        }
        let class = Class::Number(usize::from(scores[0] > 0.0));
        scores[0] = self.transform.apply_single(scores[0]);
        class
    }

    /// Two classes. Where leaves speak of both, the label is 1 if the second score is positive, whatever the labels are
    /// (ONNX Runtime). Where they speak of one, its score is that of the second class.
    /// A class that no leaf spoke of has the score 0, base value or not.
    fn finish_two(&self, scores: &mut [f32], seen: &[bool]) -> Class {
        let mut single = !seen[1];
        match self.base_values[..] {
            [_, second] if seen[1] => {
                scores[1] = second + scores[0];
                scores[0] = -scores[1];
            }
            [first, second] => {
                scores[1] += second;
                scores[0] += first;
                single = false;
            }
            [only] => scores[0] += only,
            _ => {}
        }
        let positive = if seen[1] { scores[1] } else { scores[0] };
        let (class, second) = self.decide(positive);
        if single {
            self.spread(scores, second);
        } else {
            forget_unseen(scores, seen);
            self.transform.apply(scores);
        }
        class
    }

    /// The class, and how the score of one class becomes two.
    fn decide(&self, positive: f32) -> (Class, Spread) {
        if !self.single_weight {
            let spread = if self.base_values.is_empty() { Spread::Opposite } else { Spread::Alone };
            return (Class::Number(usize::from(positive > 0.0)), spread);
        }
        if self.all_positive {
            return (Class::Index(usize::from(positive > 0.5)), Spread::Complement);
        }
        (Class::Index(usize::from(positive > 0.0)), Spread::Opposite)
    }

    fn spread(&self, scores: &mut [f32], spread: Spread) {
        let score = scores[0];
        let pair = match (self.transform, spread) {
            (Transform::Probit, _) => [probit(score), 0.0],
            (_, Spread::Complement) => [1.0 - score, score],
            (_, Spread::Alone) => [score, 0.0],
            (Transform::Logistic, _) => [logistic(-score), logistic(score)],
            (_, Spread::Opposite) => [-score, score],
        };
        scores.copy_from_slice(&pair);
    }
}

/// Outputs that no leaf spoke of are 0, whatever was added to them.
pub(super) fn forget_unseen(scores: &mut [f32], seen: &[bool]) {
    for (score, _) in scores.iter_mut().zip(seen).filter(|(_, seen)| !**seen) {
        *score = 0.0;
    }
}

#[derive(Clone, Copy)]
enum Spread {
    /// Weights that are shares: the other class has the rest.
    Complement,
    /// Weights of both signs: the other class has the opposite.
    Opposite,
    /// The second score is not computed.
    Alone,
}

/// The first class of the greatest score among those seen; 0 if none was.
fn greatest(scores: &[f32], seen: &[bool]) -> usize {
    let mut best: Option<usize> = None;
    for class in (0..scores.len()).filter(|&class| seen[class]) {
        if best.is_none_or(|best| scores[class] > scores[best]) {
            best = Some(class);
        }
    }
    best.unwrap_or(0)
}
