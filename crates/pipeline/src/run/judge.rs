//! What a run asks of the model it made before anybody gets it: the gates, with the incumbent measured on the same rows.

use edgeward_api::client::{Client, ClientError};
use edgeward_api::operator::GateVerdict;
use edgeward_core::Digest;
use edgeward_model::{Bundle, Signature};

use super::stages::{Data, SIGNATURE_FILE, VERDICTS_FILE, forms_digest};
use super::{Pipeline, RunError};
use crate::cache::{CacheError, Entry, StageCode, write_json};
use crate::convert::Form;
use crate::evaluate::{self, Evaluation};
use crate::examine::ExamineError;
use crate::gates::endurance::{self, Endurance};
use crate::gates::{self, Bout, Candidate, Incumbent};
use crate::incumbent::{self, IncumbentError};
use crate::measure::Prediction;
use crate::moved::{self, MovedError};
use crate::register::RegisterError;
use crate::slice::slice;
use crate::split::Side;
use crate::stress::Stress;

const MOVED: StageCode = StageCode { name: "moved", version: 1 };
const STRESS: StageCode = StageCode { name: "stress", version: 1 };
const INCUMBENT: StageCode = StageCode { name: "incumbent", version: 3 };

const PREDICTIONS_FILE: &str = "predictions.json";
const ENDURANCE_FILE: &str = "endurance.json";

impl Pipeline<'_> {
    /// What each form costs against the trained model.
    pub(super) fn metric_drops(&self, evaluation: &Evaluation) -> Vec<GateVerdict> {
        let Some(max) = self.project.convert.parity.metric_drop_max else { return Vec::new() };
        let judge = |form: &evaluate::FormQuality| {
            let candidate = Candidate { name: &form.variant.label(), quality: &form.quality };
            gates::metric_drop(max, evaluation.trained.as_ref(), &candidate)
        };
        evaluation.forms.iter().filter_map(judge).collect()
    }

    pub(super) fn gates(&self, data: &Data, evaluation: &Evaluation) -> Result<Vec<GateVerdict>, RunError> {
        let rules = &self.project.gate;
        let incumbent = match rules.regression_max {
            Some(_) => self.incumbent(data, evaluation)?,
            None => Incumbent::None("[gate] regression_max is not set".to_owned()),
        };
        let names: Vec<String> = evaluation.forms.iter().map(|form| form.variant.label()).collect();
        let candidates: Vec<Candidate<'_>> = names
            .iter()
            .zip(&evaluation.forms)
            .map(|(name, form)| Candidate { name, quality: &form.quality })
            .collect();
        let mut judged = gates::judge(rules, &candidates, &incumbent);
        judged.extend(gates::budget(&self.project.monitor, data.sides.holdout.len() as u64));
        Ok(judged)
    }

    /// What the preferred form stands; nothing unless a gate asks for it.
    pub(super) fn endurance(
        &self,
        data: &Data,
        (converted, forms): (&Entry, &[Form]),
        evaluation: &Evaluation,
    ) -> Result<Vec<GateVerdict>, RunError> {
        let (rules, task, tools) = (&self.project.gate, self.project.task(), self.context.tools);
        let (Some(form), Some(measured)) = (forms.first(), evaluation.forms.first()) else {
            return Ok(Vec::new());
        };
        // The rows are read only for a gate that wants them: a run with nothing new to do reads none.
        if rules.calibration_max.is_none() && !endurance::is_asked(rules) {
            return Ok(Vec::new());
        }
        let holdout = self.side(data, &data.sides.holdout)?;
        let calibration = |max| endurance::calibration(max, &holdout.labels, &evaluation.predictions);
        let mut judged: Vec<GateVerdict> = rules.calibration_max.map(calibration).into_iter().collect();
        if !endurance::is_asked(rules) {
            return Ok(judged);
        }
        let mut read = self.data_inputs(data)?;
        read.insert("forms", forms_digest(std::slice::from_ref(form)));
        let how = (
            task,
            rules.noise.to_bits(),
            rules.missing.to_bits(),
            self.project.seed,
            tools.engine_versions(),
        );
        let stage = self.stage(STRESS, &how, &read, |out| {
            let signature: Signature = converted.json(SIGNATURE_FILE)?;
            let stress = Stress { signature: &signature, task, rules, seed: self.project.seed };
            let endurance = stress.measure(form, &holdout, tools.engines)?;
            Ok(write_json(&out.join(ENDURANCE_FILE), &endurance)?)
        })?;
        let endurance: Endurance = stage.json(ENDURANCE_FILE)?;
        judged.extend(endurance::judge(rules, &measured.quality, &endurance));
        Ok(judged)
    }

    /// The incumbent, as good as it can be judged. Only a server that is away is an error.
    fn incumbent(&self, data: &Data, evaluation: &Evaluation) -> Result<Incumbent, RunError> {
        let Some(client) = self.context.server else {
            return Ok(Incumbent::None("there is no server".to_owned()));
        };
        let Some(digest) = incumbent::champion(client, &self.project.model).map_err(away)? else {
            return Ok(Incumbent::None("no version serves yet".to_owned()));
        };
        match self.measure_incumbent(client, data, evaluation, &digest) {
            Ok(incumbent) => Ok(incumbent),
            Err(Unmeasured::Unreadable(error)) => match *error {
                IncumbentError::Fetch(error) if error.is_transient() => Err(away(error).into()),
                error => Ok(Incumbent::Unreadable { bundle: digest, reason: error.to_string() }),
            },
            Err(Unmeasured::Run(error)) => Err(error),
        }
    }

    /// Whether the data has left what the model that serves was made for; nothing unless the project asks.
    pub(super) fn moved(&self, data: &Data) -> Result<Option<GateVerdict>, RunError> {
        let Some(max) = self.project.validate.drift_max else { return Ok(None) };
        let nothing = |why: &str| Ok(Some(moved::without(why)));
        let Some(client) = self.context.server else { return nothing("there is no server") };
        if self.looking.is_some() {
            return Ok(None);
        }
        let Some(digest) = incumbent::champion(client, &self.project.model).map_err(away)? else {
            return nothing("no version serves yet");
        };
        let mut read = self.data_inputs(data)?;
        read.insert("incumbent", digest);
        let stage = self.stage(MOVED, &max.to_bits(), &read, |out| {
            let bundle =
                self.obtain(client, &digest).map_err(|error| MovedError::Incumbent(Box::new(error)))?;
            let verdict = moved::judge(max, &bundle, self.rows(&data.snapshot)?)?;
            Ok(write_json(&out.join(VERDICTS_FILE), &verdict)?)
        })?;
        Ok(Some(stage.json(VERDICTS_FILE)?))
    }

    /// The bundle of the incumbent; of several that ask at once, one fetches it.
    fn obtain(&self, client: &Client, digest: &Digest) -> Result<Bundle, IncumbentError> {
        let _turn = self.cache.turn(*digest);
        incumbent::obtain(client, self.work, digest, self.context.tools.engines)
    }

    fn measure_incumbent(
        &self,
        client: &Client,
        data: &Data,
        evaluation: &Evaluation,
        digest: &Digest,
    ) -> Result<Incumbent, Unmeasured> {
        let tools = self.context.tools;
        let bundle = self.obtain(client, digest)?;
        let rule = incumbent::split_rule(&bundle)?;
        let told = self.told_rows(&data.snapshot)?;
        let (theirs, rows) = (rule.sides(told).map_err(IncumbentError::Divided)?, &told.table);
        let held_by_both = |row: &usize| theirs[*row] == Side::Holdout;
        let (places, common): (Vec<usize>, Vec<usize>) =
            data.sides.holdout.iter().copied().enumerate().filter(|(_, row)| held_by_both(row)).unzip();
        let common = rows.select(&common);
        let task = self.project.task();
        let mut read = self.data_inputs(data)?;
        read.insert("incumbent", *digest);
        let stage = self.stage_or(INCUMBENT, &(&rule, task), &read, |out| -> Result<(), Unmeasured> {
            let said = incumbent::predict(&bundle, tools.engines, &common)?;
            Ok(write_json(&out.join(PREDICTIONS_FILE), &said).map_err(RunError::Work)?)
        })?;
        let incumbent: Vec<Prediction> = stage.json(PREDICTIONS_FILE).map_err(RunError::Cache)?;
        let candidate = places.iter().map(|place| evaluation.predictions[*place].clone()).collect();
        let slices: Result<_, String> =
            self.project.gate.slices.iter().map(|column| slice(&common, column)).collect();
        let slices = slices.map_err(|reason| RunError::from(ExamineError::Input(reason)))?;
        let bout = Bout { task, labels: common.labels, incumbent, candidate, slices };
        Ok(Incumbent::Measured { bundle: *digest, bout })
    }
}

/// The server did not say which version serves, or what it is.
const fn away(source: ClientError) -> RegisterError {
    RegisterError::Call { what: "asking for the incumbent", source }
}

/// Why the incumbent was not measured: it cannot be, or this run cannot go on.
enum Unmeasured {
    Unreadable(Box<IncumbentError>),
    Run(RunError),
}

impl From<IncumbentError> for Unmeasured {
    fn from(error: IncumbentError) -> Self {
        Self::Unreadable(Box::new(error))
    }
}

impl From<RunError> for Unmeasured {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<CacheError> for Unmeasured {
    fn from(error: CacheError) -> Self {
        Self::Run(error.into())
    }
}
