//! Documents about shadows.

use edgeward_core::shadow::{ShadowOutcome, ShadowPolicy};
use edgeward_core::{Digest, ModelName, RunId, Timestamp};
use serde::{Deserialize, Serialize};

/// The comparisons of shadows with their champions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShadowTests {
    /// The newest first.
    pub tests: Vec<ShadowTest>,
}

/// The candidates of one run beside one champion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShadowTest {
    /// The run.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub run: RunId,
    /// The model.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub model: ModelName,
    /// The bundle they are compared with.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub champion: Digest,
    /// When it began.
    #[cfg_attr(feature = "openapi", schema(value_type = i64))]
    pub started_at_ms: Timestamp,
    /// When it ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub finished_at_ms: Option<Timestamp>,
    /// How a winner is chosen.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub policy: ShadowPolicy,
    /// How it ended; none while it is under way.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub outcome: Option<ShadowOutcome>,
    /// Why it ended, or what it waits for.
    pub reasons: Vec<String>,
    /// Devices that counted anything.
    pub devices: u64,
    /// Requests that the shadows answered, too.
    pub mirrored: u64,
    /// Requests and labels that found a device's queue full and were left out.
    pub dropped: u64,
    /// Labelled requests it rests on.
    pub labels: u64,
    /// The champion's share of them that were wrong; none without labels.
    pub champion_loss: Option<f64>,
    /// What a candidate's evidence is held against, log10.
    pub log10_bar: f64,
    /// The candidates, the best first.
    pub shadows: Vec<Shadow>,
}

/// How one candidate stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Shadow {
    /// What the project calls it.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its bundle.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub bundle: Digest,
    /// Devices that have it, verified and tested.
    pub staged: u64,
    /// Rows it answered.
    pub answered: u64,
    /// Share of them on which it said what the champion said.
    pub agreement: Option<f64>,
    /// Its mean confidence.
    pub confidence: Option<f64>,
    /// Its share of labelled requests that were wrong.
    pub loss: Option<f64>,
    /// What the champion's share minus that lies between, at the stated error rate for all numbers of labels at once.
    pub range: [f64; 2],
    /// Evidence that it is better than the champion, log10.
    pub log10_evidence: f64,
}
