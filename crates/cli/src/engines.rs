//! The engines of this machine: the embedded one, and ONNX Runtime where its library is named or found.
//!
//! Nothing is started and nothing is loaded to find the library: only the places are looked at where Python's package
//! managers and the system's put it. The newest version wins where a place holds several.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(feature = "control")]
use std::sync::Arc;

use edgeward_agent::Hardware;
#[cfg(feature = "control")]
use edgeward_model::Engine;
use edgeward_model::{Engines, OnnxRuntimeConfig};

use crate::args::EngineArgs;

const LIBRARY: &str = "libonnxruntime.so";
const LIBRARY_MACOS: &str = "libonnxruntime.dylib";

/// The word that switches ONNX Runtime off.
const OFF: &str = "off";

/// Most folders of one kind that are looked into.
const FOLDERS_MAX: usize = 64;

/// The engines `args` ask for.
pub(crate) fn engines(args: &EngineArgs) -> Engines {
    let library = match args.onnxruntime.as_deref() {
        Some(OFF) => None,
        Some(path) => Some(PathBuf::from(path)),
        None => find(&places()),
    };
    let config = |library| OnnxRuntimeConfig { library, providers: args.providers.clone() };
    library.map_or_else(Engines::embedded, |library| Engines::with_onnxruntime(config(library)))
}

/// The embedded engine, and one of each other name that forms are wanted for; what is not here shows in the forms' verdicts.
#[cfg(feature = "control")]
pub(crate) fn engines_for(engines: &Engines, names: &[&str]) -> Vec<Arc<dyn Engine>> {
    let others = engines.names().into_iter().skip(1).filter(|name| names.contains(name));
    let others = others.filter_map(|name| engines.named(name).into_iter().next());
    std::iter::once(engines.default_engine()).chain(others).collect()
}

/// What this machine has besides engines.
pub(crate) fn hardware(args: &EngineArgs) -> Hardware {
    let read = Hardware::read(Path::new("/proc/cpuinfo"));
    Hardware { soc: args.soc.clone(), sdks: args.sdks.clone(), ..read }
}

/// Says on stderr why a library that was named by the user is not used. One that was merely found is no promise.
#[cfg(feature = "control")]
pub(crate) fn warn_of_refusals(engines: &Engines, args: &EngineArgs) {
    if args.onnxruntime.is_some() {
        for refusal in engines.refusals() {
            let causes = crate::output::with_causes(refusal);
            crate::output::note(&format!("warning: {causes}; the embedded engine goes on"));
        }
    }
}

/// The first place that holds the library, and there the newest version.
fn find(places: &[PathBuf]) -> Option<PathBuf> {
    places.iter().find_map(|place| newest(place))
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let is_library = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let plain = name.strip_prefix(LIBRARY).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with('.') && rest.bytes().all(|b| b == b'.' || b.is_ascii_digit())
        });
        plain || name == LIBRARY_MACOS
    };
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.filter(is_library).max_by_key(|path| version(path))
}

/// The numbers after `.so.`.
fn version(path: &Path) -> Vec<u64> {
    let name = path.to_string_lossy();
    let numbers = name.rsplit_once(".so.").map_or("", |(_, numbers)| numbers);
    numbers.split('.').filter_map(|number| number.parse().ok()).collect()
}

/// Folders that may hold the library: the active environment first, then the Python on the path, then the user's, then
/// the system's.
fn places() -> Vec<PathBuf> {
    let roots = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from);
    let mut prefixes: Vec<PathBuf> = roots.collect();
    for folder in env::var_os("PATH").iter().flat_map(env::split_paths).take(FOLDERS_MAX) {
        let python = folder.join("python3");
        let real = python.canonicalize().ok();
        let above = |path: &Path| path.parent().and_then(Path::parent).map(Path::to_owned);
        prefixes.extend(python.is_file().then(|| above(&python)).flatten());
        prefixes.extend(real.as_deref().and_then(above));
    }
    let home = env::var_os("HOME").map(PathBuf::from);
    prefixes.extend(home.as_ref().map(|home| home.join(".local")));
    let pyenv = env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| home.map(|home| home.join(".pyenv")));
    prefixes.extend(pyenv.iter().flat_map(|root| folders(&root.join("versions"), "")));
    prefixes.extend(["/usr/local", "/usr"].map(PathBuf::from));
    let mut places: Vec<PathBuf> = prefixes.iter().flat_map(|prefix| packages(prefix)).collect();
    for prefix in [Path::new("/usr/local"), Path::new("/usr")] {
        places.push(prefix.join("lib"));
        places.extend(folders(&prefix.join("lib"), "").into_iter().filter(|folder| {
            folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-linux-gnu"))
        }));
    }
    places
}

/// Where the wheel's library stands below a Python prefix.
fn packages(prefix: &Path) -> Vec<PathBuf> {
    let pythons = folders(&prefix.join("lib"), "python3");
    let inside = |python: PathBuf| {
        ["site-packages", "dist-packages"].map(|packages| python.join(packages).join("onnxruntime/capi"))
    };
    pythons.into_iter().flat_map(inside).collect()
}

/// Folders in `parent` whose name begins with `start`, in reverse order of their names: newer Pythons first.
fn folders(parent: &Path, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let begins = |path: &PathBuf| {
        path.is_dir() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(begins).collect();
    found.sort();
    found.reverse();
    found.truncate(FOLDERS_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_of_the_first_place_is_found() {
        let root = tempfile::tempdir().unwrap();
        let wheel = root.path().join("lib/python3.11/site-packages/onnxruntime/capi");
        fs::create_dir_all(&wheel).unwrap();
        assert_eq!(find(&packages(root.path())), None);
        for name in
            ["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.32.0", "libonnxruntime_providers_shared.so"]
        {
            fs::write(wheel.join(name), b"").unwrap();
        }
        let found = find(&packages(root.path())).unwrap();
        assert_eq!(found, wheel.join("libonnxruntime.so.1.32.0"));
    }

    #[test]
    fn off_and_a_path_are_taken_at_their_word() {
        let args = |text: &str| EngineArgs { onnxruntime: Some(text.to_owned()), ..EngineArgs::default() };
        assert_eq!(engines(&args("off")).library(), None);
        assert_eq!(engines(&args("/nowhere/lib.so")).library(), Some(Path::new("/nowhere/lib.so")));
    }
}
