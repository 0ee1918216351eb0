//! `[[shadow]]` and `[shadows]`: candidates that learn from other rows than the project's model, or otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeward_core::shadow::{Promotion, ShadowPolicy};
use serde::{Deserialize, Serialize};

use super::{ProjectFile, Span, Window};

/// `[[shadow]]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowTable {
    /// What it is called.
    pub name: String,
    /// Only the newest rows; `[data] window` if absent.
    pub window: Option<Window>,
    /// Patterns of files in place of `[data] files`.
    pub files: Option<Vec<String>>,
    /// In place of `[data] captured`.
    pub captured: Option<bool>,
    /// Only rows with this feature between these two values, ends included; beside those of `[data] filter`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, [f64; 2]>,
    /// How often the newer half of the rows is learned from, for once that the older half is.
    #[serde(default = "once")]
    pub newest_weight: usize,
    /// What is different from `[train] params`.
    #[serde(default)]
    pub params: toml::Table,
}

const fn once() -> usize {
    1
}

/// `[shadows]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowsTable {
    /// How many of the candidates run on devices, the best first.
    pub max: usize,
    /// Probability that a candidate which is no better than the champion is declared the winner.
    pub alpha: f64,
    /// Differences of the error rate up to this are not waited for.
    pub margin: f64,
    /// What becomes of a winner.
    pub promote: Promotion,
    /// Without a verdict after so many labels, there is none.
    pub labels_max: u64,
    /// Without a verdict after this time, there is none.
    pub patience: Span,
}

impl Default for ShadowsTable {
    fn default() -> Self {
        let ShadowPolicy { alpha, margin, promote, labels_max, .. } = ShadowPolicy::default();
        let patience = Span(Duration::from_secs(14 * 24 * 3600));
        Self { max: 3, alpha, margin, promote, labels_max, patience }
    }
}

/// Which rows a candidate learns from, and how often.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lens {
    /// Only the newest.
    pub window: Option<Window>,
    /// Only those with this feature between these two values.
    pub filter: BTreeMap<String, [f64; 2]>,
}

impl ProjectFile {
    /// One project per `[[shadow]]`, each with its name.
    #[must_use]
    pub fn candidates(&self) -> Vec<(String, Self)> {
        self.shadow.iter().map(|table| (table.name.clone(), self.candidate(table))).collect()
    }

    fn candidate(&self, table: &ShadowTable) -> Self {
        let mut project = self.clone();
        project.shadow.clear();
        project.candidate = Some(table.name.clone());
        project.lens.window = table.window.or(project.lens.window);
        project.lens.filter.extend(table.filter.clone());
        project.newest_weight = table.newest_weight;
        if let Some(files) = &table.files {
            project.data.files.clone_from(files);
        }
        project.data.captured = table.captured.unwrap_or(project.data.captured);
        project.train.params.extend(table.params.clone());
        project
    }

    /// How a winner is chosen; none without any shadow.
    #[must_use]
    pub fn shadow_policy(&self) -> Option<ShadowPolicy> {
        let ShadowsTable { alpha, margin, promote, labels_max, patience, .. } = self.shadows;
        let policy = ShadowPolicy { alpha, margin, promote, labels_max, patience_ms: patience.0 };
        (!self.shadow.is_empty()).then_some(policy)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HEAD: &str = "[project]\nname = \"p\"\n[data]\nfiles = [\"*.csv\"]\n[train]\nbuiltin = \"mlp\"\n\
                        params = { a = 1, b = 2 }\n";

    fn parse(more: &str) -> Result<ProjectFile, String> {
        ProjectFile::parse(&format!("{HEAD}{more}"), "edgeward.toml", Path::new("."))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_candidate_differs_in_what_its_table_says() {
        let project = parse(
            "[[shadow]]\nname = \"recent\"\nwindow = 100\nnewest_weight = 3\nparams = { b = 3 }\n\
             [[shadow]]\nname = \"warm\"\ncaptured = true\nfiles = [\"warm/*.csv\"]\nfilter = { t = [20, 90] }\n",
        )
        .unwrap();
        let candidates = project.candidates();
        let [(recent, first), (warm, second)] = candidates.as_slice() else { panic!("{candidates:?}") };
        assert_eq!((recent.as_str(), warm.as_str()), ("recent", "warm"));
        assert_eq!(
            (first.lens.window, first.newest_weight, first.data.captured),
            (Some(Window::Rows(100)), 3, false)
        );
        assert_eq!(first.train.params["b"].as_integer(), Some(3));
        assert_eq!(first.train.params["a"].as_integer(), Some(1));
        assert_eq!(second.data.files, ["warm/*.csv"]);
        assert_eq!((second.data.captured, second.lens.filter["t"]), (true, [20.0, 90.0]));
        assert!(first.shadow.is_empty() && first.shadow_policy().is_none());
        assert_eq!(project.shadow_policy(), Some(ShadowPolicy::default()));
    }

    #[test]
    fn wrong_shadows_are_refused_with_what_is_allowed() {
        let check = |more: &str, expected: &str| {
            let said = parse(more).expect_err(expected);
            assert!(said.contains(expected), "{said}");
        };
        check("[[shadow]]\nname = \"a\"\n[[shadow]]\nname = \"a\"\n", "'a' is there twice");
        check("[[shadow]]\nname = \"A b\"\n", "is no name");
        check("[[shadow]]\nname = \"a\"\nwindow = 0\n", "use 1 to");
        check("[[shadow]]\nname = \"a\"\nnewest_weight = 0\n", "use 1 to");
        check("[[shadow]]\nname = \"a\"\nfilter = { x = [2, 1] }\n", "holds no number");
        check("[[shadow]]\nname = \"a\"\nwindow = \"30d\"\n", "needs the times of rows");
        check("[[shadow]]\nname = \"a\"\nwindows = 3\n", "did you mean 'window'?");
        check("[shadows]\nmax = 5\n", "use 1 to 4");
        check("[shadows]\npromote = \"never\"\n", "auto");
    }
}
