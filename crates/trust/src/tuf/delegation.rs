//! Which paths a delegated role may vouch for.

use edgeward_core::Digest;

use super::metadata::{DelegatedRole, Targets};

impl Targets {
    /// The roles that may vouch for `path`, in the order in which they are asked, up to the first terminating one.
    pub(super) fn delegates_for(&self, path: &str) -> (Vec<&str>, bool) {
        let mut names = Vec::new();
        let roles = self.delegations.iter().flat_map(|delegations| &delegations.roles);
        for role in roles.filter(|role| role.may_vouch_for(path)) {
            names.push(role.name.as_str());
            if role.terminating {
                return (names, true);
            }
        }
        (names, false)
    }
}

impl DelegatedRole {
    /// Whether the role may vouch for `path`.
    #[must_use]
    pub fn may_vouch_for(&self, path: &str) -> bool {
        let by_pattern = self.paths.iter().flatten().any(|pattern| matches(pattern, path));
        let hash = || Digest::of(path.as_bytes()).hex();
        by_pattern || self.path_hash_prefixes.iter().flatten().any(|prefix| hash().starts_with(prefix))
    }
}

/// Segment by segment: `*` is any text, `?` any one character, and neither crosses a `/`.
fn matches(pattern: &str, path: &str) -> bool {
    let (patterns, segments) = (pattern.split('/'), path.split('/'));
    patterns.clone().count() == segments.clone().count()
        && patterns.zip(segments).all(|(pattern, segment)| segment_matches(pattern, segment))
}

/// Greedy with one place to go back to, so the time is at most the product of both lengths.
fn segment_matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_stay_within_a_segment() {
        for (pattern, path, expect) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("releases/*/*.json", "releases/digits/00.json", true),
            ("releases/*/*.json", "releases/digits/x/00.json", false),
            ("a*b*c", "aXbbYc", true),
            ("a*b*c", "aXbbY", false),
            ("?.txt", "x.txt", true),
            ("?.txt", ".txt", false),
            ("[ab]", "a", false),
            ("", "", true),
            ("é?", "éa", true),
            ("/a", "a", false),
        ] {
            assert_eq!(matches(pattern, path), expect, "{pattern} {path}");
        }
        let long = "a".repeat(2_000);
        assert!(!matches(&"*a".repeat(500), &format!("{long}b")));
    }
}
