//! What labels say about the model, in numbers: the latest window that has any, each metric with its range.

use edgeward_api::operator::{Drift, DriftWindow, Metric};
use maud::{Markup, html};

use super::figures::clock;

/// The metrics of the latest window with labels, and the accuracy without labels; nothing where there is neither.
pub(super) fn metrics(drift: &Drift) -> Markup {
    let labelled = drift.windows.iter().rev().find(|window| !window.metrics.is_empty());
    let estimated = drift.windows.iter().rev().find_map(|window| window.estimated_accuracy.as_ref());
    if labelled.is_none() && estimated.is_none() {
        return html! {};
    }
    html! {
        details.data {
            summary { "Performance" }
            @if let Some(window) = labelled { (table(window)) }
            @if let Some(window) = labelled { @for segment in &window.segments { p.warn { (segment) } } }
            @if let Some(metric) = estimated {
                p.quiet { "Accuracy without labels: " (number(metric.value)) " (" (range(metric)) ")"
                    @if let Some(assumes) = &metric.assumes { ", " (assumes) } "." }
            }
        }
    }
}

fn table(window: &DriftWindow) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Metrics from labels" {
            table {
                thead { tr { th scope="col" { "Until " (clock(window.to_ms)) } th.n scope="col" { "Value" }
                    th.n scope="col" { "Range, 95%" } th.n scope="col" { "Labels" } } }
                tbody { @for (name, metric) in &window.metrics { tr {
                    td { (name.replace('_', " ")) @if let Some(assumes) = &metric.assumes { " " span.quiet { (assumes) } } }
                    td.n { (number(metric.value)) }
                    td.n { (range(metric)) }
                    td.n { (metric.n) }
                } } }
            }
        }
    }
}

fn range(metric: &Metric) -> String {
    format!("{} to {}", number(metric.low), number(metric.high))
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 || (size > 0.0 && size < 1e-3) => format!("{value:.2e}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_short_at_any_size() {
        assert_eq!(
            [0.0, 0.9714, -12.5, 3e7, 2e-5].map(number),
            ["0.000", "0.971", "-12.500", "3.00e7", "2.00e-5"]
        );
    }
}
