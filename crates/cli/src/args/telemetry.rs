//! Where a process sends its metrics and its log, beside `/metrics` and stderr.

use std::time::Duration;

use clap::Args;

use super::{parse_span, parse_url};

/// Flags about an OpenTelemetry collector. The variables are those that OpenTelemetry itself names.
#[derive(Args, Clone, Debug)]
pub(crate) struct TelemetryArgs {
    /// Send metrics, the log and spans to this OpenTelemetry collector too (OTLP over HTTP), such as http://127.0.0.1:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = parse_url)]
    pub(crate) otlp: Option<String>,
    /// Headers for the collector, such as one with a token: `name=value,name=value`
    #[arg(long, value_name = "LIST", env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true, value_parser = parse_headers)]
    pub(crate) otlp_headers: Option<Headers>,
    /// Time between two pushes of metrics
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_span)]
    pub(crate) otlp_every: Duration,
    /// Share of the requests that begin a trace of their own, from 0 to 1; those whose caller records a trace are always told
    #[arg(long, value_name = "RATIO", default_value = "0.01", env = "OTEL_TRACES_SAMPLER_ARG", value_parser = parse_ratio)]
    pub(crate) otlp_trace_ratio: f64,
}

/// Headers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(String, String)>);

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "a share is a number from 0 to 1, such as 0.01".to_owned())
}

fn parse_headers(text: &str) -> Result<Headers, String> {
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or("headers look like name=value,name=value")?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = ureq::http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        match is_name && ureq::http::HeaderValue::from_str(value).is_ok() {
            true => Ok((name.to_owned(), value.to_owned())),
            false => Err(format!("'{name}' is no header that can be sent")),
        }
    };
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(one).collect::<Result<_, _>>().map(Headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_between_none_and_all() {
        assert_eq!((parse_ratio("0"), parse_ratio("1"), parse_ratio("0.5")), (Ok(0.0), Ok(1.0), Ok(0.5)));
        for wrong in ["-0.1", "1.1", "NaN", "all"] {
            assert!(parse_ratio(wrong).unwrap_err().contains("from 0 to 1"), "{wrong}");
        }
    }

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let both = vec![
            ("authorization".to_owned(), "Bearer x=y".to_owned()),
            ("tenant".to_owned(), "3".to_owned()),
        ];
        assert_eq!(parse_headers("authorization=Bearer x=y, tenant=3"), Ok(Headers(both)));
        assert!(parse_headers("authorization").unwrap_err().contains("name=value"));
        assert!(parse_headers("two words=3").unwrap_err().contains("no header"));
    }
}
