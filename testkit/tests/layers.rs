//! The layers of the workspace, asserted over `cargo metadata`: who may depend on whom, and what is absent where.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// Lowest first. A crate may use crates of lower layers only, never one beside it.
const LAYERS: [&[&str]; 7] = [
    &["edgeward-monitor"],
    &["edgeward-core"],
    &["edgeward-model", "edgeward-trust", "edgeward-api", "edgeward-store"],
    &["edgeward-convert", "edgeward-train", "edgeward-sdk", "edgeward-pipeline"],
    &["edgeward-agent", "edgeward-server", "edgeward-cabi", "edgeward-python"],
    &["edgeward"],
    &["edgeward-testkit", "edgeward-testkit-postgres", "edgeward-testkit-python", "edgeward-testkit-s3"],
];

/// `(these crates, never reach these packages)`, through normal dependencies however long the path.
const ABSENCES: [(&[&str], &[&str]); 3] = [
    (
        &["edgeward-monitor", "edgeward-core", "edgeward-trust", "edgeward-model"],
        &["tokio", "async-trait", "futures-util", "hyper", "axum", "ureq", "socket2", "mio", "clap"],
    ),
    (
        &["edgeward-agent", "edgeward-sdk", "edgeward-cabi", "edgeward-python"],
        &[
            "edgeward-store",
            "edgeward-convert",
            "edgeward-train",
            "edgeward-pipeline",
            "edgeward-server",
            "rusqlite",
            "postgres",
            "object_store",
        ],
    ),
    (
        &["edgeward-sdk", "edgeward-pipeline", "edgeward-train", "edgeward-convert"],
        &["axum", "maud", "rusqlite", "postgres"],
    ),
];

/// What only the binary may ask for by name. (Build-time macros may still bring it along.)
const OF_THE_BINARY: [&str; 4] = ["clap", "anyhow", "ratatui", "crossterm"];

/// What a device must not carry.
const NOT_ON_DEVICES: [&str; 11] = [
    "edgeward-store",
    "edgeward-convert",
    "edgeward-train",
    "edgeward-pipeline",
    "edgeward-server",
    "rusqlite",
    "postgres",
    "object_store",
    "ratatui",
    "maud",
    "utoipa",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["common", "utils", "util", "helpers", "types", "misc", "shared"];

/// The workspace as it is built on this platform: packages of other platforms need not have been downloaded.
fn metadata() -> Metadata {
    let options = ["--offline", "--locked", "--filter-platform", &host()].map(str::to_owned);
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(options)
        .exec()
        .expect("cargo metadata runs in the workspace")
}

fn host() -> String {
    let output = std::process::Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

/// Normal (not dev, not build) dependencies by package, all features on.
fn edges(metadata: &Metadata) -> BTreeMap<PackageId, BTreeSet<PackageId>> {
    let resolve = metadata.resolve.as_ref().expect("metadata is resolved");
    let normal = |node: &cargo_metadata::Node| {
        let is_normal = |dep: &&cargo_metadata::NodeDep| {
            dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
        };
        node.deps.iter().filter(is_normal).map(|dep| dep.pkg.clone()).collect()
    };
    resolve.nodes.iter().map(|node| (node.id.clone(), normal(node))).collect()
}

fn name<'m>(metadata: &'m Metadata, id: &PackageId) -> &'m str {
    metadata[id].name.as_str()
}

fn layer_of(package: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&package))
}

#[test]
fn every_crate_has_a_layer_and_uses_only_lower_ones() {
    let metadata = metadata();
    let edges = edges(&metadata);
    let mut faults = Vec::new();
    for id in &metadata.workspace_members {
        let package = name(&metadata, id);
        let Some(layer) = layer_of(package) else {
            faults.push(format!("{package} is in no layer: put it into LAYERS and ARCHITECTURE.md"));
            continue;
        };
        let upward =
            edges[id].iter().map(|dep| name(&metadata, dep)).filter(|dep| layer_of(dep) >= Some(layer));
        faults.extend(upward.map(|dep| format!("{package} may not use {dep}: it is not below")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_absent_stays_absent() {
    let metadata = metadata();
    let edges = edges(&metadata);
    let mut faults = Vec::new();
    for (crates, banned) in ABSENCES {
        for id in &metadata.workspace_members {
            if !crates.contains(&name(&metadata, id)) {
                continue;
            }
            let reached = reachable(id, &edges);
            let found = reached.iter().map(|dep| name(&metadata, dep)).filter(|dep| banned.contains(dep));
            faults.extend(found.map(|dep| format!("{} reaches {dep}", name(&metadata, id))));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn libraries_do_not_ask_for_what_belongs_to_the_binary() {
    let metadata = metadata();
    let libraries = metadata.workspace_packages().into_iter().filter(|package| package.name != "edgeward");
    let mut faults = Vec::new();
    for package in libraries {
        let normal = package.dependencies.iter().filter(|dep| dep.kind == DependencyKind::Normal);
        let banned = normal.filter(|dep| OF_THE_BINARY.contains(&dep.name.as_str()));
        faults.extend(banned.map(|dep| format!("{} depends on {}", package.name, dep.name)));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn reachable(from: &PackageId, edges: &BTreeMap<PackageId, BTreeSet<PackageId>>) -> BTreeSet<PackageId> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from.clone()];
    while let Some(next) = open.pop() {
        open.extend(edges[&next].iter().filter(|dep| seen.insert((*dep).clone())).cloned());
    }
    seen
}

#[test]
fn the_device_build_links_no_control_plane() {
    let output = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--prefix",
            "none",
            "--edges",
            "normal",
            "--package",
            "edgeward",
        ])
        .args(["--no-default-features", "--features", "agent", "--format", "{p}"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let packages: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(packages.contains("edgeward-agent"), "the device build has the agent");
    for banned in NOT_ON_DEVICES {
        assert!(!packages.contains(banned), "the device build links {banned}");
    }
}

#[test]
fn names_say_what_is_inside() {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    for path in tidy::rust_files(root) {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(!EMPTY_NAMES.contains(&stem), "{}: '{stem}' is a drawer, not a name", path.display());
    }
}

#[test]
fn licences_are_on_the_list() {
    let metadata = metadata();
    let deny: toml::Table =
        std::fs::read_to_string(metadata.workspace_root.join("deny.toml")).unwrap().parse().unwrap();
    let allowed: Vec<&str> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
    let exceptions: Vec<(&str, &str)> = deny["licenses"]["exceptions"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|exception| {
            let of = exception["crate"].as_str().unwrap();
            let licences = exception["allow"].as_array().unwrap().iter();
            licences.filter_map(toml::Value::as_str).map(move |licence| (of, licence))
        })
        .collect();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let expression = package.license.as_deref().unwrap_or("no licence");
        let is_exception = exceptions.contains(&(package.name.as_str(), expression));
        if !is_exception && !tidy::licence_allowed(expression, &allowed) {
            faults.push(format!("{} {}: {expression}", package.name, package.version));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[path = "tidy/mod.rs"]
mod tidy;
