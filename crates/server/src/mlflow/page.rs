//! One page of an answer. A token says how many came before; whoever holds one can only ask for more of the same.

use super::asked::Asked;
use super::refusal::Refusal;

/// Which page is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    offset: usize,
    size: usize,
}

impl Page {
    /// From `page_token` and `max_results`, of which there are `by_default` and at most `size_max`.
    pub(crate) fn of(asked: &Asked, by_default: usize, size_max: usize) -> Result<Self, Refusal> {
        let size = match asked.integer("max_results")? {
            None | Some(0) => by_default,
            Some(size) => usize::try_from(size).ok().filter(|size| *size <= size_max).ok_or_else(|| {
                Refusal::invalid(format!(
                    "Invalid value {size} for parameter 'max_results' supplied. It must be a positive integer of at most \
                     {size_max}"
                ))
            })?,
        };
        let token = asked.text("page_token")?.filter(|token| !token.is_empty());
        let offset = match token {
            None => 0,
            Some(token) => {
                token.strip_prefix("after-").and_then(|count| count.parse().ok()).ok_or_else(|| {
                    Refusal::invalid("Invalid page token: take the one that the page before came with")
                })?
            }
        };
        Ok(Self { offset, size })
    }

    pub(crate) const fn offset(self) -> usize {
        self.offset
    }

    pub(crate) const fn size(self) -> usize {
        self.size
    }

    /// The token of the next page, if there is more.
    pub(crate) fn next(self, count: usize) -> Option<String> {
        let end = self.offset.saturating_add(self.size);
        (end < count).then(|| format!("after-{end}"))
    }

    /// What of everything belongs on the page, and the token of the next one.
    pub(crate) fn cut<T>(self, all: Vec<T>) -> (Vec<T>, Option<String>) {
        let next = self.next(all.len());
        (all.into_iter().skip(self.offset).take(self.size).collect(), next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(fields: serde_json::Value) -> Result<Page, Refusal> {
        let serde_json::Value::Object(fields) = fields else { panic!("no object") };
        Page::of(&Asked::of(fields), 2, 10)
    }

    #[test]
    fn pages_follow_one_another_until_all_is_told() {
        let first = page(json!({})).unwrap();
        let (items, next) = first.cut(vec![1, 2, 3]);
        assert_eq!((items, next.as_deref()), (vec![1, 2], Some("after-2")));
        let (items, next) = page(json!({"page_token": next})).unwrap().cut(vec![1, 2, 3]);
        assert_eq!((items, next), (vec![3], None));
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for wrong in [json!({"max_results": 11}), json!({"max_results": -1}), json!({"page_token": "x"})] {
            assert!(page(wrong.clone()).is_err(), "{wrong}");
        }
        let far = page(json!({"page_token": format!("after-{}", u64::MAX)})).unwrap();
        assert_eq!(far.cut(vec![1]), (Vec::new(), None));
    }
}
