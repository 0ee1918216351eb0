//! The project file: what is accepted, and what each mistake is answered with.

use std::time::Duration;

use edgeward_core::alert::AlertKind;
use edgeward_core::rollout::{Approval, Gates, OnFail, WaveSize};
use edgeward_core::trigger::Trigger;

use super::*;

const SMALL: &str = r#"
[project]
name = "digits"
[data]
files = ["data/*.csv"]
[train]
builtin = "mlp"
"#;

fn parse(text: &str) -> Result<ProjectFile, ProjectError> {
    ProjectFile::parse(text, "edgeward.toml", Path::new("."))
}

/// What is said about the smallest file with `more` added.
fn refusal(more: &str) -> String {
    parse(&format!("{SMALL}{more}")).expect_err(more).to_string()
}

#[test]
fn the_smallest_file_has_sound_defaults() {
    let project = parse(SMALL).unwrap();
    assert_eq!(project.model.as_str(), "digits");
    assert_eq!((project.level, project.data.holdout), (0, 0.25));
    assert_eq!(project.convert.variant, [VariantTable::default()]);
    assert_eq!(project.task(), TaskKind::Classification);
    assert_eq!(project.to_core_project().rollout, edgeward_core::rollout::RolloutPolicy::default());
}

#[test]
fn the_example_is_sound() {
    let text = include_str!("../../../../examples/robots/edgeward.toml");
    let project = parse(text).unwrap();
    assert_eq!((project.level, project.data.captured), (1, true));
    assert_eq!(project.train.builtin, Some(Builtin::Mlp));
}

#[test]
fn unknown_keys_name_the_table_and_the_nearest_key() {
    let check = |more: &str, expect: &str| assert_eq!(refusal(more), format!("edgeward.toml: {expect}"));
    check("[gate]\nacuracy_min = 0.9", "[gate] has no key 'acuracy_min'; did you mean 'accuracy_min'?");
    check("[rolout]\nwaves = [1]", "the file has no key 'rolout'; did you mean 'rollout'?");
    check("[[trigger]]\non = \"alert\"\nkind = []", "[[trigger]] has no key 'kind'; did you mean 'kinds'?");
    check(
        "[[convert.variant]]\ndtyp = \"f32\"",
        "[[convert.variant]] has no key 'dtyp'; did you mean 'dtype'?",
    );
    check("[retrain]\nwaves = [1]", "[retrain] has no key 'waves'; 'waves' belongs in [rollout]");
    check("[retrain]\nzzz = 1", "[retrain] has no key 'zzz'; its keys are cooldown, runs_per_week_max");
}

#[test]
fn train_params_are_the_trainers_business() {
    let project = parse(&format!("{SMALL}params = {{ hidden = [8], anything = true }}")).unwrap();
    assert_eq!(project.train.params.len(), 2);
}

#[test]
fn wrong_values_say_what_is_allowed() {
    let check = |more: &str, expect: &str| {
        let said = refusal(more);
        assert!(said.starts_with("edgeward.toml: ") && said.contains(expect), "{said}");
    };
    check("[gate]\naccuracy_min = 1.5", "[gate] accuracy_min: 1.5 is not allowed; use 0 to 1");
    check("[gate]\naccuracy_min = \"high\"", "expected f64");
    check("[gate]\nmae_max = 1.0", "a classifier has accuracy_min");
    check("[retrain]\ncooldown = \"soon\"", "'soon' is no duration");
    check("[retrain]\ncooldown = 30", "such as \"30s\"");
    check("[rollout]\nwaves = [\"half\"]", "\"1%\" to \"100%\"");
    check("[rollout]\nwaves = []", "[rollout] waves: is empty");
    check("[rollout]\nwindow = \"at night\"", "'at night' is no window");
    check("[rollout]\napproval = \"maybe\"", "write true, false");
    check("[rollout]\non_fail = \"panic\"", "expected `roll_back` or `pause`");
    check("[rollout.gates]\nalpha = 0", "[rollout.gates] alpha: 0 is not allowed");
    check("[rollout.gates]\naccuracy_drop_max = 2", "use 0 to 1");
    check("[rollout.gates]\nacuracy_drop_max = 0.1", "did you mean 'accuracy_drop_max'?");
    check("[[trigger]]\non = \"moon\"", "expected one of `alert`, `new_samples`, `schedule`");
    check("[[trigger]]\non = \"schedule\"", "[[trigger]] every: on = \"schedule\" needs every");
    check("[[trigger]]\non = \"alert\"\nevery = \"1d\"", "[[trigger]] every: belongs to on = \"schedule\"");
    check("[[trigger]]\non = \"alert\"\nkinds = [\"rain\"]", "expected one of `drift`, `decay`, `outlier`");
    check("[validate]\nrange = [2, 1]", "[validate] range: [2, 1] holds no number");
    check("[monitor]\nrequests_per_second = 0", "use a number above 0");
    check("[convert]\nvariant = []", "[[convert.variant]] engine: 0 is not allowed");
    check("run = \"true\"", "stands beside builtin");
    check("deps = [\"x\"]", "belongs to a command");
}

#[test]
fn the_head_is_checked_too() {
    let check = |from: &str, to: &str, expect: &str| {
        let said = parse(&SMALL.replace(from, to)).expect_err(to).to_string();
        assert!(said.contains(expect), "{said}");
    };
    check(
        "name = \"digits\"",
        "name = \"digits\"\nlevel = 2",
        "2 follows the pipeline's repository: add [source] git",
    );
    check("name = \"digits\"", "name = \"digits\"\nlevel = 7", "use 0 (notify), 1 (retrain) or 2");
    check("name = \"digits\"", "name = \"My Digits\"", "not a valid project name");
    check("files = [\"data/*.csv\"]", "files = []", "[data] files: no data");
    check("builtin = \"mlp\"", "", "nothing trains");
    check("builtin = \"mlp\"", "builtin = \"svm\"", "expected one of `mlp`, `logistic`, `ridge`, `gbdt`");
    check("[train]\nbuiltin = \"mlp\"", "", "missing field `train`");
    check("[data]", "[data", "TOML parse error at line");
}

#[test]
fn policies_follow_the_file() {
    let more = r#"
[[trigger]]
on = "alert"
kinds = ["decay", "drift"]
labels_min = 40
[[trigger]]
on = "schedule"
every = "7d"
[retrain]
cooldown = "5s"
[rollout]
waves = [1, "100%"]
bake = "2s"
probation = "3s"
approval = true
window = "sat,sun 08:00-18:00"
on_fail = "pause"
[rollout.gates]
accuracy_drop_max = 0.05
labels_min = 30
"#;
    let project = parse(&format!("{SMALL}{more}")).unwrap().to_core_project();
    let kinds = [AlertKind::Decay, AlertKind::Drift].into();
    assert_eq!(project.trigger.triggers[0], Trigger::Alert { kinds, labels_min: 40 });
    assert_eq!(project.trigger.cooldown_ms, Duration::from_secs(5));
    assert_eq!(project.rollout.waves, [WaveSize::Devices(1), WaveSize::Percent(100)]);
    assert_eq!(project.rollout.probation_ms, Duration::from_secs(3));
    assert_eq!((project.rollout.approval, project.rollout.on_fail), (Approval::Each, OnFail::Pause));
    assert_eq!(project.rollout.window.unwrap().to_string(), "sat,sun 08:00-18:00");
    let gates = Gates { accuracy_drop_max: 0.05, labels_min: 30, ..Gates::default() };
    assert_eq!(project.rollout.gates, gates);
}

#[test]
fn rows_are_divided_by_what_they_have() {
    let with = |more: &str| {
        let text = SMALL.replace("files = ", &format!("{more}\nfiles = "));
        parse(&text).map_err(|error| error.to_string())
    };
    let by_time =
        with("time = \"at\"\ngroup = \"who\"\nsplit = \"time\"\ngap = \"1d\"\nwindow = \"90d\"").unwrap();
    assert_eq!((by_time.data.split, by_time.data.gap), (SplitBy::Time, Span::seconds(86_400)));
    assert_eq!(by_time.lens.window, Some(Window::Time(Span::seconds(90 * 86_400))));
    assert_eq!(with("window = 500\nstratify = true").unwrap().lens.window, Some(Window::Rows(500)));
    let check = |more: &str, expected: &str| {
        let said = with(more).expect_err(expected);
        assert!(said.contains(expected), "{said}");
    };
    check("split = \"time\"", "time = \"...\"");
    check("split = \"group\"", "group = \"...\"");
    check("time = \"label\"", "'label' is the label already");
    check("group = \"\"", "is empty");
    check("group = \"g\"\nsplit = \"group\"\nstratify = true", "split = \"row\"");
    check("task = \"regression\"\nstratify = true", "needs classes");
    check("gap = \"1d\"", "split = \"time\"");
    check("window = \"30d\"", "[data] time");
    check("window = 0", "use 1 to");
    check("window = true", "a number of rows");
    check("filter = { x = [2, 1] }", "holds no number");
}
