//! Join tokens and device credentials. Only their SHA-256 is kept: a copy of the database lets nobody in.

use edgeward_core::{DeviceId, Digest, Timestamp};

use crate::column::{Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;

/// What a join token was good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinOutcome {
    /// One use was taken; the token may name the one device that it lets in again.
    Accepted(Option<DeviceId>),
    /// Its time is over.
    Expired,
    /// Every use was taken.
    UsedUp,
    /// There is no such token.
    Unknown,
}

impl View<'_> {
    /// The device that a credential belongs to; none if it is unknown or revoked.
    ///
    /// # Errors
    /// The database fails.
    pub fn device_by_credential(&self, hash: Digest) -> Result<Option<DeviceId>, StoreError> {
        const SQL: &str = "SELECT device FROM device_credentials WHERE hash = ?1 AND revoked = 0";
        self.row("looking for a credential", SQL, params![Text(hash)], |row| Ok(row.get::<Text<_>>(0)?.0))
    }
}

impl Writer<'_> {
    /// Keeps a join token that `uses` devices may use until `expires_at`, or that lets `device` in again; putting the
    /// same one again renews it.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_join_token(
        &self,
        hash: Digest,
        expires_at: Timestamp,
        uses: u32,
        device: Option<&DeviceId>,
    ) -> Result<(), StoreError> {
        self.execute(
            "keeping a join token",
            "INSERT INTO join_tokens (hash, expires_at_ms, uses_left, device) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (hash) DO UPDATE SET
                expires_at_ms = excluded.expires_at_ms, uses_left = excluded.uses_left, device = excluded.device",
            params![Text(hash), expires_at.0, uses, device.map(Text)],
        )?;
        Ok(())
    }

    /// Takes one use of a join token. It is given back if the transaction is dropped.
    ///
    /// # Errors
    /// The database fails.
    pub fn consume_join_token(&self, hash: Digest, now: Timestamp) -> Result<JoinOutcome, StoreError> {
        const SQL: &str = "SELECT expires_at_ms, uses_left, device FROM join_tokens WHERE hash = ?1";
        let token: Option<(i64, u32, Option<Text<DeviceId>>)> =
            self.row("looking for a join token", SQL, params![Text(hash)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        match token {
            None => Ok(JoinOutcome::Unknown),
            Some((expires_at, _, _)) if now.0 >= expires_at => Ok(JoinOutcome::Expired),
            Some((_, 0, _)) => Ok(JoinOutcome::UsedUp),
            Some((_, _, device)) => {
                let sql = "UPDATE join_tokens SET uses_left = uses_left - 1 WHERE hash = ?1";
                self.execute("using a join token", sql, params![Text(hash)])?;
                Ok(JoinOutcome::Accepted(device.map(|device| device.0)))
            }
        }
    }

    /// Gives a device a credential. Earlier ones of that device stay valid until revoked.
    ///
    /// # Errors
    /// The database fails, or the credential is another's.
    pub fn put_credential(&self, hash: Digest, device: &DeviceId, now: Timestamp) -> Result<(), StoreError> {
        self.execute(
            "keeping a credential",
            "INSERT INTO device_credentials (hash, device, issued_at_ms) VALUES (?1, ?2, ?3)",
            params![Text(hash), Text(device), now.0],
        )?;
        Ok(())
    }

    /// Revokes every credential and certificate of a device; returns how many were valid.
    ///
    /// # Errors
    /// The database fails.
    pub fn revoke_credentials(&self, device: &DeviceId) -> Result<usize, StoreError> {
        Ok(self.revoke_bearers(device)? + self.revoke_certificates(device, &[])?)
    }

    /// Revokes the bearer credentials of a device only; returns how many were valid.
    ///
    /// # Errors
    /// The database fails.
    pub fn revoke_bearers(&self, device: &DeviceId) -> Result<usize, StoreError> {
        let sql = "UPDATE device_credentials SET revoked = 1 WHERE device = ?1 AND revoked = 0";
        self.execute("revoking credentials", sql, params![Text(device)])
    }

    /// Whether a join token is known and its time is not over.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_join_token_alive(&self, hash: Digest, now: Timestamp) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT 1 FROM join_tokens WHERE hash = ?1 AND expires_at_ms > ?2";
        let found: Option<i64> =
            self.row("looking for a join token", SQL, params![Text(hash), now.0], |row| row.get(0))?;
        Ok(found.is_some())
    }
}
