//! Reports as one self-contained page each: style and drawings inside, no script, nothing loaded from elsewhere.
//!
//! A pure function of what it shows. Deliberately missing: who computed it, and where it is written.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Features that are drawn; the others stand in the table.
const DRAWN_MAX: usize = 60;
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 150.0;
const FLOOR: f64 = 130.0;
const CEILING: f64 = 8.0;
/// Effect from which a feature counts as moved far.
const FAR: f64 = 0.2;

/// What a page about two tables shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriftPage {
    /// What the reference is called.
    pub reference: String,
    /// What is compared with it.
    pub current: String,
    /// What is said about both, a sentence each.
    pub notes: Vec<String>,
    /// The features, in the order in which they are shown.
    pub features: Vec<DriftFeature>,
}

/// One feature on that page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriftFeature {
    /// Its name.
    pub name: String,
    /// How far it moved beyond noise, 0 to 1.
    pub effect: f64,
    /// What happened to it, a sentence each.
    pub reasons: Vec<String>,
    /// Further numbers by name.
    pub figures: Vec<(String, String)>,
    /// Label, share in the reference and share now of each bar.
    pub bars: Vec<(String, f64, f64)>,
}

/// The page.
#[must_use]
pub fn drift_page(page: &DriftPage) -> String {
    let moved = page.features.iter().filter(|feature| feature.effect > 0.0).count();
    let title = format!("{moved} of {} features moved", page.features.len());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Drift: " (title) }
                style { (PreEscaped(include_str!("report.css"))) }
            }
            body {
                header {
                    h1 { (title) }
                    p.quiet { code { (page.current) } " against the reference " code { (page.reference) } }
                    @for note in &page.notes { p.quiet { (note) } }
                    p.key { span.reference { "reference" } span.current { "current" } }
                }
                main {
                    (overview(page))
                    @for feature in page.features.iter().take(DRAWN_MAX) { (card(feature)) }
                    @if page.features.len() > DRAWN_MAX {
                        p.quiet { (page.features.len() - DRAWN_MAX) " more features are in the table only." }
                    }
                }
                footer { "Effect sizes, not probabilities: whether a move is an alarm is for a detector with a budget to say." }
            }
        }
    }
    .into_string()
}

fn overview(page: &DriftPage) -> Markup {
    html! {
        section.card {
            h2 { "All features, the most to blame first" }
            table {
                thead { tr { th { "feature" } th.n { "effect" } th { "what happened" } } }
                tbody {
                    @for feature in &page.features {
                        tr {
                            td { (feature.name) }
                            td.n.(strength(feature.effect)) { (format!("{:.3}", feature.effect)) }
                            td { (if feature.reasons.is_empty() { "nothing beyond noise".to_owned() } else { feature.reasons.join("; ") }) }
                        }
                    }
                }
            }
        }
    }
}

const fn strength(effect: f64) -> &'static str {
    if effect >= FAR {
        "far"
    } else if effect > 0.0 {
        "near"
    } else {
        "still"
    }
}

fn card(feature: &DriftFeature) -> Markup {
    html! {
        section.card {
            h2 { (feature.name) " " span.(strength(feature.effect)) { (format!("{:.3}", feature.effect)) } }
            @for reason in &feature.reasons { p { (reason) } }
            @if !feature.bars.is_empty() { (drawing(feature)) }
            dl {
                @for (name, value) in &feature.figures { div { dt { (name) } dd { (value) } } }
            }
        }
    }
}

/// Both distributions over one axis: the reference as filled bars, the current one as an outline before them.
fn drawing(feature: &DriftFeature) -> Markup {
    let bars = &feature.bars;
    let top = bars.iter().map(|(_, past, now)| past.max(*now)).fold(f64::MIN_POSITIVE, f64::max);
    let step = WIDTH / bars.len() as f64;
    let height = |share: f64| (share / top).clamp(0.0, 1.0) * (FLOOR - CEILING);
    let (first, last) = (&bars[0].0, &bars[bars.len() - 1].0);
    let label = format!("distribution of {} in the reference and now, from {first} to {last}", feature.name);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(label) preserveAspectRatio="none" {
            @for (at, (name, past, now)) in bars.iter().enumerate() {
                @let x = step * at as f64;
                g {
                    title { (name) ": " (percent(*past)) " in the reference, " (percent(*now)) " now" }
                    rect.reference x=(px(x + 1.0)) y=(px(FLOOR - height(*past))) width=(px((step - 2.0).max(0.5))) height=(px(height(*past))) {}
                    rect.current x=(px(x + step * 0.22)) y=(px(FLOOR - height(*now))) width=(px(step * 0.56)) height=(px(height(*now))) {}
                }
            }
            line.axis x1="0" x2=(WIDTH) y1=(FLOOR) y2=(FLOOR) {}
        }
        p.ends { span { (first) } span { (last) } }
    }
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> DriftPage {
        let feature = DriftFeature {
            name: "<b>price</b>".into(),
            effect: 0.4,
            reasons: vec!["mean 3 & more".into()],
            figures: vec![("psi".into(), "0.7".into())],
            bars: vec![("0 to 1".into(), 0.25, 0.0), ("1 to 2".into(), 0.75, 1.0)],
        };
        let still = DriftFeature { name: "still".into(), ..DriftFeature::default() };
        DriftPage {
            reference: "a.csv".into(),
            current: "b.csv".into(),
            features: vec![feature, still],
            notes: vec![],
        }
    }

    #[test]
    fn the_page_stands_alone_and_escapes_what_it_shows() {
        let text = drift_page(&page());
        assert!(text.contains("1 of 2 features moved") && text.contains("nothing beyond noise"));
        assert!(text.contains("&lt;b&gt;price") && !text.contains("<b>price"));
        assert!(!text.contains("<script") && !text.contains("http") && !text.contains("src="));
        assert!(
            text.contains("prefers-color-scheme: dark") && text.contains("25.0% in the reference, 0.0% now")
        );
    }

    #[test]
    fn only_so_many_features_are_drawn() {
        let many = vec![page().features[0].clone(); DRAWN_MAX + 5];
        let text = drift_page(&DriftPage { features: many, ..page() });
        assert_eq!(text.matches("<svg").count(), DRAWN_MAX);
        assert!(text.contains("5 more features"));
    }
}
