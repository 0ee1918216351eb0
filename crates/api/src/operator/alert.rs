//! Alerts as operators see them, and saying that one was seen.

use edgeward_core::{Alert, Timestamp};
use serde::{Deserialize, Serialize};

/// The alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alerts {
    /// The newest first.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub alerts: Vec<RaisedAlert>,
}

/// An alert as it was raised, and who has seen it. In JSON the fields of the alert stand beside `acknowledged`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RaisedAlert {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// Who has seen it; none if nobody said so.
    #[serde(default)]
    pub acknowledged: Option<Acknowledgement>,
}

/// Who has seen an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub at_ms: Timestamp,
    /// What they said about it.
    pub note: Option<String>,
}

/// Says that a person has seen an alert. It stands in the body and not in the path, since devices choose ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AcknowledgeRequest {
    /// The alert's id.
    pub alert: String,
    /// What there is to say about it; it stands in the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlertAcknowledged {
    /// The alert's id.
    pub alert: String,
    /// Who has seen it: the first one stands.
    pub acknowledged: Acknowledgement,
    /// Somebody had acknowledged it before, and nothing was written.
    pub already: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_keeps_its_shape_and_says_who_has_seen_it() {
        let raised = serde_json::json!({
            "id": "a1", "kind": "decay", "device": "d1", "model": "digits",
            "bundle": edgeward_core::Digest::of(b"v1"), "at_ms": 7, "stream": null, "sample": 10,
            "change_sample": 9, "log10_evidence": 9.5, "log10_threshold": 9.0, "message": "error rate rose",
        });
        let alert: Alert = serde_json::from_value(raised.clone()).unwrap();
        let seen = Acknowledgement { by: "ann".to_owned(), at_ms: Timestamp(9), note: None };
        for (acknowledged, said) in [
            (None, serde_json::json!(null)),
            (Some(seen), serde_json::json!({"by": "ann", "at_ms": 9, "note": null})),
        ] {
            let listed = RaisedAlert { alert: alert.clone(), acknowledged };
            let mut expected = raised.clone();
            expected["acknowledged"] = said;
            assert_eq!(serde_json::to_value(&listed).unwrap(), expected);
            let text = serde_json::to_string(&listed).unwrap();
            assert_eq!(serde_json::from_str::<RaisedAlert>(&text).unwrap(), listed);
        }
        // A control plane of an earlier build says nothing of it.
        assert_eq!(serde_json::from_value::<RaisedAlert>(raised).unwrap().acknowledged, None);
    }
}
