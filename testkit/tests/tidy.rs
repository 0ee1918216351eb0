//! House rules that no compiler checks, run as tests.

use std::fs;
use std::path::Path;

use tidy::rust_files;

#[path = "tidy/mod.rs"]
#[expect(dead_code, reason = "the licence reader is for the other guard")]
mod tidy;

/// Longest source file, in lines. STYLE asks for 600 at the 90th percentile; this is the wall behind it.
const FILE_LINES_MAX: usize = 800;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Collects what `fault` says about each file, and fails with all of it.
fn check(fault: impl Fn(&str) -> Option<String>) {
    let faults: Vec<String> = rust_files(root())
        .iter()
        .filter_map(|path| {
            let text = fs::read_to_string(path).ok()?;
            fault(&text)
                .map(|what| format!("{}: {what}", path.strip_prefix(root()).unwrap_or(path).display()))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    check(|text| (!text.starts_with("//!")).then(|| "begin with //! and the file's purpose".to_owned()));
}

#[test]
fn no_file_becomes_a_drawer() {
    check(|text| {
        let lines = text.lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{lines} lines; split it"))
    });
}

#[test]
fn exceptions_give_their_reason_and_nothing_is_left_for_later() {
    let marks =
        [concat!("#[", "allow("), concat!("#![", "allow("), concat!("TO", "DO"), concat!("FIX", "ME")];
    check(|text| marks.iter().find(|mark| text.contains(**mark)).map(|mark| format!("contains {mark}")));
}

#[test]
fn the_environment_is_read_in_the_cli_only() {
    let marks = [concat!("env", "::var("), concat!("env", "::var_os("), concat!("env", "::vars(")];
    let faults: Vec<String> = rust_files(root())
        .iter()
        .filter(|path| {
            let inside = path.strip_prefix(root()).unwrap_or(path);
            let library = inside.starts_with("crates") && !inside.starts_with("crates/cli");
            let is_test = inside.iter().any(|part| part == "tests" || part == "tests.rs");
            library && !is_test && inside.iter().any(|part| part == "src")
        })
        .filter_map(|path| {
            let text = fs::read_to_string(path).ok()?;
            marks.iter().any(|mark| text.contains(mark)).then(|| path.display().to_string())
        })
        .collect();
    assert!(faults.is_empty(), "only crates/cli reads the environment:\n{}", faults.join("\n"));
}

#[test]
fn unsafe_code_stands_in_few_places() {
    let mark = concat!("uns", "afe");
    let places = ["crates/cabi/src/", "crates/sdk/src/memory.rs", "crates/sdk/src/priority.rs"];
    let faults: Vec<String> = rust_files(root())
        .iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
            let text = fs::read_to_string(path).ok()?;
            let has = text.lines().any(|line| {
                let code = line.trim_start();
                !code.starts_with("//")
                    && [" {", " fn", " impl"].iter().any(|end| code.contains(&format!("{mark}{end}")))
            });
            (has && !places.iter().any(|place| inside.starts_with(place))).then_some(inside)
        })
        .collect();
    assert!(faults.is_empty(), "{mark} code belongs into crates/cabi:\n{}", faults.join("\n"));
}

#[test]
fn architecture_names_every_crate_and_fits_three_pages() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    for entry in fs::read_dir(root().join("crates")).expect("crates is there").filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(text.contains(&format!("`{name}`")), "ARCHITECTURE.md does not say what crates/{name} is");
    }
    assert!(text.lines().count() <= 180, "ARCHITECTURE.md is over three pages");
}
