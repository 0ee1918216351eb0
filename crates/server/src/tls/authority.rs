//! One certificate authority: its key, its certificate, what it issues, and the file that the fleet's are kept in.
//!
//! Keys are ECDSA over P-256, which every browser and device knows. The control plane's certificate begins when the
//! authority does, so that a device whose clock stands at an old time believes it; its key never reaches a disk.

use std::path::Path;
use std::time::Duration;

use edgeward_core::envelope::Base64;
use edgeward_core::{DeviceId, Digest, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::TlsError;
use crate::secret;
use crate::setup;

/// Schema of the file.
const SCHEMA: &str = "edgeward.authorities/1";
/// How long an authority lasts.
const LIFE: Duration = Duration::from_secs(3653 * 24 * 3600);
/// An authority begins this long before it is made: clocks differ.
const BACKDATED: Duration = Duration::from_secs(24 * 3600);
/// Random bytes of a serial number.
const SERIAL_BYTES: usize = 16;
/// An uncompressed point of P-256: 4, x, y.
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: String,
    authorities: Vec<Record>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    made_at_ms: Timestamp,
    certificate: Base64,
    key: Base64,
}

/// A certificate authority.
pub(super) struct Authority {
    record: Record,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// The public half of a device's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceKey([u8; POINT_BYTES]);

impl DeviceKey {
    /// An uncompressed point of P-256; none if it cannot be one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let point: [u8; POINT_BYTES] = bytes.try_into().ok()?;
        (point[0] == UNCOMPRESSED).then_some(Self(point))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

impl PublicKeyData for DeviceKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn date(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn params(name: &str, from: Timestamp, until: Timestamp) -> Result<CertificateParams, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(from);
    params.not_after = date(until);
    params.serial_number = Some(SerialNumber::from_slice(&secret::random::<SERIAL_BYTES>()?));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

impl Authority {
    /// A new one.
    pub(super) fn make(now: Timestamp) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let name = format!("Edgeward fleet {}", hex::encode(secret::random::<4>()?));
        let params = Self::params(&name, now)?;
        let certificate = params.self_signed(&key)?.der().clone();
        let record = Record {
            name,
            made_at_ms: now,
            certificate: Base64(certificate.to_vec()),
            key: Base64(key.serialize_der()),
        };
        Ok(Self { record, certificate, issuer: Issuer::new(params, key) })
    }

    fn params(name: &str, made_at: Timestamp) -> Result<CertificateParams, TlsError> {
        let mut params = params(name, made_at - BACKDATED, made_at + LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(params)
    }

    fn restore(record: Record) -> Result<Self, TlsError> {
        let pkcs8 = PrivatePkcs8KeyDer::from(record.key.0.clone());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)?;
        let issuer = Issuer::new(Self::params(&record.name, record.made_at_ms)?, key);
        let certificate = CertificateDer::from(record.certificate.0.clone());
        Ok(Self { record, certificate, issuer })
    }

    /// The certificate bears the key's public half.
    fn is_whole(&self) -> bool {
        let public = self.issuer.key().public_key_raw();
        self.certificate.windows(public.len().max(1)).any(|window| window == public)
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.certificate
    }

    pub(super) fn fingerprint(&self) -> Digest {
        Digest::of(&self.certificate)
    }

    pub(super) const fn made_at(&self) -> Timestamp {
        self.record.made_at_ms
    }

    pub(super) fn expires_at(&self) -> Timestamp {
        self.record.made_at_ms + LIFE
    }

    pub(super) fn pem(&self) -> String {
        let text = Base64(self.der().to_vec());
        let text = serde_json::to_value(text).ok();
        let text = text.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    /// A certificate, with a key of its own, for a server of these names.
    pub(super) fn issue_server(&self, names: &[String], until: Timestamp) -> Result<CertifiedKey, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params("Edgeward control plane", self.record.made_at_ms - BACKDATED, until)?;
        params.subject_alt_names = CertificateParams::new(names.to_vec())?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = rustls::crypto::ring::sign::any_supported_type(&secret)?;
        Ok(CertifiedKey::new(vec![certificate, self.certificate.clone()], signing))
    }

    /// A certificate with which a device shows who it is, and with which it cannot pass for a server.
    pub(super) fn issue_device(
        &self,
        device: &DeviceId,
        key: &DeviceKey,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<u8>, TlsError> {
        let mut params = params(device.as_str(), now, until)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params.signed_by(key, &self.issuer)?.der().to_vec())
    }
}

/// The authorities in a file; none if it is not there.
pub(super) fn load(path: &Path) -> Result<Vec<Authority>, TlsError> {
    let Some(bytes) = setup::read_if_there(path)? else { return Ok(Vec::new()) };
    let damaged = |reason: String| TlsError::Damaged { path: path.to_owned(), reason };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if kept.schema != SCHEMA || kept.authorities.is_empty() || kept.authorities.len() > super::AUTHORITIES_MAX
    {
        return Err(damaged(format!("it is no {SCHEMA} with one or two of them")));
    }
    let restore = |record| {
        let authority = Authority::restore(record).map_err(|error| damaged(crate::failure::chain(&error)))?;
        match authority.is_whole() {
            true => Ok(authority),
            false => Err(damaged("a certificate is not for its key".to_owned())),
        }
    };
    kept.authorities.into_iter().map(restore).collect()
}

/// Keeps the authorities in a file for its owner only.
pub(super) fn save(path: &Path, authorities: &[Authority]) -> Result<(), TlsError> {
    let authorities = authorities.iter().map(|authority| authority.record.clone()).collect();
    let kept = Kept { schema: SCHEMA.to_owned(), authorities };
    let bytes = serde_json::to_vec_pretty(&kept)
        .map_err(|error| TlsError::Damaged { path: path.to_owned(), reason: error.to_string() })?;
    Ok(setup::write_secret(path, &bytes)?)
}
