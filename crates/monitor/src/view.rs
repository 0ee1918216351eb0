//! What a monitor sees of a request: its columns as they come, or an image's or a sound's summary in their place; and how
//! far its embedding lies from what the model learned from.
//!
//! The one place that turns values into a reference's features, so that what a reference is fitted on and what a device
//! watches are made alike. Bounded in cost per row: summaries look at parts of large inputs, and [`Neighbours`] hold a
//! bounded number of values. Deliberately missing: tensors, names of outputs, and batches, which are the callers'.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::neighbours::Neighbours;
use crate::sample::MISSING_VALUE;
use crate::summary::{AUDIO_FEATURES, IMAGE_FEATURES, ImageLayout, audio, image};

/// Name of the feature that says how far a row's embedding lies from those the model learned from.
pub const EMBEDDING_DISTANCE: &str = "embedding.distance";

/// How the values of one input row are watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InputView {
    /// Each as a feature of its own.
    #[default]
    Columns,
    /// By the summary of the image they are.
    Image(ImageLayout),
    /// By the summary of the sound they are.
    Audio {
        /// Samples per second.
        sample_rate: f32,
    },
}

impl InputView {
    /// Whether it watches values as they come.
    #[must_use]
    pub const fn is_columns(&self) -> bool {
        matches!(self, Self::Columns)
    }

    fn names(&self, columns: &[String]) -> Vec<String> {
        let prefixed =
            |kind: &str, names: &[&str]| names.iter().map(|name| format!("{kind}.{name}")).collect();
        match self {
            Self::Columns => columns.to_vec(),
            Self::Image(_) => prefixed("image", &IMAGE_FEATURES),
            Self::Audio { .. } => prefixed("audio", &AUDIO_FEATURES),
        }
    }

    /// The features of one row; all missing if it is no such input.
    fn features<'a>(&self, values: &'a [f32]) -> Cow<'a, [f32]> {
        match self {
            Self::Columns => Cow::Borrowed(values),
            Self::Image(layout) => {
                image(values, *layout).unwrap_or([MISSING_VALUE; IMAGE_FEATURES.len()]).to_vec().into()
            }
            Self::Audio { sample_rate } => {
                audio(values, *sample_rate).unwrap_or([MISSING_VALUE; AUDIO_FEATURES.len()]).to_vec().into()
            }
        }
    }
}

/// Turns rows into features.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    input: InputView,
    /// Features of the input.
    width: usize,
    neighbours: Option<Neighbours>,
}

impl View {
    /// A view of inputs of `columns` values, and of embeddings if there are `neighbours` to compare them with.
    #[must_use]
    pub fn new(input: InputView, columns: usize, neighbours: Option<Neighbours>) -> Self {
        let width = if input.is_columns() { columns } else { input.names(&[]).len() };
        Self { input, width, neighbours }
    }

    /// Names of the features, for inputs whose columns are called `columns`.
    #[must_use]
    pub fn names(&self, columns: &[String]) -> Vec<String> {
        let mut names = self.input.names(columns);
        names.extend(self.neighbours.as_ref().map(|_| EMBEDDING_DISTANCE.to_owned()));
        names
    }

    /// Whether it looks at embeddings.
    #[must_use]
    pub const fn has_embedding(&self) -> bool {
        self.neighbours.is_some()
    }

    /// The features of one row: those of its input, then the distance of its embedding if the view looks at it.
    #[must_use]
    pub fn row<'a>(&self, values: &'a [f32], embedding: Option<&[f32]>) -> Cow<'a, [f32]> {
        let features = self.input.features(values);
        let Some(neighbours) = &self.neighbours else { return features };
        let mut row = features.into_owned();
        row.resize(self.width, MISSING_VALUE);
        row.push(embedding.and_then(|embedding| neighbours.distance(embedding)).unwrap_or(MISSING_VALUE));
        Cow::Owned(row)
    }

    /// The features of an input alone.
    #[must_use]
    pub fn input<'a>(&self, values: &'a [f32]) -> Cow<'a, [f32]> {
        self.input.features(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours() -> Neighbours {
        let values: Vec<f32> = (0..60u16).map(|i| f32::from(i % 7) + 1.0).collect();
        Neighbours::fit(&values, 2).unwrap()
    }

    #[test]
    fn columns_come_as_they_are_and_the_distance_after_them() {
        let columns = ["a".to_owned(), "b".to_owned()];
        let plain = View::new(InputView::Columns, 2, None);
        assert_eq!(plain.names(&columns), columns);
        assert!(matches!(plain.row(&[1.0, 2.0], None), Cow::Borrowed([1.0, 2.0])));
        let view = View::new(InputView::Columns, 2, Some(neighbours()));
        assert_eq!(view.names(&columns), ["a", "b", EMBEDDING_DISTANCE]);
        let row = view.row(&[1.0, 2.0], Some(&[1.0, 1.0]));
        assert!(row[..2] == [1.0, 2.0] && row[2] >= 0.0 && row[2] < 2.0, "{row:?}");
        let short = view.row(&[1.0], None);
        assert_eq!(
            short.iter().map(|value| value.to_bits()).collect::<Vec<_>>()[1..],
            [MISSING_VALUE.to_bits(); 2]
        );
    }

    #[test]
    fn images_and_sounds_are_summarised_and_others_are_missing() {
        let layout = ImageLayout { width: 2, height: 2, channels: 1, planar: false, white: 1.0 };
        let view = View::new(InputView::Image(layout), 4, Some(neighbours()));
        let names = view.names(&[]);
        assert_eq!((names[0].as_str(), names.len()), ("image.brightness", IMAGE_FEATURES.len() + 1));
        let row = view.row(&[0.0, 1.0, 0.0, 1.0], Some(&[2.0, 1.0]));
        assert_eq!((row.len(), row[0]), (names.len(), 0.5));
        assert!(view.input(&[0.0; 3]).iter().all(|value| value.is_nan()));
        let sound = View::new(InputView::Audio { sample_rate: 8_000.0 }, 9, None);
        assert_eq!(sound.names(&[]).len(), sound.row(&[0.5; 64], None).len());
        assert!(sound.row(&[], None).iter().all(|value| value.is_nan()));
    }
}
