//! `include/edgeward.h` is what this crate says. `EDGEWARD_WRITE_HEADER=1 cargo test -p edgeward-cabi` writes it anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, EnumConfig, Language, RenameRule};

const TOP: &str = "/* Edgeward: models inside an app, from C. Made by cbindgen from crates/cabi; do not edit.
 * Any thread may call anything; an object is freed once, when no thread uses it any more. */";

fn generated(root: &Path) -> String {
    let config = Config {
        language: Language::C,
        header: Some(TOP.to_owned()),
        include_guard: Some("EDGEWARD_H".to_owned()),
        cpp_compat: true,
        documentation_style: DocumentationStyle::C99,
        line_length: 120,
        usize_is_size_t: true,
        enumeration: EnumConfig {
            rename_variants: RenameRule::QualifiedScreamingSnakeCase,
            ..EnumConfig::default()
        },
        export: cbindgen::ExportConfig {
            include: vec!["EdgewardDataType".to_owned()],
            ..cbindgen::ExportConfig::default()
        },
        ..Config::default()
    };
    let bindings = Builder::new().with_crate(root).with_config(config).generate().unwrap();
    let mut bytes = Vec::new();
    bindings.write(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_header_is_what_the_crate_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (file, now) = (root.join("include/edgeward.h"), generated(root));
    if std::env::var_os("EDGEWARD_WRITE_HEADER").is_some() {
        fs::write(&file, &now).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == now,
        "include/edgeward.h is not what the crate says; run EDGEWARD_WRITE_HEADER=1 cargo test -p edgeward-cabi"
    );
}
