//! Keeping the device's certificate alive.
//!
//! One thread asks the control plane whether it is time for another certificate; the control plane's clock decides, so a
//! device whose clock is wrong renews in time. A new certificate comes with the authorities to believe from then on, which
//! is how a fleet learns of a new one. The new identity is on the disk before it is used; the old one goes on to count.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edgeward_api::access::CertificateRequest;
use edgeward_api::client::Roots;
use edgeward_api::{Client, ClientError};
use edgeward_core::Digest;
use edgeward_core::envelope::Base64;
use edgeward_sdk::chain;

use crate::identity::{DeviceKey, Identity, IdentityError};

/// Between two looks, whatever the control plane says.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// Wait after a look that failed; doubled each time.
const RETRY: Duration = Duration::from_millis(500);

/// What keeps the certificate.
pub struct Keeper {
    /// The control plane; every clone of this client changes with it.
    pub client: Client,
    /// Who the device is.
    pub identity: Identity,
    /// Where that is kept.
    pub path: PathBuf,
    /// Whom to believe if the identity says nothing about it.
    pub roots: Option<Roots>,
}

/// Why the certificate stays as it is.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("asking about the device's certificate")]
    Ask(#[from] ClientError),
    #[error("keeping the device's new certificate")]
    Keep(#[from] IdentityError),
}

impl Keeper {
    /// Looks until `stop` is set.
    pub fn run(mut self, stop: Arc<AtomicBool>) {
        thread::spawn(move || {
            let mut failures = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let wait = match self.look() {
                    Ok(wait) => {
                        failures = 0;
                        wait
                    }
                    Err(error) => {
                        tracing::debug!("{}", chain(&error));
                        failures = failures.saturating_add(1);
                        let factor = 1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
                        RETRY.saturating_mul(factor).min(LOOK_MAX)
                    }
                };
                sleep(crate::control::spread(wait), &stop);
            }
        });
    }

    /// Asks, and renews if told to; how long until the next look.
    fn look(&mut self) -> Result<Duration, KeepError> {
        let advice = self.client.certificate_advice()?;
        if advice.renew || !self.knows(&advice.authorities) {
            self.renew()?;
        }
        Ok(Duration::from_millis(advice.look_again_ms).clamp(LOOK_MIN, LOOK_MAX))
    }

    fn knows(&self, authorities: &[Digest]) -> bool {
        let known = self.identity.tls.iter().flat_map(|tls| &tls.authorities);
        known.map(|der| Digest::of(&der.0)).eq(authorities.iter().copied())
    }

    fn renew(&mut self) -> Result<(), KeepError> {
        let key = DeviceKey::generate()?;
        let request = CertificateRequest { public_key: Base64(key.public()?) };
        let answer = self.client.renew_certificate(&request)?;
        let mut renewed = self.identity.clone();
        renewed.take(answer, key);
        renewed.save(&self.path)?;
        self.identity = renewed;
        self.client.set_tls(self.identity.client_tls(self.roots.as_ref()));
        tracing::info!("the device has a new certificate");
        Ok(())
    }
}

fn sleep(span: Duration, stop: &AtomicBool) {
    let until = Instant::now() + span;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(100).min(span));
    }
}
