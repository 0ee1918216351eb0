//! Metrics as data: families of points, written as Prometheus reads them ([`text`]) or as OTLP carries them ([`crate::otlp`]).
//!
//! Whoever has figures makes the families anew each time they are asked for; nothing is counted here. Names follow the
//! conventions of Prometheus: base units, `_total` for counters, `_info` for facts that are always 1.

use std::fmt::Write as _;

mod process;

pub use process::process;

/// The content type of [`text`]: version 0.0.4 of the text format.
pub const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Points of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// What its points are.
    pub kind: Kind,
    /// The points; none of them has the labels of another.
    pub points: Vec<Point>,
}

/// What points are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process begins anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// One point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: Value,
}

/// The value of a point.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
}

/// Counts by size.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds, rising; what lies above the last has a count of its own.
    pub bounds: Vec<f64>,
    /// Counts between the bounds, one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of what was counted.
    pub sum: f64,
}

impl Family {
    /// A family without any point yet.
    #[must_use]
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, help, kind, points: Vec::new() }
    }

    /// A counter.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Counter, help)
    }

    /// A gauge.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Gauge, help)
    }

    /// A histogram.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self::new(name, Kind::Histogram, help)
    }

    /// Adds a point.
    pub fn push(&mut self, labels: Vec<(&'static str, String)>, value: f64) {
        self.points.push(Point { labels, value: Value::Number(value) });
    }

    /// Adds a histogram's point.
    pub fn push_histogram(&mut self, labels: Vec<(&'static str, String)>, histogram: Histogram) {
        self.points.push(Point { labels, value: Value::Histogram(histogram) });
    }

    /// The same with one point more.
    #[must_use]
    pub fn with(mut self, labels: Vec<(&'static str, String)>, value: f64) -> Self {
        self.push(labels, value);
        self
    }
}

impl Kind {
    /// Prometheus' word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The families in Prometheus' text format.
#[must_use]
pub fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        let Family { name, help, kind, points } = family;
        push(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()));
        for point in points {
            match &point.value {
                Value::Number(value) => line(&mut text, name, &point.labels, None, *value),
                Value::Histogram(histogram) => buckets(&mut text, name, &point.labels, histogram),
            }
        }
    }
    text
}

fn buckets(text: &mut String, name: &str, labels: &[(&'static str, String)], histogram: &Histogram) {
    let bucket = format!("{name}_bucket");
    let mut total = 0;
    let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
    for (bound, count) in bounds.zip(&histogram.counts) {
        total += count;
        line(text, &bucket, labels, Some(bound), total as f64);
    }
    line(text, &format!("{name}_sum"), labels, None, histogram.sum);
    line(text, &format!("{name}_count"), labels, None, total as f64);
}

fn line(text: &mut String, name: &str, labels: &[(&'static str, String)], bound: Option<f64>, value: f64) {
    text.push_str(name);
    let bound = bound.map(|bound| ("le", number(bound)));
    let all = labels.iter().map(|(key, value)| (*key, value.as_str()));
    let all = all.chain(bound.as_ref().map(|(key, value)| (*key, value.as_str())));
    for (at, (key, value)) in all.enumerate() {
        let before = if at == 0 { '{' } else { ',' };
        push(text, format_args!("{before}{key}=\"{}\"", escape(value)));
    }
    if !labels.is_empty() || bound.is_some() {
        text.push('}');
    }
    push(text, format_args!(" {}\n", number(value)));
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = text.write_fmt(line);
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    match value {
        value if value == f64::INFINITY => "+Inf".to_owned(),
        value if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut sizes = Family::histogram("size_bytes", "Sizes.");
        let histogram = Histogram { bounds: vec![1.0, 2.5], counts: vec![1, 0, 2], sum: 9.5 };
        sizes.push_histogram(vec![("of", "a\"b\\c\nd".to_owned())], histogram);
        let up = Family::gauge("up", "Whether.").with(Vec::new(), f64::NEG_INFINITY);
        assert_eq!(
            text(&[sizes, up]),
            "# HELP size_bytes Sizes.\n# TYPE size_bytes histogram\n\
             size_bytes_bucket{of=\"a\\\"b\\\\c\\nd\",le=\"1\"} 1\n\
             size_bytes_bucket{of=\"a\\\"b\\\\c\\nd\",le=\"2.5\"} 1\n\
             size_bytes_bucket{of=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 3\n\
             size_bytes_sum{of=\"a\\\"b\\\\c\\nd\"} 9.5\nsize_bytes_count{of=\"a\\\"b\\\\c\\nd\"} 3\n\
             # HELP up Whether.\n# TYPE up gauge\nup -Inf\n"
        );
    }
}
