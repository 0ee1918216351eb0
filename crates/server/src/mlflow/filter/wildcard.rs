//! Patterns as in SQL: `%` is any text, `_` any one character.

/// Whether all of `text` is as `pattern` says. Takes time in proportion to the product of their lengths at most.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where the last `%` stood, and how far the text had come: the place to go back to.
    let mut back: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('%') => {
                back = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(wanted) if *wanted == '_' || *wanted == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    (at_pattern, at_text) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|rest| *rest == '%')
}
