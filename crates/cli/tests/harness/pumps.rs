//! Pumps that wear: the small project that tests of the whole binary train.

use std::fmt::Write as _;

const PROJECT: &str = r#"
[project]
name = "pumps"
[data]
files = ["data/*.csv"]
label = "state"
[train]
builtin = "logistic"
"#;

/// The project's file, with more tables.
pub(crate) fn project(more: &str) -> String {
    format!("{PROJECT}{more}")
}

/// So many measured rows with their header; another `shift` gives others.
pub(crate) fn measured(rows: u64, shift: u64) -> String {
    let mut text = "temperature,vibration,state\n".to_owned();
    for row in 0..rows {
        let (worn, spread) = (row % 2, (row * 7919 + shift) % 1000);
        let (temperature, vibration) = (55 + 10 * worn + spread % 7, 40 + 50 * worn + spread % 13);
        let state = if worn == 1 { "worn" } else { "good" };
        writeln!(text, "{temperature}.{spread:03},{vibration}.{spread:03},{state}").expect("text grows");
    }
    text
}
