//! Certificates of devices, known by their SHA-256. A certificate counts because it stands here, not because of who signed
//! it; so revoking one is one change of one row.

use crate::engine::{Row, SqlError};
use edgeward_core::{DeviceId, Digest, Timestamp};

use crate::column::{Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;

/// What is known of a device's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRow {
    /// Whose it is.
    pub device: DeviceId,
    /// SHA-256 of the certificate of the authority that issued it.
    pub authority: Digest,
    /// When it was issued.
    pub issued_at_ms: Timestamp,
    /// When it ends.
    pub expires_at_ms: Timestamp,
    /// It counts no more.
    pub revoked: bool,
}

impl CertificateRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            device: row.get::<Text<_>>(0)?.0,
            authority: row.get::<Text<_>>(1)?.0,
            issued_at_ms: Timestamp(row.get(2)?),
            expires_at_ms: Timestamp(row.get(3)?),
            revoked: row.get(4)?,
        })
    }
}

impl View<'_> {
    /// The certificate with this SHA-256, whether or not it still counts.
    ///
    /// # Errors
    /// The database fails.
    pub fn certificate(&self, fingerprint: Digest) -> Result<Option<CertificateRow>, StoreError> {
        const SQL: &str = "SELECT device, authority, issued_at_ms, expires_at_ms, revoked
             FROM device_certificates WHERE fingerprint = ?1";
        self.row("looking for a certificate", SQL, params![Text(fingerprint)], CertificateRow::read)
    }

    /// For each device that has a certificate that counts at `now`, the authority that issued the newest one.
    ///
    /// # Errors
    /// The database fails.
    pub fn newest_authorities(&self, now: Timestamp) -> Result<Vec<(DeviceId, Digest)>, StoreError> {
        const SQL: &str = "SELECT device, authority FROM device_certificates AS known
             WHERE number = (SELECT max(number) FROM device_certificates AS own
                WHERE own.device = known.device AND own.revoked = 0 AND own.expires_at_ms > ?1)
             ORDER BY device";
        self.rows("reading who issued which certificate", SQL, params![now.0], |row| {
            Ok((row.get::<Text<_>>(0)?.0, row.get::<Text<_>>(1)?.0))
        })
    }

    /// The device that used a join token with this key before.
    ///
    /// # Errors
    /// The database fails.
    pub fn join_use(&self, token: Digest, key: Digest) -> Result<Option<DeviceId>, StoreError> {
        const SQL: &str = "SELECT device FROM join_uses WHERE token = ?1 AND key = ?2";
        self.row("looking for a join token's use", SQL, params![Text(token), Text(key)], |row| {
            Ok(row.get::<Text<_>>(0)?.0)
        })
    }
}

impl Writer<'_> {
    /// Keeps a new certificate.
    ///
    /// # Errors
    /// The database fails, or there is one of this SHA-256.
    pub fn put_certificate(&self, fingerprint: Digest, row: &CertificateRow) -> Result<(), StoreError> {
        self.execute(
            "keeping a certificate",
            "INSERT INTO device_certificates (fingerprint, device, authority, issued_at_ms, expires_at_ms, revoked)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                Text(fingerprint),
                Text(&row.device),
                Text(row.authority),
                row.issued_at_ms.0,
                row.expires_at_ms.0,
                row.revoked
            ],
        )?;
        Ok(())
    }

    /// Revokes the certificates of a device but for `kept`; returns how many counted.
    ///
    /// # Errors
    /// The database fails.
    pub fn revoke_certificates(&self, device: &DeviceId, kept: &[Digest]) -> Result<usize, StoreError> {
        const NONE: &str = "";
        let kept: Vec<String> = kept.iter().take(2).map(ToString::to_string).collect();
        let kept = |n: usize| kept.get(n).map_or(NONE, String::as_str);
        let sql = "UPDATE device_certificates SET revoked = 1
             WHERE device = ?1 AND revoked = 0 AND fingerprint NOT IN (?2, ?3)";
        self.execute("revoking certificates", sql, params![Text(device), kept(0), kept(1)])
    }

    /// Revokes every certificate of an authority; returns how many counted.
    ///
    /// # Errors
    /// The database fails.
    pub fn retire_authority(&self, authority: Digest) -> Result<usize, StoreError> {
        let sql = "UPDATE device_certificates SET revoked = 1 WHERE authority = ?1 AND revoked = 0";
        self.execute("retiring an authority", sql, params![Text(authority)])
    }

    /// Remembers who used a join token with which key, so that a device that did not hear the answer may ask again.
    ///
    /// # Errors
    /// The database fails.
    pub fn put_join_use(&self, token: Digest, key: Digest, device: &DeviceId) -> Result<(), StoreError> {
        let sql = "INSERT INTO join_uses (token, key, device) VALUES (?1, ?2, ?3)
             ON CONFLICT (token, key) DO UPDATE SET device = excluded.device";
        self.execute("keeping a join token's use", sql, params![Text(token), Text(key), Text(device)])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Store;

    fn device(n: u8) -> DeviceId {
        DeviceId::new(format!("d{n}")).unwrap()
    }

    fn row(n: u8, authority: &[u8], issued: i64) -> CertificateRow {
        CertificateRow {
            device: device(n),
            authority: Digest::of(authority),
            issued_at_ms: Timestamp(issued),
            expires_at_ms: Timestamp(issued) + Duration::from_millis(100),
            revoked: false,
        }
    }

    fn write(store: &Store, change: impl FnOnce(&Writer<'_>) -> Result<(), StoreError>) {
        store.write(change).unwrap();
    }

    fn counts(store: &Store, fingerprint: &[u8]) -> Option<bool> {
        let found = store.read(|view| view.certificate(Digest::of(fingerprint))).unwrap();
        found.map(|row| !row.revoked)
    }

    #[test]
    fn a_certificate_counts_until_it_is_revoked() {
        let store = Store::in_memory().unwrap();
        write(&store, |writer| {
            writer.put_certificate(Digest::of(b"1"), &row(1, b"a", 10))?;
            writer.put_certificate(Digest::of(b"2"), &row(1, b"a", 20))?;
            writer.put_certificate(Digest::of(b"3"), &row(1, b"a", 30))?;
            writer.put_certificate(Digest::of(b"4"), &row(2, b"a", 30))
        });
        assert!(store.write(|writer| writer.put_certificate(Digest::of(b"1"), &row(2, b"a", 1))).is_err());
        let kept = [Digest::of(b"2"), Digest::of(b"3")];
        write(&store, |writer| {
            assert_eq!(writer.revoke_certificates(&device(1), &kept)?, 1);
            Ok(())
        });
        assert_eq!([b"1", b"2", b"3", b"4"].map(|f| counts(&store, f)), [false, true, true, true].map(Some));
        assert_eq!(counts(&store, b"5"), None);
        write(&store, |writer| writer.revoke_credentials(&device(1)).map(|_| ()));
        assert_eq!([b"2", b"3", b"4"].map(|f| counts(&store, f)), [false, false, true].map(Some));
    }

    #[test]
    fn the_newest_that_counts_says_whom_a_device_knows() {
        let store = Store::in_memory().unwrap();
        write(&store, |writer| {
            writer.put_certificate(Digest::of(b"1"), &row(1, b"old", 10))?;
            writer.put_certificate(Digest::of(b"2"), &row(1, b"new", 20))?;
            writer.put_certificate(Digest::of(b"3"), &row(2, b"old", 20))?;
            writer.put_certificate(Digest::of(b"4"), &row(3, b"old", -200))
        });
        let newest = || store.read(|view| view.newest_authorities(Timestamp(50))).unwrap();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        assert_eq!(newest(), [(device(1), new), (device(2), old)]);
        write(&store, |writer| writer.retire_authority(old).map(|_| ()));
        assert_eq!(newest(), [(device(1), new)]);
    }

    #[test]
    fn a_join_tokens_use_is_found_by_its_key() {
        let store = Store::in_memory().unwrap();
        let (token, key) = (Digest::of(b"token"), Digest::of(b"key"));
        write(&store, |writer| writer.put_join_use(token, key, &device(1)));
        let found = |key| store.read(|view| view.join_use(token, key)).unwrap();
        assert_eq!((found(key), found(token)), (Some(device(1)), None));
    }
}
