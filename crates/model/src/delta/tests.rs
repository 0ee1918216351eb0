//! Deltas between made-up files of every kind, and what becomes of damaged ones.

use std::io::Cursor;

use edgeward_core::manifest::FileEntry;
use proptest::prelude::*;

use super::*;
use crate::engine::conformance::fixture;
use crate::onnx;

fn entry(bytes: &[u8]) -> FileEntry {
    FileEntry { size_bytes: bytes.len() as u64, digest: Digest::of(bytes) }
}

fn applied(patch: &[u8], source: Option<&[u8]>, result: &[u8]) -> Result<Vec<u8>, DeltaError> {
    let mut source = source.map(Cursor::new);
    let source = source.as_mut().map(|source| source as &mut dyn Seekable);
    let mut out = Vec::new();
    apply(&mut &patch[..], source, &entry(result), &mut out).map(|()| out)
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    fixture::noise(count, seed)
}

/// A dense network whose layers are `sizes` wide.
fn network(sizes: &[usize], weights: impl Fn(usize, Vec<f32>) -> Vec<f32>) -> Vec<u8> {
    let layers = sizes.windows(2).enumerate();
    let constants = layers.map(|(layer, pair)| {
        let values = weights(layer, noise(pair[0] * pair[1], layer as u64));
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        onnx::TensorProto {
            dims: vec![pair[0] as i64, pair[1] as i64],
            data_type: onnx::proto::element_type::FLOAT,
            name: format!("layer{layer}.weight"),
            raw_data: Some(bytes),
            ..onnx::TensorProto::default()
        }
    });
    let graph = onnx::GraphProto {
        name: "made up".to_owned(),
        initializer: constants.collect(),
        ..onnx::GraphProto::default()
    };
    onnx::encode(&onnx::ModelProto { graph: Some(graph), ..onnx::ModelProto::default() })
}

const SIZES: [usize; 4] = [64, 300, 128, 10];

#[test]
fn an_unchanged_network_costs_almost_nothing_and_a_new_head_its_own_size() {
    let base = network(&SIZES, |_, values| values);
    let full = full(&base);
    assert!(full.len() < base.len());
    assert_eq!(applied(&full, None, &base).unwrap(), base);
    let same = delta(&base, &base, full.len()).unwrap();
    assert!(same.len() < 200, "{}", same.len());
    let head = network(&SIZES, |layer, values| {
        if layer == 2 { values.iter().map(|value| value * 1.7 + 0.01).collect() } else { values }
    });
    let patch = delta(&base, &head, full.len()).unwrap();
    assert!(patch.len() < 128 * 10 * 4 + 400, "{}", patch.len());
    assert_eq!(applied(&patch, Some(&base), &head).unwrap(), head);
}

#[test]
fn a_fine_tuned_network_costs_less_than_half() {
    let base = network(&SIZES, |_, values| values);
    let tuned = network(&SIZES, |layer, values| {
        let steps = noise(values.len(), 99 + layer as u64);
        values.iter().zip(steps).map(|(value, step)| value + step * 1e-6).collect()
    });
    let patch = delta(&base, &tuned, full(&tuned).len()).unwrap();
    assert!(patch.len() * 2 < tuned.len(), "{} of {}", patch.len(), tuned.len());
    assert_eq!(applied(&patch, Some(&base), &tuned).unwrap(), tuned);
}

#[test]
fn the_same_files_make_the_same_bytes() {
    let base = network(&SIZES, |_, values| values);
    let other = network(&SIZES, |_, values| values.iter().map(|value| value * 1.001).collect());
    assert_eq!(delta(&base, &other, usize::MAX), delta(&base, &other, usize::MAX));
    assert_eq!(full(&base), full(&base));
}

#[test]
fn renamed_and_reordered_tensors_are_recognised() {
    let base = network(&SIZES, |_, values| values);
    let mut model = onnx::decode(&base).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.reverse();
    graph.initializer.iter_mut().for_each(|tensor| tensor.name.push('x'));
    let renamed = onnx::encode(&model);
    let patch = delta(&base, &renamed, usize::MAX).unwrap();
    assert!(patch.len() < 400, "{}", patch.len());
    assert_eq!(applied(&patch, Some(&base), &renamed).unwrap(), renamed);
}

#[test]
fn texts_and_large_files_without_tensors_are_patched() {
    let line = |n: usize| format!("{{\"row\": {n}, \"value\": {}}}\n", (n * 2_654_435_761) % 1_000_003);
    let text: String = (0..150_000).map(line).collect();
    assert!(text.len() > CHUNK_BYTES);
    let changed = text.replacen("\"row\": 70000", "\"row\": seventy thousand", 1);
    let full_len = full(changed.as_bytes()).len();
    let patch = delta(text.as_bytes(), changed.as_bytes(), full_len).unwrap();
    assert!(patch.len() < 2000, "{}", patch.len());
    assert_eq!(applied(&patch, Some(text.as_bytes()), changed.as_bytes()).unwrap(), changed.as_bytes());
}

#[test]
fn of_a_large_source_the_part_at_the_same_place_is_known() {
    let known = KNOWN_BYTES_MAX;
    assert_eq!(encode::around(0, 10, 100, known), (0, known));
    assert_eq!(encode::around(0, 10, 100, 3 * known), (0, known));
    assert_eq!(encode::around(45, 55, 100, 3 * known), (known, 2 * known));
    assert_eq!(encode::around(95, 100, 100, 3 * known), (2 * known, 3 * known));
}

#[test]
fn a_raw_file_of_numbers_is_seen_as_numbers() {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let values = noise(5000, 3);
    let base = bytes(&values);
    let tuned = bytes(&values.iter().map(|value| value + 1e-6).collect::<Vec<_>>());
    let patch = delta(&base, &tuned, full(&tuned).len()).unwrap();
    assert!(patch.len() * 2 < tuned.len(), "{}", patch.len());
    assert_eq!(applied(&patch, Some(&base), &tuned).unwrap(), tuned);
}

#[test]
fn a_delta_for_other_files_is_refused() {
    let (one, two) = (network(&SIZES, |_, values| values), network(&[8, 8], |_, values| values));
    let patch = delta(&one, &two, usize::MAX).unwrap();
    assert!(matches!(applied(&patch, Some(&one), &one), Err(DeltaError::OtherResult { .. })));
    assert!(matches!(applied(&patch, None, &two), Err(DeltaError::NoSource(_))));
    let tuned = network(&SIZES, |_, values| values.iter().map(|value| value * 1.001).collect());
    let patch = delta(&one, &tuned, usize::MAX).unwrap();
    let mut rotten = one.clone();
    rotten[2000] ^= 4;
    assert!(matches!(applied(&patch, Some(&rotten), &tuned), Err(DeltaError::WrongResult { .. })));
    assert!(matches!(applied(&patch, Some(&one[..2000]), &tuned), Err(DeltaError::Source(_))));
}

#[test]
fn every_cut_and_a_flip_of_every_byte_are_noticed() {
    let base = network(&[16, 20, 4], |_, values| values);
    let tuned = network(&[16, 20, 4], |_, values| values.iter().map(|value| value + 1e-4).collect());
    let patch = delta(&base, &tuned, usize::MAX).unwrap();
    assert_eq!(applied(&patch, Some(&base), &tuned).unwrap(), tuned);
    for at in 0..patch.len() {
        assert!(applied(&patch[..at], Some(&base), &tuned).is_err(), "cut at {at}");
        let mut flipped = patch.clone();
        flipped[at] ^= 0x10;
        // What a flip leaves right is right: only the source's own digest is of no use here.
        if let Ok(found) = applied(&flipped, Some(&base), &tuned) {
            assert_eq!(found, tuned, "flip at {at}");
        }
    }
    let longer = [patch.as_slice(), &[0]].concat();
    assert!(applied(&longer, Some(&base), &tuned).is_err());
}

/// Files of every kind, old and new related or not.
fn files() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..6000);
    let changed = bytes().prop_flat_map(|old| {
        let len = old.len();
        let edits = prop::collection::vec((0..len.max(1), any::<u8>()), 0..40);
        (Just(old), edits, 0..=len).prop_map(move |(old, edits, cut)| {
            let mut new = old.clone();
            edits.iter().filter(|(at, _)| *at < len).for_each(|(at, byte)| new[*at] = *byte);
            new.rotate_left(if edits.len() % 3 == 0 { cut } else { 0 });
            (old, new)
        })
    });
    prop_oneof![(bytes(), bytes()), changed]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_two_files_are_led_into_each_other((old, new) in files()) {
        let whole = full(&new);
        prop_assert_eq!(applied(&whole, None, &new).unwrap(), new.clone());
        let patch = delta(&old, &new, usize::MAX).unwrap();
        prop_assert_eq!(applied(&patch, Some(&old), &new).unwrap(), new);
    }

    #[test]
    fn any_networks_are_led_into_each_other(widths in prop::collection::vec(1..40_usize, 2..5), step in -3.0..3.0_f32) {
        let old = network(&widths, |_, values| values);
        let new = network(&widths, |layer, values| values.iter().map(|value| value + step * layer as f32).collect());
        let patch = delta(&old, &new, usize::MAX).unwrap();
        prop_assert_eq!(applied(&patch, Some(&old), &new).unwrap(), new);
    }

    #[test]
    fn rubbish_behind_a_good_beginning_is_an_error(rubbish in prop::collection::vec(any::<u8>(), 0..200), kept in 0..200_usize) {
        let base = network(&[16, 20, 4], |_, values| values);
        let tuned = network(&[16, 20, 4], |_, values| values.iter().map(|value| value + 1e-4).collect());
        let patch = delta(&base, &tuned, usize::MAX).unwrap();
        let mut bytes = patch[..kept.min(patch.len())].to_vec();
        bytes.extend(rubbish);
        prop_assert!(applied(&bytes, Some(&base), &tuned).map_or(true, |found| found == tuned));
    }
}
