//! Every flag, once: the parser, the help and the completions all come from here.

#[cfg(feature = "control")]
mod access;
#[cfg(feature = "agent")]
mod activation;
#[cfg(feature = "control")]
mod alert;
#[cfg(feature = "control")]
mod audit;
#[cfg(feature = "agent")]
mod broker;
#[cfg(feature = "agent")]
mod courtesy;
#[cfg(feature = "control")]
mod database;
#[cfg(feature = "agent")]
mod device;
#[cfg(feature = "agent")]
mod engines;
#[cfg(feature = "control")]
mod fleet;
#[cfg(feature = "control")]
mod history;
#[cfg(feature = "control")]
mod models;
#[cfg(feature = "control")]
mod pipeline;
#[cfg(feature = "control")]
mod record;
#[cfg(all(test, feature = "control"))]
mod reference;
#[cfg(feature = "control")]
mod reload;
#[cfg(feature = "control")]
mod repo;
#[cfg(feature = "control")]
mod rollout;
#[cfg(feature = "control")]
mod sample;
mod setup;
#[cfg(feature = "control")]
mod shadow;
#[cfg(feature = "control")]
mod sim;
#[cfg(feature = "agent")]
mod speech;
#[cfg(feature = "agent")]
mod telemetry;
#[cfg(feature = "control")]
mod tuf;
#[cfg(feature = "control")]
mod webhook;
#[cfg(feature = "control")]
mod why;

#[cfg(feature = "control")]
use std::net::SocketAddr;
#[cfg(feature = "control")]
use std::path::PathBuf;
#[cfg(feature = "agent")]
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use edgeward_api::client::is_this_machine;

#[cfg(feature = "control")]
pub(crate) use access::{CaCommand, DeviceCommand, TokenCommand};
#[cfg(feature = "agent")]
pub(crate) use activation::{ActivationArgs, ActivationName};
#[cfg(feature = "control")]
pub(crate) use alert::AlertCommand;
#[cfg(feature = "control")]
pub(crate) use audit::{AuditCommand, LedgerFolder};
#[cfg(feature = "agent")]
pub(crate) use broker::BrokerArgs;
#[cfg(feature = "agent")]
pub(crate) use courtesy::{CourtesyArgs, MeteredName};
#[cfg(feature = "control")]
pub(crate) use database::DatabaseArgs;
#[cfg(feature = "agent")]
pub(crate) use device::{AgentArgs, ServeArgs, StatusArgs};
#[cfg(feature = "agent")]
pub(crate) use engines::EngineArgs;
#[cfg(feature = "control")]
pub(crate) use fleet::GroupCommand;
#[cfg(feature = "control")]
pub(crate) use history::{BacktestArgs, DriftArgs, ProfileArgs};
#[cfg(feature = "control")]
pub(crate) use models::{BenchArgs, CalibrationName, ConvertArgs, InspectArgs, Quantize};
#[cfg(feature = "control")]
pub(crate) use pipeline::{DiffArgs, LogArgs, ProjectArgs, RunArgs, SourceCommand};
#[cfg(feature = "control")]
pub(crate) use record::{EraseArgs, RecordCommand};
#[cfg(feature = "control")]
pub(crate) use reload::ReloadBenchArgs;
#[cfg(feature = "control")]
pub(crate) use repo::{DeskArgs, RepoCommand, SignModelArgs};
#[cfg(feature = "control")]
pub(crate) use rollout::{ApprovalName, OnFailName, RolloutArgs, RolloutCommand, RolloutStartArgs, Start};
#[cfg(feature = "control")]
pub(crate) use sample::{JudgeArgs, SampleCommand};
pub(crate) use setup::ConfigCommand;
#[cfg(feature = "control")]
pub(crate) use setup::{InitArgs, ManArgs, Template};
#[cfg(feature = "control")]
pub(crate) use shadow::{ShadowCommand, ShadowPromoteArgs};
#[cfg(feature = "control")]
pub(crate) use sim::SimArgs;
#[cfg(feature = "agent")]
pub(crate) use speech::SpeechArgs;
#[cfg(feature = "agent")]
pub(crate) use telemetry::TelemetryArgs;
#[cfg(feature = "control")]
pub(crate) use tuf::{TufClientArgs, TufClientCommand};
#[cfg(feature = "control")]
pub(crate) use webhook::WebhookArgs;
#[cfg(feature = "control")]
pub(crate) use why::{LineageArgs, ModelCommand, WhyArgs};

/// Keeps machine-learning models on edge devices good.
///
/// Trains, converts, signs, deploys, serves, monitors and retrains models on many devices.
/// Try `edgeward demo` first.
#[derive(Parser)]
#[command(name = "edgeward", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print results, and failures, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to log on stderr, such as `debug` or `warn,edgeward_agent=debug`
    #[arg(long, global = true, value_name = "FILTER", default_value = "warn", env = "EDGEWARD_LOG")]
    pub(crate) log: String,
    /// The settings file: what flags are where neither the command line nor the environment says. Without it, the first
    /// of ~/.config/edgeward/config.toml and /etc/edgeward/config.toml that is there
    #[arg(long, global = true, value_name = "FILE", env = "EDGEWARD_CONFIG")]
    pub(crate) config: Option<std::ffi::OsString>,
    /// How to log: for people, or one JSON object a line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        env = "EDGEWARD_LOG_FORMAT",
        value_enum
    )]
    pub(crate) log_format: LogFormat,
    /// Ends with this process
    #[arg(long, global = true, hide = true, value_name = "PID")]
    pub(crate) parent: Option<i32>,
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Watch a model decay on devices, be retrained and be replaced while requests keep flowing
    #[cfg(feature = "control")]
    Demo(DemoArgs),
    /// Run the control plane: registry, rollouts, alerts, dashboard
    #[cfg(feature = "control")]
    Server(ServerArgs),
    /// Run a device: fetch, verify, serve and watch its models
    #[cfg(feature = "agent")]
    Agent(Box<AgentArgs>),
    /// Serve one model, without a control plane
    #[cfg(feature = "agent")]
    Serve(Box<ServeArgs>),
    /// Show what a device on this machine runs, or with --project what the next run of a pipeline would do, and why
    #[cfg(feature = "agent")]
    Status(StatusArgs),
    /// Begin a project: a folder with a project file, data or a place for it, and what comes next
    #[cfg(feature = "control")]
    Init(InitArgs),
    /// Run a project's pipeline: data, train, convert, evaluate, gates, bundle, sign, register
    #[cfg(feature = "control")]
    Run(RunArgs),
    /// Show what differs between two runs of a project, or between a run and what lies in its folder: parameters, files, metrics
    #[cfg(feature = "control")]
    Diff(DiffArgs),
    /// Show the runs of a project and what they came to, newest first
    #[cfg(feature = "control")]
    Log(LogArgs),
    /// Translate and optimise a model file for devices
    #[cfg(feature = "control")]
    Convert(ConvertArgs),
    /// Show what a model file or a bundle holds
    #[cfg(feature = "control")]
    Inspect(InspectArgs),
    /// Time every form of a bundle on every engine here, and show which one a device like this one takes
    #[cfg(feature = "control")]
    Bench(BenchArgs),
    /// Measure what each way of reloading a model costs: restart, reboot and watch, by poll and by push
    #[cfg(feature = "control")]
    ReloadBench(ReloadBenchArgs),
    /// Show what a CSV or Parquet file holds, column by column
    #[cfg(feature = "control")]
    Profile(ProfileArgs),
    /// Show how far the columns of one file have moved from another's
    #[cfg(feature = "control")]
    Drift(DriftArgs),
    /// Replay a history and show which alarms a monitor would have raised, and when
    #[cfg(feature = "control")]
    Backtest(BacktestArgs),
    /// Roll a model's version out to the devices
    #[cfg(feature = "control")]
    Deploy(DeployArgs),
    /// The certificate authorities on which the fleet's TLS stands
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Ca(CaCommand),
    /// Operator tokens: who may do what
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Token(TokenCommand),
    /// Devices: let in, listed, shut out
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Groups of devices, by their labels
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Group(GroupCommand),
    /// Registered models
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Model(ModelCommand),
    /// Pipeline runs
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Runs(ListCommand),
    /// Repositories that pipelines come from, at level 2
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Source(SourceCommand),
    /// Candidates that run beside what serves, until one is shown to be better
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Shadow(ShadowCommand),
    /// Rollouts
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Alerts that were raised, and who has seen them
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Samples that are held back from training until a person decides
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Sample(SampleCommand),
    /// Run many simulated devices against a control plane, and measure what it takes
    #[cfg(feature = "control")]
    Sim(Box<SimArgs>),
    /// Every decision, from the ledger
    #[cfg(feature = "control")]
    Events(EventsArgs),
    /// The tamper-evident ledger
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Show why a prediction was what it was: what was seen, what moved the answer, where the model comes from, and proof
    #[cfg(feature = "control")]
    Why(Box<WhyArgs>),
    /// Records of predictions: forgetting whom they are about
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Record(RecordCommand),
    /// Repositories that devices follow, as plain folders for any web server or bucket
    #[cfg(feature = "control")]
    #[command(subcommand)]
    Repo(RepoCommand),
    /// Put an OpenSSF model signature beside a bundle, for the public `model-signing` tool
    #[cfg(feature = "control")]
    SignModel(SignModelArgs),
    /// A plain client of any repository that follows TUF, with the interface of its conformance suite
    #[cfg(feature = "control")]
    TufClient(TufClientArgs),
    /// Settings: by command line, environment and file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write a manual page per command
    #[cfg(feature = "control")]
    Man(ManArgs),
    /// Print shell completions
    Completions(CompletionsArgs),
}

/// Which control plane to talk to.
#[cfg(feature = "control")]
#[derive(Args)]
pub(crate) struct Remote {
    /// The control plane
    #[arg(long, value_name = "URL", env = "EDGEWARD_SERVER", default_value = "http://127.0.0.1:7700", value_parser = parse_server)]
    pub(crate) server: String,
    /// The operator token
    #[arg(long, env = "EDGEWARD_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// A file with the operator token; goes before --token and its variable
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Whom to believe under https: a file with certificate authorities (PEM), or the fingerprint of one; this computer's
    /// own if not given
    #[arg(long, value_name = "FILE|sha256:HEX", env = "EDGEWARD_CA")]
    pub(crate) ca: Option<String>,
}

/// Flags of `demo`.
#[cfg(feature = "control")]
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Which story
    #[arg(value_enum, default_value_t = StoryName::Robots)]
    pub(crate) story: StoryName,
    /// How many devices [default: 3 robots, 1 desk, or 2 speakers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) devices: Option<u16>,
    /// Requests per second and device of the robots; the oil story asks once per trading day, the speech story 400 times a week
    #[arg(long, value_name = "R", default_value_t = 30.0, value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// A new or empty folder to keep everything in; a temporary one if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    pub(crate) keep: bool,
    /// Tell the story once as plain lines, then end, on a terminal too
    #[arg(long)]
    pub(crate) once: bool,
    /// The speech story without other accents: nothing should be retrained
    #[arg(long)]
    pub(crate) no_drift: bool,
    /// What the speech story draws by: who says which word when, and the noise around it
    #[arg(long, value_name = "N", default_value_t = 26)]
    pub(crate) seed: u64,
}

/// The stories that can be told.
#[cfg(feature = "control")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoryName {
    /// Parcel-sorting robots read route digits; one day two new digits appear
    Robots,
    /// A desk predicts oil prices; one day the price is negative
    Oil,
    /// Devices hear command words; over 26 weeks accents arrive that their model never heard
    Speech,
}

/// Flags of `server`.
#[cfg(feature = "control")]
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", env = "EDGEWARD_DATA", default_value = ".edgeward/server")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The bucket that holds the models' bytes, spoken to as the `AWS_*` variables say; a folder in --data if not given
    #[arg(long, value_name = "s3://BUCKET/PREFIX")]
    pub(crate) blobs: Option<String>,
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    pub(crate) listen: SocketAddr,
    /// Ask for the operator token on loopback too
    #[arg(long)]
    pub(crate) require_auth: bool,
    /// Speak TLS on loopback too; elsewhere it always does
    #[arg(long)]
    pub(crate) tls: bool,
    /// A name or address under which devices and people reach it, beside this machine's own; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(crate) public_name: Vec<String>,
    /// A certificate that any computer believes, with its chain (PEM), in place of one of the fleet's own authority
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// How long a device's certificate lasts; devices renew it after two thirds of that
    #[arg(long, value_name = "SPAN", default_value = "90d", value_parser = parse_span)]
    pub(crate) certificate_life: Duration,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
}

/// Flags of `deploy`.
#[cfg(feature = "control")]
#[derive(Args)]
pub(crate) struct DeployArgs {
    /// The model
    pub(crate) model: String,
    /// Which version; the newest if not given
    #[arg(long, value_name = "N")]
    pub(crate) version: Option<u64>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    pub(crate) cause: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// A listing.
#[cfg(feature = "control")]
#[derive(Subcommand)]
pub(crate) enum ListCommand {
    /// List them
    Ls {
        #[command(flatten)]
        remote: Remote,
    },
}

/// Flags of `events`.
#[cfg(feature = "control")]
#[derive(Args)]
pub(crate) struct EventsArgs {
    /// Keep printing new ones
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// The first entry to show
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(crate) from: u64,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Flags of `completions`.
#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// Friendly interactive shell
    Fish,
}

/// `http://HOST[:PORT][/PATH]`, or `https`.
fn parse_url(text: &str) -> Result<String, String> {
    let uri: Option<ureq::http::Uri> = text.parse().ok();
    let is_web =
        uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    match is_web {
        true => Ok(text.to_owned()),
        false => Err("an address looks like http://127.0.0.1:7700".to_owned()),
    }
}

/// The address of a control plane: `https`, or `http` on this machine, where nobody listens in.
fn parse_server(text: &str) -> Result<String, String> {
    let address = parse_url(text)?;
    let uri: Option<ureq::http::Uri> = text.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    match is_this_machine(host) || text.starts_with("https:") {
        true => Ok(address),
        false => Err("a control plane on another machine is reached over https://".to_owned()),
    }
}

#[cfg(feature = "control")]
const RATE_PER_S_MAX: f64 = 1000.0;

#[cfg(feature = "control")]
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_PER_S_MAX => Ok(rate),
        _ => Err(format!("a rate is a number above 0 and up to {RATE_PER_S_MAX}")),
    }
}

/// `90s`, `30m`, `1h`, `7d`, `500ms`.
#[cfg(feature = "agent")]
fn parse_span(text: &str) -> Result<Duration, String> {
    const RULE: &str = "a span is a whole number above 0 and a unit: 500ms, 90s, 30m, 1h, 7d";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(RULE.to_owned()),
    };
    let span_ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    span_ms.filter(|ms| *ms > 0).map(Duration::from_millis).ok_or_else(|| RULE.to_owned())
}

#[cfg(all(test, feature = "control"))]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_is_where_the_guides_say() {
        let mut names = Vec::new();
        collect("edgeward", &Cli::command(), &mut names);
        insta::assert_snapshot!(names.join("\n"));
    }

    fn collect(path: &str, command: &clap::Command, names: &mut Vec<String>) {
        let visible = command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set());
        let flags = visible.map(|arg| {
            arg.get_long().map_or_else(|| arg.get_id().as_str().to_uppercase(), |long| format!("--{long}"))
        });
        names.push(std::iter::once(path.to_owned()).chain(flags).collect::<Vec<_>>().join(" "));
        for inner in command.get_subcommands() {
            collect(&format!("{path} {}", inner.get_name()), inner, names);
        }
    }

    #[test]
    fn spans_read_as_people_write_them() {
        let ms = |text| parse_span(text).ok().map(|span| span.as_millis());
        assert_eq!(ms("500ms"), Some(500));
        assert_eq!(ms("1h"), Some(3_600_000));
        assert_eq!(ms("7d"), Some(604_800_000));
        for bad in ["", "h", "0s", "1", "1.5h", "-1s", "1 h", "99999999999999999999d"] {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for good in ["http://127.0.0.1:7700", "https://plant.example/edgeward/", "http://[::1]:7700"] {
            assert_eq!(parse_url(good).as_deref(), Ok(good));
        }
        for bad in ["", "notaurl", "127.0.0.1:7700", "ftp://plant", "http://", "http://a b"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in
            ["http://127.0.0.1:7700", "http://localhost", "http://[::1]:7700", "https://plant.example"]
        {
            assert_eq!(parse_server(good).as_deref(), Ok(good));
        }
        for bad in ["http://plant.example", "http://10.0.0.1:7700", "http://127.0.0.1.example", "plant"] {
            assert!(parse_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_file_may_stand_beside_a_token_from_the_environment() {
        let words = ["edgeward", "model", "ls", "--token", "stale", "--token-file", "operator.token"];
        assert!(Cli::try_parse_from(words).is_ok());
    }

    #[test]
    fn rates_are_bounded() {
        assert_eq!(parse_rate("30"), Ok(30.0));
        for bad in ["0", "-1", "NaN", "inf", "1001", "x"] {
            assert!(parse_rate(bad).is_err(), "{bad}");
        }
    }
}
