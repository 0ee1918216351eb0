//! What is here and how it fares, as messages.

use std::sync::Arc;

use edgeward_model::{DataType, TensorSpec};
use edgeward_sdk::Loaded;

use super::messages::{
    InferStatistics, Latest, LogChoice, LogSetting, LogSettings, ModelConfig, ModelConfigResponse,
    ModelIndex, ModelInput, ModelMetadataResponse, ModelOutput, ModelRequest, ModelStatistics,
    ModelStatisticsResponse, ReadyResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    ServerMetadataResponse, StatisticDuration, TensorMetadata, TraceSetting, TraceSettings, VersionPolicy,
};
use crate::endpoint::settings::{self, Logging};
use crate::endpoint::triton::{self, Counted, Place};
use crate::endpoint::{Endpoint, Refusal, metadata};
use crate::registry::Served;

pub(super) fn server() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: "edgeward".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: metadata::EXTENSIONS.map(str::to_owned).to_vec(),
    }
}

pub(super) fn model_ready(endpoint: &Endpoint, asked: &ModelRequest) -> ReadyResponse {
    ReadyResponse { ready: find(endpoint, asked).is_ok() }
}

pub(super) fn model(endpoint: &Endpoint, asked: &ModelRequest) -> Result<ModelMetadataResponse, Refusal> {
    let (served, loaded) = find(endpoint, asked)?;
    let tensor = |spec: &TensorSpec| TensorMetadata {
        name: spec.name.clone(),
        datatype: spec.datatype.as_str().to_owned(),
        shape: metadata::shape(spec),
    };
    let signature = loaded.session().signature();
    Ok(ModelMetadataResponse {
        name: served.name.to_string(),
        versions: vec![loaded.bundle().hex()],
        platform: metadata::platform(&loaded),
        inputs: signature.inputs.iter().map(tensor).collect(),
        outputs: signature.outputs.iter().map(tensor).collect(),
    })
}

pub(super) fn config(endpoint: &Endpoint, asked: &ModelRequest) -> Result<ModelConfigResponse, Refusal> {
    let (served, loaded) = find(endpoint, asked)?;
    let signature = loaded.session().signature();
    let input = |spec: &TensorSpec| ModelInput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype),
        dims: metadata::shape(spec),
    };
    let output = |spec: &TensorSpec| ModelOutput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype),
        dims: metadata::shape(spec),
    };
    let config = ModelConfig {
        name: served.name.to_string(),
        platform: metadata::platform(&loaded),
        version_policy: Some(VersionPolicy { latest: Some(Latest { num_versions: 1 }) }),
        // The first dimension of every shape is the batch, written out.
        max_batch_size: 0,
        input: signature.inputs.iter().map(input).collect(),
        output: signature.outputs.iter().map(output).collect(),
        backend: "edgeward".to_owned(),
    };
    Ok(ModelConfigResponse { config: Some(config) })
}

/// The number of `TYPE_...` in Triton's `DataType`.
const fn data_type(datatype: DataType) -> i32 {
    match datatype {
        DataType::Bool => 1,
        DataType::Uint8 => 2,
        DataType::Int8 => 6,
        DataType::Int32 => 8,
        DataType::Int64 => 9,
        DataType::Fp32 => 11,
        DataType::Fp64 => 12,
        DataType::Bytes => 13,
    }
}

pub(super) fn statistics(
    endpoint: &Endpoint,
    asked: &ModelRequest,
) -> Result<ModelStatisticsResponse, Refusal> {
    let models = match (asked.name.as_str(), asked.version.as_str()) {
        ("", _) => endpoint.registry.all(),
        (name, "") => vec![metadata::find(endpoint, name)?],
        _ => vec![find(endpoint, asked)?.0],
    };
    Ok(ModelStatisticsResponse { model_stats: models.iter().map(|served| counted(served)).collect() })
}

fn counted(served: &Served) -> ModelStatistics {
    let Counted { name, version, answered, answered_ns, failed, last_ms } = Counted::of(served);
    let duration = |count: u64, ns: u64| Some(StatisticDuration { count, ns });
    ModelStatistics {
        name,
        version,
        last_inference: last_ms,
        inference_count: answered,
        execution_count: answered,
        inference_stats: Some(InferStatistics {
            success: duration(answered, answered_ns),
            fail: duration(failed, 0),
            queue: duration(answered, 0),
            compute_input: duration(answered, 0),
            compute_infer: duration(answered, answered_ns),
            compute_output: duration(answered, 0),
        }),
    }
}

pub(super) fn index(endpoint: &Endpoint, asked: &RepositoryIndexRequest) -> RepositoryIndexResponse {
    let of = |Place { name, version, state, reason }| ModelIndex {
        name,
        version,
        state: String::from(state),
        reason: String::from(reason),
    };
    RepositoryIndexResponse { models: triton::places(endpoint, asked.ready).into_iter().map(of).collect() }
}

/// An empty request asks, any other sets.
pub(super) fn tracing(asked: &TraceSettings) -> Result<TraceSettings, Refusal> {
    if !asked.settings.is_empty() {
        return Err(settings::tracing_not_here());
    }
    let setting = |(name, values): (&str, &[&str])| {
        let value = values.iter().map(|value| (*value).to_owned()).collect();
        (name.to_owned(), TraceSetting { value })
    };
    Ok(TraceSettings { settings: settings::TRACING.into_iter().map(setting).collect() })
}

/// An empty request asks, any other sets.
pub(super) fn logging(asked: &LogSettings) -> Result<LogSettings, Refusal> {
    if !asked.settings.is_empty() {
        return Err(settings::logging_not_here());
    }
    let Logging { errors, warnings, info, verbose_level } = Logging::now();
    let settings = [
        ("log_file", LogChoice::Text(String::new())),
        ("log_info", LogChoice::Bool(info)),
        ("log_warnings", LogChoice::Bool(warnings)),
        ("log_errors", LogChoice::Bool(errors)),
        ("log_verbose_level", LogChoice::Uint32(verbose_level)),
        ("log_format", LogChoice::Text("default".to_owned())),
    ];
    let setting = |(name, choice): (&str, LogChoice)| (name.to_owned(), LogSetting { choice: Some(choice) });
    Ok(LogSettings { settings: settings.into_iter().map(setting).collect() })
}

/// The model that serves now, in the version that is asked for; any if that is empty.
fn find(endpoint: &Endpoint, asked: &ModelRequest) -> Result<(Arc<Served>, Arc<Loaded>), Refusal> {
    let served = metadata::find(endpoint, &asked.name)?;
    let version = (!asked.version.is_empty()).then_some(asked.version.as_str());
    let loaded = metadata::serving(&served, version)?;
    Ok((served, loaded))
}
