//! The classification extension: an output's most likely classes, as texts, instead of the tensor.

use edgeward_model::{Tensor, TensorData};

/// For each row the `count` largest elements, the largest first, each as `value:index`, or `value:index:class` where the
/// model has a class for every element. Ties keep the order of the elements.
pub(super) fn most_likely(output: &Tensor, count: usize, classes: &[String]) -> Result<Tensor, &'static str> {
    if matches!(output.data(), TensorData::Bytes(_)) {
        return Err("classification needs an output of numbers; ask for the tensor");
    }
    let (rows, width) = match output.shape() {
        [] | [_] => (1, output.len()),
        [rows, ..] => (*rows, output.row_len()),
    };
    let count = count.min(width);
    let names = if classes.len() == width { classes } else { &[] };
    let texts = (0..rows).flat_map(|row| largest(output, row * width, width, count, names)).collect();
    let shape = if output.shape().len() < 2 { vec![count] } else { vec![rows, count] };
    Tensor::new(shape, TensorData::Bytes(texts)).map_err(|_| "its classes are too many; ask for fewer")
}

fn largest(output: &Tensor, first: usize, width: usize, count: usize, names: &[String]) -> Vec<Vec<u8>> {
    let value = |index: usize| output.number(first + index).unwrap_or(f64::NAN);
    // What is no number comes last.
    let key = |index: usize| if value(index).is_nan() { f64::NEG_INFINITY } else { value(index) };
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| key(*b).total_cmp(&key(*a)));
    let text = |index: usize| {
        let name = names.get(index).map(|name| format!(":{name}")).unwrap_or_default();
        format!("{:.6}:{index}{name}", value(index)).into_bytes()
    };
    order.into_iter().take(count).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &Tensor, count: usize, classes: &[&str], shape: &[usize], expect: &[&str]) {
        let classes: Vec<String> = classes.iter().map(|class| (*class).to_owned()).collect();
        let found = most_likely(output, count, &classes).unwrap();
        let TensorData::Bytes(texts) = found.data() else { panic!("{found:?}") };
        let texts: Vec<&str> = texts.iter().map(|text| std::str::from_utf8(text).unwrap()).collect();
        assert_eq!((found.shape(), &texts[..]), (shape, expect));
    }

    #[test]
    fn the_largest_come_first_with_their_classes() {
        let rows = Tensor::new([2, 3], vec![0.25_f32, 0.5, 0.25, 0.0, f32::NAN, 1.0]).unwrap();
        check(
            &rows,
            2,
            &["a", "b", "c"],
            &[2, 2],
            &["0.500000:1:b", "0.250000:0:a", "1.000000:2:c", "0.000000:0:a"],
        );
        check(
            &rows,
            9,
            &["a"],
            &[2, 3],
            &["0.500000:1", "0.250000:0", "0.250000:2", "1.000000:2", "0.000000:0", "NaN:1"],
        );
        check(&Tensor::new([2], vec![1_i64, 7]).unwrap(), 1, &[], &[1], &["7.000000:1"]);
        assert!(most_likely(&Tensor::new([1], vec![b"a".to_vec()]).unwrap(), 1, &[]).is_err());
    }
}
