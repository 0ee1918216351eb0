//! Is a labelled sample so far from everything the model's evaluation saw that a person should look at it first?
//!
//! The check is the monitor's for a single impossible value, without its limit on alarms: every such sample is held back,
//! not only the first. Deliberately missing: the decision, which is a person's, and labels that are classes.

use edgeward_monitor::outlier::check;
use edgeward_monitor::{MonitorConfig, Reference};

/// What is possible.
#[derive(Clone, Debug)]
pub(crate) struct Possible {
    labels: Option<Reference>,
    margin: f64,
    arl_samples: f64,
}

impl Possible {
    /// By the budget of `config`, which a monitor was made of.
    pub(crate) fn new(config: &MonitorConfig, labels: Option<Reference>) -> Self {
        let arl_samples = config.budget.arl_samples().unwrap_or(f64::MAX);
        Self { labels, margin: config.outlier_margin, arl_samples }
    }

    /// What is impossible about an input of `reference`'s model or about its label; none if nothing is.
    pub(crate) fn suspicion(&self, reference: &Reference, values: &[f32], label: &str) -> Option<String> {
        let label: Option<f32> = label.trim().parse().ok();
        let of_label = || self.of_value(self.labels.as_ref()?, 0, label?);
        self.impossible(reference, values).map(|(_, why)| why).or_else(of_label)
    }

    /// The first feature of an input whose value is impossible, and why.
    pub(crate) fn impossible(&self, reference: &Reference, values: &[f32]) -> Option<(String, String)> {
        let mut features = values.iter().take(reference.features()).enumerate();
        features.find_map(|(stream, value)| {
            let why = self.of_value(reference, stream, *value)?;
            Some((reference.streams().get(stream)?.name().to_owned(), why))
        })
    }

    fn of_value(&self, reference: &Reference, stream: usize, value: f32) -> Option<String> {
        let arl_samples = self.arl_samples.min(reference.supported_arl());
        check(reference, stream, value, self.margin, arl_samples).map(|_| words(reference, stream, value))
    }
}

fn words(reference: &Reference, stream: usize, value: f32) -> String {
    let Some(stream) = reference.streams().get(stream) else { return String::new() };
    match stream.numeric().map(|numeric| numeric.bins.support()) {
        Some((low, high)) => format!("'{}' is {value}; the reference holds {low} to {high}", stream.name()),
        None => {
            let known = stream.names().map_or(0, <[String]>::len);
            format!("'{}' is {value}; it is none of the {known} that the reference holds", stream.name())
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeward_monitor::Sample;

    use super::*;

    fn reference(name: &str) -> Reference {
        let prices: Vec<f32> =
            (0..4000_u16).map(|i| 18.0 + 60.0 * f32::from(i % 401) / 400.0 + f32::from(i % 7)).collect();
        let rows = prices.iter().map(|price| Sample {
            features: std::slice::from_ref(price),
            predicted: None,
            confidence: None,
        });
        Reference::fit(&[name.to_owned()], &[], rows).unwrap()
    }

    #[test]
    fn inputs_and_labels_are_looked_at() {
        let possible = Possible::new(&MonitorConfig::default(), Some(reference("label")));
        let suspicion = |price, label| possible.suspicion(&reference("price"), &[price], label);
        assert_eq!(suspicion(20.0, "21.5"), None);
        let said = suspicion(-36.98, "8.91").unwrap();
        assert!(said.starts_with("'price' is -36.98; the reference holds 18 to "), "{said}");
        assert!(suspicion(18.31, "-36.98").unwrap().starts_with("'label' is -36.98"));
        assert_eq!(suspicion(20.0, "a class"), None);
        assert!(suspicion(f32::NAN, "20").unwrap().contains("NaN"));
        let no_labels = Possible::new(&MonitorConfig::default(), None);
        assert_eq!(no_labels.suspicion(&reference("price"), &[20.0], "-36.98"), None);
    }
}
