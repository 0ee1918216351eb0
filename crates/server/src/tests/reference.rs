//! `docs/reference/api.md` is written from the OpenAPI document: a test compares, and writes anew with
//! `EDGEWARD_WRITE_REFERENCE=1 cargo test -p edgeward-server reference`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::routes::openapi_json;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/api.md");
const HEAD: &str = "# The control plane's API\n\nWritten from `GET /openapi.json`, where the documents' schemas are too. Callers are \
    `device` (a device's credential or certificate) or `operator` with the least role that is named; a token goes into \
    `Authorization: Bearer`. Every answer that is no success is a `Problem`: `{\"kind\", \"error\", \"hints\"}`.\n";

#[test]
fn the_reference_says_what_the_document_says() {
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let mut text = HEAD.to_owned();
    let paths: BTreeMap<String, Value> = serde_json::from_value(document["paths"].clone()).unwrap();
    for (path, item) in &paths {
        for (method, operation) in item.as_object().unwrap() {
            writeln!(text, "\n## `{} {path}`\n\n{}", method.to_uppercase(), told(operation)).unwrap();
            details(&mut text, operation);
        }
    }
    if std::env::var_os("EDGEWARD_WRITE_REFERENCE").is_some() {
        std::fs::write(PAGE, &text).unwrap();
    }
    let there = std::fs::read_to_string(PAGE).unwrap_or_default();
    let differs = text.lines().zip(there.lines()).find(|(new, old)| new != old);
    assert!(
        there == text,
        "docs/reference/api.md is stale at {differs:?}; EDGEWARD_WRITE_REFERENCE=1 writes it anew"
    );
}

fn told(operation: &Value) -> String {
    let said = |key: &str| operation[key].as_str().map(str::trim).filter(|text| !text.is_empty());
    let words = [said("summary"), said("description")].into_iter().flatten().collect::<Vec<_>>().join(" ");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn details(text: &mut String, operation: &Value) {
    let needs =
        operation["security"].as_array().into_iter().flatten().flat_map(|need| need.as_object().unwrap());
    let needs: Vec<String> = needs
        .map(|(who, roles)| match roles[0].as_str() {
            Some(role) => format!("{who} ({role})"),
            None => who.clone(),
        })
        .collect();
    let who = if needs.is_empty() { "anybody".to_owned() } else { needs.join(" or ") };
    writeln!(text, "\n- for: {who}").unwrap();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
        let description = parameter["description"].as_str().unwrap_or_default();
        let description = description.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(text, "- `{name}` ({place}): {description}").unwrap();
    }
    for body in contents(&operation["requestBody"]) {
        writeln!(text, "- takes {body}").unwrap();
    }
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let what = contents(answer).join(", ");
        let description = answer["description"].as_str().unwrap_or_default();
        writeln!(text, "- {status}: {}", format!("{what} {description}").trim()).unwrap();
    }
}

/// What a body holds, by the names of the schemas.
fn contents(body: &Value) -> Vec<String> {
    let of = |(kind, content): (&String, &Value)| match content["schema"]["$ref"].as_str() {
        Some(reference) => format!("`{}`", reference.rsplit('/').next().unwrap_or(reference)),
        None => format!("`{kind}`"),
    };
    body["content"].as_object().into_iter().flatten().map(of).collect()
}
