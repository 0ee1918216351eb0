//! A fleet's repository in memory with every key at hand, for tests and simulations of those who follow it.
//!
//! Seeds are the hashes of the keys' names. What it publishes is what a control plane would.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgeward_core::desired::{Assignment, DESIRED_SCHEMA};
use edgeward_core::{Desired, Digest, ModelName, Timestamp};
use serde_json::Value;

use super::{
    Draft, File, FleetError, FleetKeys, Lives, OnlineSigners, PublishError, Refreshed, Shelf, add_release,
    refresh,
};
use crate::key::{Signer as _, SigningKey};
use crate::tuf::{Answer, Place, Refusal, Trusted, Want};

/// The files of a repository, by their paths.
pub type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// A fleet's repository.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    shelf: Shelf,
    files: Files,
    lives: Lives,
}

/// The key of this name.
#[must_use]
pub fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(Digest::of(name.as_bytes()).as_bytes())
}

/// The public keys of a rehearsal.
#[must_use]
pub fn keys() -> FleetKeys {
    let public = |name: &str| key(name).public_key();
    FleetKeys {
        root: ["root-1", "root-2", "root-3"].map(public).to_vec(),
        root_threshold: 2,
        releases: public("releases"),
        rollouts: public("rollouts"),
        snapshot: public("snapshot"),
        timestamp: public("timestamp"),
        ledger: public("ledger"),
    }
}

impl Rehearsal {
    /// A new repository, signed and empty.
    ///
    /// # Errors
    /// Never: every key is at hand.
    pub fn new(lives: Lives, now: Timestamp) -> Result<Self, PublishError> {
        let roots = (key("root-1"), key("root-2"));
        let shelf = Shelf::new(&keys(), &[&roots.0, &roots.1], &key("releases"), &lives, now)?;
        let mut made = Self { files: Files::new(), lives, shelf };
        made.put(made.shelf.offline_files());
        made.refresh(now)?;
        Ok(made)
    }

    /// Lets a bundle run, by its manifest.
    ///
    /// # Errors
    /// The manifest is too large.
    pub fn release(
        &mut self,
        model: &ModelName,
        manifest: &[u8],
        now: Timestamp,
    ) -> Result<Digest, PublishError> {
        let draft = Draft { model, manifest, custom: Value::Null };
        let signed = add_release(self.shelf.releases().bytes(), &draft, &key("releases"), &self.lives, now)?;
        let file = self.shelf.accept_releases(&signed)?;
        self.put([file]);
        Ok(Digest::of(manifest))
    }

    /// Says what the fleet should run.
    ///
    /// # Errors
    /// A bundle was not released.
    pub fn publish(
        &mut self,
        models: BTreeMap<ModelName, Assignment>,
        now: Timestamp,
    ) -> Result<u64, PublishError> {
        let generation = self.generation() + 1;
        let desired = Desired { schema: DESIRED_SCHEMA.to_owned(), generation, models };
        let files = with_signers(|signers| self.shelf.publish(&desired, signers, &self.lives, now))?;
        self.put(files);
        Ok(generation)
    }

    /// Signs snapshot and timestamp anew.
    ///
    /// # Errors
    /// Never: every key is at hand.
    pub fn refresh(&mut self, now: Timestamp) -> Result<(), PublishError> {
        let files = with_signers(|signers| self.shelf.refresh(signers, &self.lives, now))?;
        self.put(files);
        Ok(())
    }

    /// Generation of what was published last; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shelf.rollouts().map_or(0, |rollouts| rollouts.body().version)
    }

    /// Its latest documents.
    #[must_use]
    pub const fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Its files, as a web server would give them.
    #[must_use]
    pub const fn files(&self) -> &Files {
        &self.files
    }

    /// What a device that has just enrolled trusts.
    ///
    /// # Errors
    /// Never: the root is good.
    pub fn pinned(&self) -> Result<Trusted, Refusal> {
        Trusted::pin(self.shelf.root().bytes(), Timestamp(0))
    }

    fn put(&mut self, files: impl IntoIterator<Item = File>) {
        self.files.extend(files.into_iter().map(|File { path, bytes }| (path, Arc::new(bytes))));
    }
}

fn with_signers<T>(sign: impl FnOnce(OnlineSigners<'_>) -> T) -> T {
    let (rollouts, snapshot, timestamp) = (key("rollouts"), key("snapshot"), key("timestamp"));
    sign(OnlineSigners { rollouts: &rollouts, snapshot: &snapshot, timestamp: &timestamp })
}

/// What a device that trusts `trusted` makes of `files` at `now`.
#[must_use]
pub fn follow(files: &Files, trusted: Trusted, now: Timestamp) -> Refreshed<FleetError> {
    refresh(trusted, now, |want: &Want| {
        let place = if want.place == Place::Metadata { "metadata" } else { "targets" };
        let bytes = files.get(&format!("{place}/{}", want.path));
        Ok(bytes.map_or(Answer::Absent, |bytes| Answer::Bytes(bytes.to_vec())))
    })
}
