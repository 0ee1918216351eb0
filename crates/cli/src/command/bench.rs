//! `edgeward bench`: every form of a bundle on every engine here, tested and timed in turns in one process; the memory
//! of each is that of a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use edgeward_agent::Hardware;
use edgeward_core::Capabilities;
use edgeward_model::choose::{absent, candidates};
use edgeward_model::engine::Prepared;
use edgeward_model::engine::set::EMBEDDED;
use edgeward_model::{Bundle, ChoiceRow, Engines, LoadOptions, TimingBudget, choose};

use crate::args::{BenchArgs, EngineArgs};
use crate::engines::{engines, hardware, warn_of_refusals};
use crate::output::{Explain, Failure, Outcome, Output, line, table};

const HEADER: [&str; 10] = [
    "variant", "engine", "provider", "load ms", "prepared", "p50 us", "p99 us", "rss MiB", "parity",
    "verdict",
];

/// Loads of each form that are timed.
const LOADS: usize = 5;

/// Runs of the form whose memory is measured.
const MEMORY_RUNS: usize = 3;

pub(crate) fn run(args: &BenchArgs, out: Output) -> Outcome {
    let engines = engines(&args.engines);
    let bundle = open(&args.bundle)?;
    if let Some(variant) = &args.memory_of {
        return memory_of(&bundle, &engines, variant, args);
    }
    warn_of_refusals(&engines, &args.engines);
    let mut rows = rows(&bundle, &engines, args)?;
    for row in rows.iter_mut().filter(|row| row.parity.is_some()) {
        row.rss_mib = measured_memory(args, row);
    }
    out.document(&rows, |rows| table(&HEADER, &rows.iter().map(cells).collect::<Vec<_>>(), ""))?;
    match rows.iter().any(|row| row.chosen) {
        true => Ok(()),
        false => Err(Failure::new("bench", "no form of this bundle is right on any engine here")
            .hint("the reasons stand in the table; give --onnxruntime if a form needs it")),
    }
}

fn open(path: &Path) -> Result<Bundle, Failure> {
    let doing = format!("timing {}", path.display());
    let hint =
        "give a bundle's folder: one with a manifest.json, as `edgeward convert` and `edgeward run` make";
    let opened = Bundle::open(path).explain("bundle", &doing).map_err(|failure| failure.hint(hint))?;
    Bundle::verify(path, &opened.digest()).explain("bundle", &doing)
}

fn options(args: &BenchArgs) -> LoadOptions {
    LoadOptions::with_threads(usize::from(args.threads))
}

/// What this machine has of what the bundle's forms ask for.
fn device(bundle: &Bundle, engines: &Engines, args: &EngineArgs) -> Capabilities {
    let names: Vec<&str> = bundle.manifest().variants.iter().map(|variant| variant.engine.as_str()).collect();
    let Hardware { soc, sdks, .. } = hardware(args);
    Capabilities { soc, sdks, ..engines.capabilities(&names) }
}

fn rows(bundle: &Bundle, engines: &Engines, args: &BenchArgs) -> Result<Vec<ChoiceRow>, Failure> {
    let device = device(bundle, engines, &args.engines);
    let candidates = candidates(bundle, engines, &device, options(args))
        .explain("bundle", format_args!("timing {}", bundle.dir().display()))?;
    let budget = TimingBudget { runs_min: 20, runs_max: 10_000, time: Duration::from_secs(args.seconds) };
    let started = Instant::now();
    let mut rows = choose(candidates, &budget, &mut || started.elapsed()).rows;
    for row in rows.iter_mut().filter(|row| row.parity.is_some()) {
        time_loading(bundle, engines, args, row);
    }
    rows.extend(absent(bundle, engines, &device));
    Ok(rows)
}

/// Times loading the form and what its engine prepares from it, in turns; a form that has no prepared one keeps the time
/// of its first load.
fn time_loading(bundle: &Bundle, engines: &Engines, args: &BenchArgs, row: &mut ChoiceRow) {
    let engine = engines.named(&row.engine).into_iter().find(|engine| engine.provider() == row.provider);
    let variant = bundle.manifest().variants.iter().find(|variant| variant.label() == row.variant);
    let bytes = variant.and_then(|variant| bundle.read(variant.path.as_str()).ok());
    let Some((engine, bytes)) = engine.zip(bytes) else { return };
    let (Ok(Some(files)), Ok(folder)) = (engine.prepare(&bytes), tempfile::tempdir()) else { return };
    let write = |file: &Prepared| std::fs::write(folder.path().join(file.name), &file.bytes).is_ok();
    if !files.iter().all(write) {
        return;
    }
    drop(files);
    let options = options(args);
    let (mut plain, mut prepared) = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        let started = Instant::now();
        let loaded = engine.load(&bytes, &options).is_ok();
        plain.extend(loaded.then(|| started.elapsed()));
        let started = Instant::now();
        let loaded = engine.load_prepared(folder.path(), &options).is_ok();
        prepared.extend(loaded.then(|| started.elapsed()));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1e3)
    };
    (row.load_ms, row.prepared_load_ms) = (median(plain).or(row.load_ms), median(prepared));
}

/// Memory of a process of this program that loads and runs the row's form alone; none where that cannot be measured.
fn measured_memory(args: &BenchArgs, row: &ChoiceRow) -> Option<f64> {
    let mut command = Command::new(std::env::current_exe().ok()?);
    command.arg("bench").arg(&args.bundle).args(["--memory-of", &row.variant]);
    command.args(["--threads", &args.threads.to_string(), "--provider", &row.provider]);
    // The embedded engine alone does not open the library.
    let library = if row.engine == EMBEDDED { Some("off") } else { args.engines.onnxruntime.as_deref() };
    command.args(library.iter().flat_map(|library| ["--onnxruntime", library]));
    let Hardware { soc, sdks, .. } = hardware(&args.engines);
    command.args(soc.iter().flat_map(|soc| ["--soc", soc]));
    command.args(sdks.iter().flat_map(|sdk| ["--sdk".to_owned(), format!("{}={}", sdk.name, sdk.version)]));
    let output = command.stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Loads and runs one form and prints this process's resident memory in MiB.
fn memory_of(bundle: &Bundle, engines: &Engines, variant: &str, args: &BenchArgs) -> Outcome {
    let doing = "measuring memory";
    let device = device(bundle, engines, &args.engines);
    let candidates = candidates(bundle, engines, &device, options(args)).explain("bundle", doing)?;
    let found = candidates.into_iter().find(|candidate| candidate.variant == variant);
    let found = found.ok_or_else(|| Failure::new("bench", format!("{doing}: no form '{variant}' here")))?;
    let model = (found.load)().explain("engine", doing)?;
    for _ in 0..MEMORY_RUNS {
        found.golden.check(&*model).explain("engine", doing)?;
    }
    drop(found.golden);
    let resident = resident_mib()
        .ok_or_else(|| Failure::new("bench", "this system does not tell a process's memory"))?;
    line(&format!("{resident:.1}")).map(drop)
}

/// Resident memory of this process, from the kernel's figures.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

fn cells(row: &ChoiceRow) -> Vec<String> {
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"));
    let parity =
        row.parity.map_or_else(|| "-".to_owned(), |report| format!("{:.1e}", report.abs_difference_max));
    vec![
        row.variant.clone(),
        row.engine.clone(),
        row.provider.clone(),
        figure(row.load_ms),
        figure(row.prepared_load_ms),
        figure(row.p50_us),
        figure(row.p99_us),
        figure(row.rss_mib),
        parity,
        if row.chosen { format!("chosen: {}", row.reason) } else { row.reason.clone() },
    ]
}
