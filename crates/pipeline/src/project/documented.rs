//! `docs/formats/project.md` says what the parser does: every table, every key, every default.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

const PAGE: &str = include_str!("../../../../docs/formats/project.md");

/// Keys with their default cells, by table header.
fn documented() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut header = None;
    for line in PAGE.lines() {
        if line.starts_with('#') {
            header = line.split('`').nth(1).filter(|text| text.starts_with('['));
        }
        let cells: Vec<&str> = line.split(" | ").collect();
        let key = cells[0].strip_prefix("| `").and_then(|cell| cell.strip_suffix('`'));
        if let (Some(header), Some(key), [_, default, _, _]) = (header, key, &cells[..]) {
            let keys = tables.entry(header.to_owned()).or_default();
            keys.insert(key.to_owned(), (*default).to_owned());
        }
    }
    tables
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let known: BTreeMap<String, Vec<String>> = keys::tables()
        .into_iter()
        .map(|(header, keys)| (header.to_owned(), keys.iter().map(|key| (*key).to_owned()).collect()))
        .collect();
    let documented = documented();
    assert_eq!(documented.keys().collect::<Vec<_>>(), known.keys().collect::<Vec<_>>());
    for (header, mut keys) in known {
        keys.sort();
        assert_eq!(
            documented[&header].keys().collect::<Vec<_>>(),
            keys.iter().collect::<Vec<_>>(),
            "{header}"
        );
    }
}

#[test]
fn the_pages_defaults_are_the_parsers() {
    let smallest = PAGE.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let project = ProjectFile::parse(smallest, "project.md", Path::new(".")).unwrap();
    let parsed = serde_json::to_value(&project).unwrap();
    let mut checked = 0;
    for (header, keys) in documented() {
        let path = header.trim_matches(['[', ']']).replace('.', "/");
        // The first of a list of tables; the project's own keys stand at the top.
        let places = [format!("/{path}"), format!("/{path}/0"), String::new()];
        for (key, cell) in keys {
            let Some(default) = toml_value(&cell) else { continue };
            let found = places.iter().find_map(|place| parsed.pointer(&format!("{place}/{key}")));
            // A key without any default that was not given has no place.
            let Some(found) = found.filter(|found| !found.is_null()) else { continue };
            assert_eq!(*found, default, "{header} {key}");
            checked += 1;
        }
    }
    assert!(checked >= 24, "only {checked} defaults were compared");
}

/// What a cell such as `` `"1h"` `` stands for; none if it is words.
fn toml_value(cell: &str) -> Option<Value> {
    let text = cell.strip_prefix('`')?.strip_suffix('`')?;
    let table: toml::Table = format!("x = {text}").parse().ok()?;
    serde_json::to_value(&table["x"]).ok()
}
