//! Sizes to try where a model leaves them open, likely ones first.
//!
//! Dimensions of one name get one size; so do the first dimensions of all inputs, however they are named, since they
//! count rows. What has no name of its own (`?`, or a number a converter made up) stands alone, except between two
//! fixed dimensions, as in a recurrent layer's state: there it is tried as the number of rows first.

use std::collections::{BTreeMap, BTreeSet};

use edgeward_model::{DataType, Dim, TensorSpec};

/// Rows of a call, where the model takes several and they are small.
const ROWS: usize = 32;
/// Most elements of one input's rows together.
const ELEMENTS_MAX: usize = 1 << 17;
/// Height and width of images: multiples of 32 first.
const IMAGE: &[usize] = &[224, 32, 64, 48, 96, 128, 160, 256, 320, 416, 512, 640, 28, 299];
/// Any other dimension: lengths of sequences, features, samples of sound.
const LENGTH: &[usize] = &[16, 1, 4, 64, 8, 32, 128, 256, 512, 80, 40, 576, 400, 1024, 4096, 16_000, 2, 100];

/// What sets one size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Rows,
    Named(String),
    /// Input and dimension.
    Alone(usize, usize),
}

/// One size for every open dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    chosen: BTreeMap<Key, usize>,
    rows_names: BTreeSet<String>,
}

impl Sizes {
    /// The shape of the input at `at`.
    pub(super) fn shape(&self, at: usize, spec: &TensorSpec) -> Vec<usize> {
        let size = |(axis, dim): (usize, &Dim)| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbolic(name) => *self.chosen.get(&key(at, axis, name, &self.rows_names)).unwrap_or(&1),
        };
        spec.shape.iter().enumerate().map(size).collect()
    }
}

/// Every choice worth trying, each once.
pub(super) fn candidates(inputs: &[TensorSpec]) -> Vec<Sizes> {
    let rows_names: BTreeSet<String> = inputs.iter().filter_map(|spec| named(spec.shape.first()?)).collect();
    let mut found: Vec<Sizes> = Vec::new();
    for turn in 0..IMAGE.len().max(LENGTH.len()) {
        for states_are_rows in [true, false] {
            let one = choice(inputs, &rows_names, turn, states_are_rows);
            let mut single = one.clone();
            single.set_rows(1, inputs, states_are_rows);
            for sizes in [one, single] {
                if !found.contains(&sizes) {
                    found.push(sizes);
                }
            }
        }
    }
    found
}

fn choice(inputs: &[TensorSpec], rows_names: &BTreeSet<String>, turn: usize, states_are_rows: bool) -> Sizes {
    let mut sizes = Sizes { chosen: BTreeMap::new(), rows_names: rows_names.clone() };
    for (at, spec) in inputs.iter().enumerate() {
        for (axis, dim) in spec.shape.iter().enumerate() {
            let Dim::Symbolic(name) = dim else { continue };
            let list = if is_spatial(spec, axis) { IMAGE } else { LENGTH };
            let size = list[turn.min(list.len() - 1)];
            sizes.chosen.entry(key(at, axis, name, rows_names)).or_insert(size);
        }
    }
    sizes.set_rows(1, inputs, states_are_rows);
    let largest = inputs.iter().enumerate().map(|(at, spec)| {
        sizes.shape(at, spec).iter().fold(1_usize, |count, &size| count.saturating_mul(size))
    });
    let rows = (ELEMENTS_MAX / largest.max().unwrap_or(1).max(1)).clamp(1, ROWS);
    sizes.set_rows(rows, inputs, states_are_rows);
    sizes
}

impl Sizes {
    fn set_rows(&mut self, rows: usize, inputs: &[TensorSpec], states_too: bool) {
        if let Some(size) = self.chosen.get_mut(&Key::Rows) {
            *size = rows;
        }
        for (at, spec) in inputs.iter().enumerate().filter(|_| states_too) {
            for axis in 1..spec.shape.len().saturating_sub(1) {
                if let (true, Some(size)) =
                    (is_between_fixed(spec, axis), self.chosen.get_mut(&Key::Alone(at, axis)))
                {
                    *size = rows;
                }
            }
        }
    }
}

fn key(at: usize, axis: usize, name: &str, rows_names: &BTreeSet<String>) -> Key {
    match named(&Dim::symbol(name)) {
        _ if axis == 0 => Key::Rows,
        Some(name) if rows_names.contains(&name) => Key::Rows,
        Some(name) => Key::Named(name),
        None => Key::Alone(at, axis),
    }
}

/// The name of an open dimension, if somebody chose it.
fn named(dim: &Dim) -> Option<String> {
    match dim {
        Dim::Symbolic(name) if name != "?" && !name.starts_with("unk__") => Some(name.clone()),
        _ => None,
    }
}

/// Whether this is the height or width of an image, channels first or last.
fn is_spatial(spec: &TensorSpec, axis: usize) -> bool {
    let channels = |axis: usize| matches!(spec.shape[axis], Dim::Fixed(1..=4));
    if spec.shape.len() != 4 || matches!(spec.datatype, DataType::Int64 | DataType::Int32 | DataType::Bytes) {
        return false;
    }
    let last = channels(3) && !channels(1);
    if last { (1..=2).contains(&axis) } else { axis >= 2 }
}

fn is_between_fixed(spec: &TensorSpec, axis: usize) -> bool {
    let fixed = |axis: usize| matches!(spec.shape[axis], Dim::Fixed(_));
    spec.shape.len() == 3 && fixed(axis - 1) && fixed(axis + 1)
}
