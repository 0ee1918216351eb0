//! What names, keys and values may be, as MLflow's own server has it.

use super::refusal::Refusal;

/// Longest key of a metric, parameter or tag, in characters.
pub(crate) const KEY_CHARS_MAX: usize = 250;
/// Longest value of a parameter.
pub(crate) const PARAM_CHARS_MAX: usize = 6000;
/// Longest value of a run's tag.
pub(crate) const TAG_CHARS_MAX: usize = 8000;
/// Longest value of an experiment's tag.
pub(crate) const EXPERIMENT_TAG_CHARS_MAX: usize = 20_000;
/// Longest value of a tag in the registry.
pub(crate) const REGISTRY_TAG_CHARS_MAX: usize = 100_000;
/// Longest name of an experiment or registered model.
pub(crate) const NAME_CHARS_MAX: usize = 500;
/// Longest description.
pub(crate) const DESCRIPTION_CHARS_MAX: usize = 100_000;
/// Longest alias.
const ALIAS_CHARS_MAX: usize = 255;

/// Refuses a text that is too long.
pub(crate) fn length(what: &str, text: &str, chars_max: usize) -> Result<(), Refusal> {
    match text.len() <= chars_max || text.chars().count() <= chars_max {
        true => Ok(()),
        false => {
            Err(Refusal::invalid(format!("'{what}' exceeds the maximum length of {chars_max} characters")))
        }
    }
}

/// The key of a metric, a parameter or a tag.
pub(crate) fn key(path: &str, key: &str) -> Result<(), Refusal> {
    let shown = || serde_json::Value::from(key).to_string();
    if key.is_empty() {
        let message =
            format!("Invalid value \"\" for parameter '{path}' supplied: A key name must be provided.");
        return Err(Refusal::invalid(message));
    }
    let is_good = |char: char| char.is_alphanumeric() || "_/.- :".contains(char);
    if !key.chars().all(is_good) {
        return Err(Refusal::invalid(format!(
            "Invalid value {} for parameter '{path}' supplied: Names may only contain alphanumerics, underscores (_), \
             dashes (-), periods (.), spaces ( ), colon(:) and slashes (/).",
            shown()
        )));
    }
    if !is_plain_path(key) || key.starts_with("..") {
        return Err(Refusal::invalid(format!(
            "Invalid value {} for parameter '{path}' supplied: Names may be treated as files in certain cases, and must \
             not resolve to other names when treated as such.",
            shown()
        )));
    }
    length(path, key, KEY_CHARS_MAX)
}

/// Whether a path is written as short as it can be, and leads nowhere but down.
pub(crate) fn is_plain_path(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The name of an experiment.
pub(crate) fn experiment_name(name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::invalid(format!("Invalid experiment name: '{name}'")));
    }
    length("name", name, NAME_CHARS_MAX)
}

/// The name of a registered model.
pub(crate) fn model_name(name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::invalid("Registered model name cannot be empty."));
    }
    if name.contains(['/', ':']) {
        return Err(Refusal::invalid(format!(
            "Invalid model name: '{name}'. Model name cannot contain '/' or ':' characters."
        )));
    }
    length("name", name, NAME_CHARS_MAX)
}

/// The name of a logged model.
pub(crate) fn logged_model_name(name: &str) -> Result<(), Refusal> {
    const FORBIDDEN: [char; 7] = ['/', ':', '.', '%', '"', '\'', '\\'];
    if name.is_empty() || name.contains(FORBIDDEN) {
        return Err(Refusal::invalid(format!(
            "Invalid model name ({name:?}) provided. Model name must be a non-empty string and cannot contain the \
             following characters: {FORBIDDEN:?}"
        )));
    }
    length("name", name, NAME_CHARS_MAX)
}

/// An alias of a version.
pub(crate) fn alias(alias: &str) -> Result<(), Refusal> {
    let refused = |why: &str| Refusal::invalid(format!("Invalid alias name: '{alias}'. {why}"));
    if alias.is_empty() {
        return Err(Refusal::invalid("Registered model alias name cannot be empty."));
    }
    if !alias.chars().all(|char| char.is_alphanumeric() || matches!(char, '_' | '-')) {
        return Err(refused("Names may only contain alphanumerics, underscores (_), and dashes (-)."));
    }
    if alias.eq_ignore_ascii_case("latest") {
        return Err(refused("'latest' alias name (case insensitive) is reserved."));
    }
    let digits = alias.strip_prefix(['v', 'V']);
    if digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(refused("Names of versions are reserved."));
    }
    length("alias", alias, ALIAS_CHARS_MAX)
}

/// The number of a version.
pub(crate) fn version(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::invalid(format!("Model version must be an integer, got '{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_mlflow_takes() {
        for good in ["a", "a/b", "a.b-c d:e_f", "é", "mlflow.source.name", "a..", "-"] {
            assert!(key("key", good).is_ok(), "{good}");
        }
        let long = "k".repeat(KEY_CHARS_MAX + 1);
        for bad in [
            "",
            "a\n",
            "a\0",
            "../x",
            "/a",
            "a//b",
            "./a",
            "a/",
            ".",
            "..",
            "..a",
            "a;b",
            "a\u{1F600}",
            &long,
        ] {
            assert!(key("key", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_and_aliases_are_what_mlflow_takes() {
        assert!(model_name("my model").is_ok() && model_name("a/b").is_err() && model_name(" ").is_err());
        for bad in ["latest", "Latest", "v1", "V22", "", "a b", "a/b"] {
            assert!(alias(bad).is_err(), "{bad}");
        }
        for good in ["champion", "v", "v1a", "a-b_c", "1"] {
            assert!(alias(good).is_ok(), "{good}");
        }
        assert_eq!(version("12").unwrap(), 12);
        assert!(version("-1").is_err() && version("one").is_err());
    }
}
