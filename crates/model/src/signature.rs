//! A model's contract with its callers: named tensors in and out, and what the outputs mean.
//!
//! A bundle carries it as `signature.json` (schema [`SIGNATURE_SCHEMA`]). With it a caller's input is checked before an
//! engine sees it, and an engine's output becomes a prediction: a class with its confidence, or a value.
//!
//! What the outputs mean is said by [`Roles`]:
//! - `probabilities`: floats, one per class and row. One float per row with two classes is the probability of class 1.
//! - `logits`: the same before softmax (before the logistic function if one per row).
//! - `label`: per row, an integer that is a class *index*, or a `BYTES` that is a class name.
//! - `value`: per row, the first number is the regression's result.
//! - `embedding`: floats per row, a hidden layer's output. It is no part of a prediction; a monitor compares it with those
//!   of rows that the model learned from.
//!
//! Probabilities win over logits, and both over the label, when a model has several.
//!
//! Deliberately missing: preprocessing. A model takes the tensors its graph declares.

mod check;
mod interpret;
mod spec;

use serde::{Deserialize, Serialize};

pub use check::InputError;
pub use interpret::{InterpretError, Interpretation, SCORES_MAX};
pub use spec::{Dim, TensorSpec};

/// Schema of [`Signature`].
pub const SIGNATURE_SCHEMA: &str = "edgeward.signature/1";

/// Largest signature file accepted, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 4 << 20;

/// Most inputs, and most outputs, a model may have.
pub const TENSORS_MAX: usize = 256;

/// Most classes and most features a signature may name.
pub const NAMES_MAX: usize = 1 << 16;

/// What a model predicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// One of these classes, in the order of the probabilities. Empty: the number of classes is not known.
    Classification {
        /// Class names.
        classes: Vec<String>,
    },
    /// A number.
    Regression,
    /// Anything else: outputs are passed on, not interpreted.
    Other,
}

/// Which output is what, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Class index or class name per row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Probability per class and row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<String>,
    /// Score per class and row that softmax turns into probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logits: Option<String>,
    /// Regression result per row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// A hidden layer's output per row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
}

impl Roles {
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("label", &self.label),
            ("probabilities", &self.probabilities),
            ("logits", &self.logits),
            ("value", &self.value),
            ("embedding", &self.embedding),
        ]
        .into_iter()
        .filter_map(|(role, name)| name.as_deref().map(|name| (role, name)))
    }
}

/// The named tensors of a model and their meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Always [`SIGNATURE_SCHEMA`].
    pub schema: String,
    /// What the model predicts.
    pub task: Task,
    /// The inputs, in the order of the graph.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in the order of the graph.
    pub outputs: Vec<TensorSpec>,
    /// Names of the columns of the first input; empty if they have none.
    #[serde(default)]
    pub feature_names: Vec<String>,
    /// Which output is what.
    #[serde(default)]
    pub roles: Roles,
}

/// Why a signature is refused.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Larger than [`SIGNATURE_BYTES_MAX`].
    #[error("the signature is {0} bytes, over the limit of {SIGNATURE_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the JSON of a signature.
    #[error("parsing the signature")]
    Parse(#[source] serde_json::Error),
    /// Another schema.
    #[error("the signature's schema is '{0}', this program reads '{SIGNATURE_SCHEMA}'; update the program")]
    Schema(String),
    /// No input or output, too many, or two of one name.
    #[error("the signature's {0}")]
    Tensors(String),
    /// A role that names no output.
    #[error("the signature gives the role '{role}' to '{output}', which is not an output")]
    Role {
        /// The role.
        role: &'static str,
        /// The name it was given to.
        output: String,
    },
    /// Cannot be written.
    #[error("writing the signature")]
    Write(#[source] edgeward_core::canonical::CanonicalError),
}

impl Signature {
    /// A signature of these tensors that says nothing about their meaning.
    #[must_use]
    pub fn new(task: Task, inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Self {
        let (feature_names, roles) = (Vec::new(), Roles::default());
        Self { schema: SIGNATURE_SCHEMA.to_owned(), task, inputs, outputs, feature_names, roles }
    }

    /// Reads and checks a signature from untrusted bytes.
    ///
    /// # Errors
    /// Any rule in [`SignatureError`] is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureError> {
        if bytes.len() > SIGNATURE_BYTES_MAX {
            return Err(SignatureError::TooLarge(bytes.len()));
        }
        let signature: Self = serde_json::from_slice(bytes).map_err(SignatureError::Parse)?;
        signature.validate()?;
        Ok(signature)
    }

    /// The canonical bytes of `signature.json`.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SignatureError> {
        edgeward_core::canonical::to_bytes(self).map_err(SignatureError::Write)
    }

    /// Class names, in the order of the probabilities; empty for other tasks.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match &self.task {
            Task::Classification { classes } => classes,
            Task::Regression | Task::Other => &[],
        }
    }

    /// Checks the rules a signature keeps whoever wrote it.
    ///
    /// # Errors
    /// A list is empty or too long, a name is used twice, or a role names no output.
    pub fn validate(&self) -> Result<(), SignatureError> {
        if self.schema != SIGNATURE_SCHEMA {
            return Err(SignatureError::Schema(self.schema.clone()));
        }
        check_tensors("inputs", &self.inputs)?;
        check_tensors("outputs", &self.outputs)?;
        if self.classes().len() > NAMES_MAX || self.feature_names.len() > NAMES_MAX {
            return Err(SignatureError::Tensors(format!("classes or features number more than {NAMES_MAX}")));
        }
        let unknown = |name: &str| self.outputs.iter().all(|output| output.name != name);
        match self.roles.named().find(|(_, name)| unknown(name)) {
            Some((role, name)) => Err(SignatureError::Role { role, output: name.to_owned() }),
            None => Ok(()),
        }
    }
}

fn check_tensors(what: &str, specs: &[TensorSpec]) -> Result<(), SignatureError> {
    let refuse = |why: String| Err(SignatureError::Tensors(why));
    if specs.is_empty() || specs.len() > TENSORS_MAX {
        return refuse(format!("{what} number {}, not 1 to {TENSORS_MAX}", specs.len()));
    }
    let mut names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => refuse(format!("{what} name '{}' twice", pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DataType;

    fn signature() -> Signature {
        let mut signature = Signature::new(
            Task::Classification { classes: vec!["a".into(), "b".into()] },
            vec![TensorSpec::new("x", DataType::Fp32, [Dim::symbol("n"), Dim::Fixed(3)])],
            vec![TensorSpec::new("p", DataType::Fp32, [Dim::symbol("n"), Dim::Fixed(2)])],
        );
        signature.roles.probabilities = Some("p".into());
        signature
    }

    #[test]
    fn the_file_round_trips() {
        let bytes = signature().to_bytes().unwrap();
        assert_eq!(Signature::parse(&bytes).unwrap(), signature());
        let expected = concat!(
            r#"{"feature_names":[],"inputs":[{"datatype":"FP32","name":"x","shape":["n",3]}],"#,
            r#""outputs":[{"datatype":"FP32","name":"p","shape":["n",2]}],"roles":{"probabilities":"p"},"#,
            r#""schema":"edgeward.signature/1","task":{"classes":["a","b"],"kind":"classification"}}"#
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn broken_rules_are_named() {
        let refused = |change: fn(&mut Signature), expected: &str| {
            let mut broken = signature();
            change(&mut broken);
            let error = Signature::parse(&broken.to_bytes().unwrap()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(|s| s.schema = "edgeward.signature/9".into(), "edgeward.signature/9");
        refused(|s| s.inputs.clear(), "inputs number 0");
        refused(|s| s.outputs.push(s.outputs[0].clone()), "outputs name 'p' twice");
        refused(|s| s.roles.label = Some("q".into()), "the role 'label' to 'q'");
    }
}
