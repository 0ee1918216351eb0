//! What goes up: windows into the spool, and the spool to the control plane.
//!
//! A window is spooled and then the monitor's state is saved, in this order and with nothing between them that counts, so
//! that a restart counts nothing twice and loses at most one window.

use std::time::Duration;

use edgeward_api::ClientError;
use edgeward_api::device::{
    AlertsUpload, PROFILE_SCHEMA, ProfileUpload, RECORDS_SCHEMA, RecordsUpload, SAMPLES_SCHEMA,
    SamplesUpload, Service,
};
use edgeward_api::limits::{
    ALERTS_PER_UPLOAD_MAX, JSON_BYTES_MAX, PERFORMANCE_BYTES_MAX, PROFILE_BYTES_MAX, RECORDS_PER_UPLOAD_MAX,
    SAMPLES_PER_UPLOAD_MAX,
};
use edgeward_core::envelope::Base64;
use edgeward_core::{Digest, ModelName, Timestamp};
use edgeward_monitor::SegmentedPerformance;
use edgeward_sdk::Window;
use serde::de::DeserializeOwned;

use super::{Control, Counting};
use crate::records::to_json;
use crate::spool::Lane;
use edgeward_sdk::chain;

/// Longest window while the control plane is away: fewer, longer windows take less room.
const WINDOW_AWAY_MAX: Duration = Duration::from_secs(60);
/// Most uploads in one turn, so that a long backlog does not delay polling.
const UPLOADS_PER_TURN_MAX: usize = 50;
/// Most bytes of records in one upload; the envelope around them needs room too.
const UPLOAD_BYTES_MAX: usize = JSON_BYTES_MAX as usize / 2;

/// The bytes of a window's performance; without its segments if those are too many for one upload.
fn performance(performance: &SegmentedPerformance) -> Option<Vec<u8>> {
    let forms = [performance.to_bytes(), performance.without_segments().to_bytes()];
    let counted = !performance.is_empty();
    forms.into_iter().find(|bytes| counted && bytes.len() <= PERFORMANCE_BYTES_MAX)
}

impl Control {
    /// Whether the oldest open window has reached its longest length.
    pub(super) fn window_is_old(&self) -> bool {
        let now = (self.parts.clock)();
        self.windows_since.values().any(|since| now.since(*since) >= WINDOW_AWAY_MAX)
    }

    /// Hands every model's counts to the spool and saves what its monitor has learnt.
    pub(super) fn take_windows(&mut self) {
        let now = (self.parts.clock)();
        let mut counting = std::mem::take(&mut self.retired);
        let served = self.parts.registry.all();
        counting
            .extend(served.iter().filter_map(|model| Counting::of(&model.name, &*model.handle.current()?)));
        for one in &counting {
            let since = self.windows_since.get(&one.model).copied().unwrap_or(self.session_started_at_ms);
            self.take_window(one, since, now);
        }
        self.windows_since = counting.into_iter().map(|one| (one.model, now)).collect();
        self.take_handed(now);
    }

    fn take_window(&mut self, counting: &Counting, from_ms: Timestamp, to_ms: Timestamp) {
        let Counting { model, bundle, recorder, service } = counting;
        let service = service.clone().unwrap_or_else(|| self.take_service(model));
        // Requests that all failed leave nothing to watch, and are to be heard of all the more.
        let window =
            if service.failed > 0 { Some(recorder.take_any_window()) } else { recorder.take_window() };
        let Some(window) = window else { return };
        let service = Service { errors: window.errors.clone().into(), ..service };
        let service = (service != Service::default()).then_some(service);
        let upload = ProfileUpload { service, ..self.profile(model, *bundle, &window, from_ms, to_ms) };
        if upload.profile.0.len() > PROFILE_BYTES_MAX {
            tracing::error!(%model, "a profile of {} bytes is too large to upload", upload.profile.0.len());
        } else if let Err(error) = self.parts.records.spool().append(Lane::Profiles, &to_json(&upload)) {
            tracing::error!(%model, "a window is lost: {}", chain(&error));
        }
        let state = recorder.state_to_bytes();
        if let Err(error) = self.parts.slots.save_monitor_state(model, *bundle, &state) {
            tracing::error!(%model, "the monitor's state is not saved: {}", chain(&error));
        }
    }

    fn profile(
        &mut self,
        model: &ModelName,
        bundle: Digest,
        window: &Window,
        from_ms: Timestamp,
        to_ms: Timestamp,
    ) -> ProfileUpload {
        self.profile_seq += 1;
        let performance = performance(&window.performance).map(Base64);
        ProfileUpload {
            schema: PROFILE_SCHEMA.to_owned(),
            session: self.session,
            seq: self.profile_seq,
            model: model.clone(),
            bundle,
            from_ms,
            to_ms,
            profile: Base64(window.profile.to_bytes()),
            labelled: window.labelled,
            correct: window.correct,
            performance,
            service: None,
        }
    }

    /// How requests fared since this was asked last.
    pub(super) fn take_service(&mut self, model: &ModelName) -> Service {
        let now = self.parts.registry.get_or_add(model).counters.service();
        let before = self.served_before.insert(model.clone(), now.clone()).unwrap_or_default();
        now.since(&before)
    }

    /// Uploads what waits, alerts first, until nothing is left or the server does not take it.
    pub(super) fn upload(&mut self) {
        let lanes = [
            (Lane::Alerts, ALERTS_PER_UPLOAD_MAX),
            (Lane::Samples, SAMPLES_PER_UPLOAD_MAX),
            (Lane::Profiles, 1),
            (Lane::Records, RECORDS_PER_UPLOAD_MAX),
        ];
        for (lane, records_max) in lanes {
            for _ in 0..UPLOADS_PER_TURN_MAX {
                match self.upload_batch(lane, records_max) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return self.missed(&error),
                }
            }
        }
    }

    /// Uploads the oldest records of a lane; false if there are none.
    fn upload_batch(&self, lane: Lane, records_max: usize) -> Result<bool, ClientError> {
        let batch = self.parts.records.spool().batch(lane, records_max, UPLOAD_BYTES_MAX);
        let Some((last, _)) = batch.last() else { return Ok(false) };
        let last = *last;
        match self.send(lane, &batch) {
            Ok(()) => {}
            // The server will never take it: keeping it would hold up everything behind it.
            Err(error @ ClientError::Refused { status: 400 | 413 | 422, .. }) => {
                tracing::error!("{} {} are dropped: {}", batch.len(), lane.as_str(), chain(&error));
            }
            Err(error) => return Err(error),
        }
        if let Err(error) = self.parts.records.spool().acknowledge(lane, last) {
            tracing::warn!("{}", chain(&error));
        }
        Ok(true)
    }

    fn send(&self, lane: Lane, batch: &[(u64, Vec<u8>)]) -> Result<(), ClientError> {
        let client = &self.parts.client;
        match lane {
            Lane::Alerts => client.upload_alerts(&AlertsUpload { alerts: parse(batch) }),
            Lane::Samples => {
                let schema = SAMPLES_SCHEMA.to_owned();
                client.upload_samples(&SamplesUpload { schema, samples: parse(batch) })
            }
            Lane::Profiles => {
                parse::<ProfileUpload>(batch).iter().try_for_each(|profile| client.upload_profile(profile))
            }
            Lane::Records => {
                let schema = RECORDS_SCHEMA.to_owned();
                client.upload_records(&RecordsUpload { schema, records: parse(batch) })
            }
        }
    }
}

/// The documents of a batch; one of another version is left out.
fn parse<T: DeserializeOwned>(batch: &[(u64, Vec<u8>)]) -> Vec<T> {
    batch.iter().filter_map(|(_, record)| serde_json::from_slice(record).ok()).collect()
}
