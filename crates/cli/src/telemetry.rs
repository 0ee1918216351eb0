//! The log of this process, on stderr and at an OpenTelemetry collector.

use std::fmt::Write as _;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use edgeward_api::otlp::{Collector, Exporter, LogLine, Resource, now_ns};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use crate::args::{Cli, Command, LogFormat, TelemetryArgs};
use crate::output::{Failure, Outcome};

/// Lines that wait for the collector; more are dropped.
const WAITING_MAX: usize = 4096;
/// Lines of one call.
const BATCH_MAX: usize = 512;
/// Longest time a line waits.
const BATCH_EVERY: Duration = Duration::from_secs(1);

impl TelemetryArgs {
    /// The collector that was named.
    pub(crate) fn collector(&self) -> Option<Collector> {
        let headers = self.otlp_headers.clone().unwrap_or_default().0;
        let endpoint = self.otlp.clone()?;
        Some(Collector { endpoint, headers, every: self.otlp_every, trace_ratio: self.otlp_trace_ratio })
    }
}

/// Sets up the log.
pub(crate) fn start_log(cli: &Cli) -> Outcome {
    let filter = EnvFilter::try_new(&cli.log)
        .map_err(|error| Failure::usage(format!("--log '{}': {error}", cli.log)))?;
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(cli.log_format == LogFormat::Text && io::IsTerminal::is_terminal(&io::stderr()))
        // It would tell of a failed write with `eprintln!`, which panics for the same reason: a full disk under a log
        // file would end threads that answer requests.
        .log_internal_errors(false);
    let layer = match cli.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    let collected = collected(cli).map(|(collector, resource)| Shipped::to(collector.exporter(resource)));
    tracing_subscriber::registry().with(filter).with(layer).with(collected).init();
    Ok(())
}

/// The collector of a process that runs on, and who it is to it.
fn collected(cli: &Cli) -> Option<(Collector, Resource)> {
    let (telemetry, service, instance) = match &cli.command {
        #[cfg(feature = "control")]
        Command::Server(args) => (&args.telemetry, "edgeward-server", args.listen.to_string()),
        #[cfg(feature = "agent")]
        Command::Agent(args) => (&args.telemetry, "edgeward-agent", args.name.clone()),
        #[cfg(feature = "agent")]
        Command::Serve(args) => {
            (&args.telemetry, "edgeward-agent", args.name.clone().unwrap_or_else(|| "local".to_owned()))
        }
        _ => return None,
    };
    Some((telemetry.collector()?, Resource { service, instance }))
}

/// A layer that hands lines to a thread, which sends them.
struct Shipped {
    lines: SyncSender<LogLine>,
}

impl Shipped {
    fn to(exporter: Exporter) -> Self {
        let (lines, waiting) = sync_channel(WAITING_MAX);
        std::thread::spawn(move || ship(&exporter, &waiting));
        Self { lines }
    }
}

/// Sends lines until nobody writes any more. What a collector does not take is gone: it stands on stderr.
fn ship(exporter: &Exporter, waiting: &Receiver<LogLine>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            match waiting.recv_timeout(BATCH_EVERY) {
                Ok(line) => batch.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        // To say so in the log would be to send it there again.
        let _ = exporter.logs(&batch);
    }
}

impl<S: Subscriber> Layer<S> for Shipped {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let metadata = event.metadata();
        let (severity, level) = severity(*metadata.level());
        let line = LogLine {
            at_ns: now_ns(),
            severity,
            level,
            target: metadata.target().to_owned(),
            message: said.message,
            fields: said.fields,
        };
        // A log never waits for a collector.
        let _ = self.lines.try_send(line);
    }
}

const fn severity(level: Level) -> (u8, &'static str) {
    match level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(String, String)>,
}

impl Said {
    fn keep(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = write!(text, "{value:?}");
        self.keep(field, text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.to_owned());
    }
}
