//! In which order a search answers: `metrics.acc DESC`, `attributes.start_time`, and so on.

use std::cmp::Ordering;

use super::lexer::first_word;
use super::{Entity, Found, Subject, Vocabulary, identifier};
use crate::mlflow::refusal::Refusal;

/// One key of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderKey {
    pub(crate) entity: Entity,
    pub(crate) key: String,
    pub(crate) ascending: bool,
}

/// Reads one key.
pub(crate) fn parse_order(text: &str, words: &Vocabulary) -> Result<OrderKey, Refusal> {
    let unclear = || Refusal::invalid(format!("Invalid order_by clause '{text}'. Could not be parsed."));
    let (word, rest) = first_word(text).map_err(|_| unclear())?;
    let ascending = match rest.trim() {
        "" => true,
        rest if rest.eq_ignore_ascii_case("asc") => true,
        rest if rest.eq_ignore_ascii_case("desc") => false,
        rest if rest.split_whitespace().count() > 1 => return Err(unclear()),
        _ => return Err(Refusal::invalid(format!("Invalid ordering key in order_by clause '{text}'."))),
    };
    let (entity, key, _) = identifier(&word, words)?;
    Ok(OrderKey { entity, key, ascending })
}

/// Numbers come first, then what is no number, then what is not there; whichever way the order goes.
fn rank(value: Option<&Found>) -> u8 {
    match value {
        Some(Found::Number(number)) if number.is_nan() => 1,
        Some(_) => 0,
        None => 2,
    }
}

fn compare(left: Option<&Found>, right: Option<&Found>) -> Ordering {
    match (left, right) {
        (Some(Found::Number(left)), Some(Found::Number(right))) => {
            left.partial_cmp(right).unwrap_or(Ordering::Equal)
        }
        (Some(Found::Text(left)), Some(Found::Text(right))) => left.cmp(right),
        _ => Ordering::Equal,
    }
}

/// Sorts by the keys, the first counts most; what they do not tell apart stays as it was.
pub(crate) fn sort<T>(items: &mut Vec<T>, keys: &[OrderKey], subject: impl Fn(&T) -> &dyn Subject) {
    if keys.is_empty() {
        return;
    }
    let mut valued: Vec<(Vec<Option<Found>>, T)> = std::mem::take(items)
        .into_iter()
        .map(|item| {
            let found = keys.iter().map(|key| subject(&item).find(key.entity, &key.key).into_iter().next());
            (found.collect(), item)
        })
        .collect();
    valued.sort_by(|(left, _), (right, _)| {
        let mut order = Ordering::Equal;
        for (key, (left, right)) in keys.iter().zip(left.iter().zip(right)) {
            let compared = compare(left.as_ref(), right.as_ref());
            let compared = if key.ascending { compared } else { compared.reverse() };
            order = order.then(rank(left.as_ref()).cmp(&rank(right.as_ref()))).then(compared);
        }
        order
    });
    items.extend(valued.into_iter().map(|(_, item)| item));
}
