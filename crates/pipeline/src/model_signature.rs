//! `model.sig`: an OpenSSF model signature over a bundle, which the public `model-signing` tool verifies.
//!
//! The bundle's files, its manifest included, are the resources of an in-toto statement (predicate
//! `https://model_signing/signature/v1.0`) in a DSSE envelope, signed with ECDSA on P-256 and kept as a Sigstore bundle
//! (v0.3) that names the key by the SHA-256 of its PEM. It tells people who use a bundle outside of Edgeward whose it is.
//! Devices do not read it: what they run is signed in the repository.
//!
//! Deliberately missing: Sigstore's identities and transparency log, which need a network; other curves.

use std::fs;
use std::path::Path;

use edgeward_core::Digest;
use edgeward_core::envelope::{Base64, pre_authentication_encoding};
use edgeward_model::bundle::path;
use edgeward_model::{Bundle, BundleError};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// Where a bundle's folder has it.
pub const FILE: &str = "model.sig";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// Largest key file that is read, in bytes.
const KEY_BYTES_MAX: usize = 64 << 10;
/// What stands before a point of P-256 in a `SubjectPublicKeyInfo` (RFC 5480).
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that signs models.
pub struct ModelKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

/// A bundle that was not signed.
#[derive(Debug, thiserror::Error)]
pub enum ModelSignatureError {
    /// Not a key.
    #[error(
        "this is not an unencrypted P-256 key in PKCS#8 form ({0}); make one with `openssl genpkey -algorithm EC -pkeyopt \
         ec_paramgen_curve:P-256`, or convert one with `openssl pkcs8 -topk8 -nocrypt`"
    )]
    Key(&'static str),
    /// The system gives no randomness.
    #[error("signing the model: the system gives no randomness")]
    Sign,
    /// The bundle is damaged.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It cannot be written.
    #[error("writing {path}")]
    Write {
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl ModelKey {
    /// The key in a PEM `PRIVATE KEY` (PKCS#8).
    ///
    /// # Errors
    /// It is none, or of another kind.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ModelSignatureError> {
        let wrong = ModelSignatureError::Key;
        if pem.len() > KEY_BYTES_MAX {
            return Err(wrong("too large"));
        }
        let text = std::str::from_utf8(pem).map_err(|_| wrong("not text"))?;
        let inner = text.split_once("-----BEGIN PRIVATE KEY-----").map(|(_, rest)| rest);
        let inner = inner.and_then(|rest| rest.split_once("-----END PRIVATE KEY-----"));
        let (inner, _) = inner.ok_or_else(|| wrong("no PRIVATE KEY in it"))?;
        let joined: String = inner.split_ascii_whitespace().collect();
        let der: Base64 = serde_json::from_value(Value::String(joined)).map_err(|_| wrong("not base64"))?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der.0, &random);
        Ok(Self { pair: pair.map_err(|_| wrong("another kind of key"))?, random })
    }

    /// The public half as a PEM `PUBLIC KEY`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let info = [P256_INFO.as_slice(), self.pair.public_key().as_ref()].concat();
        let text = serde_json::to_value(Base64(info)).unwrap_or_default();
        let text = text.as_str().unwrap_or_default().as_bytes();
        let lines: Vec<_> = text.chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// The signature of `bundle`, as `model.sig` holds it.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn sign(&self, bundle: &Bundle) -> Result<Vec<u8>, ModelSignatureError> {
        let payload = statement(bundle).to_string().into_bytes();
        let message = pre_authentication_encoding(PAYLOAD_TYPE, &payload);
        let signature = self.pair.sign(&self.random, &message).map_err(|_| ModelSignatureError::Sign)?;
        let hint = Digest::of(self.public_pem().as_bytes()).hex();
        let bundle = json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": { "publicKey": { "hint": hint }, "tlogEntries": [] },
            "dsseEnvelope": {
                "payload": Base64(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{ "sig": Base64(signature.as_ref().to_vec()), "keyid": "" }],
            },
        });
        Ok(bundle.to_string().into_bytes())
    }

    /// Verifies the bundle in `folder` and writes its `model.sig`.
    ///
    /// # Errors
    /// The bundle is damaged, or the disk refuses.
    pub fn sign_folder(&self, folder: &Path) -> Result<(), ModelSignatureError> {
        let digest = Bundle::open(folder)?.digest();
        let bundle = Bundle::verify(folder, &digest)?;
        let path = folder.join(FILE);
        let wrap = |source| ModelSignatureError::Write { path: path.display().to_string(), source };
        let beside = folder.join("model.sig.new");
        fs::write(&beside, self.sign(&bundle)?).map_err(wrap)?;
        fs::rename(&beside, &path).map_err(wrap)
    }
}

/// Which files belong to the bundle; the subject's digest is over theirs, in their order.
fn statement(bundle: &Bundle) -> Value {
    let files = bundle.manifest().files.iter().map(|(path, entry)| (path.as_str(), entry.digest));
    let mut files: Vec<(&str, Digest)> = files.chain([(path::MANIFEST, bundle.digest())]).collect();
    files.sort_unstable();
    let all: Vec<u8> = files.iter().flat_map(|(_, digest)| *digest.as_bytes()).collect();
    let resource = |(name, digest): &(&str, Digest)| json!({ "name": name, "algorithm": "sha256", "digest": digest.hex() });
    json!({
        "_type": STATEMENT,
        "subject": [{
            "name": bundle.manifest().model.to_string(),
            "digest": { "sha256": Digest::of(&all).hex() },
        }],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": false,
                "ignore_paths": [FILE],
            },
            "resources": files.iter().map(resource).collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeward_core::ModelName;
    use edgeward_model::engine::conformance::fixture;
    use edgeward_model::{BundleWriter, Golden, LoadOptions, RtenEngine, Session, Tensor, Tolerance, onnx};
    use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    fn key() -> (String, ModelKey) {
        let made =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let text = serde_json::to_value(Base64(made.as_ref().to_vec())).unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", text.as_str().unwrap());
        let key = ModelKey::from_pem(pem.as_bytes()).unwrap();
        (pem, key)
    }

    fn bundle(parent: &Path) -> Bundle {
        let bytes = onnx::encode(&fixture::classifier());
        let session = Session::from_onnx(&bytes, &RtenEngine::new(), &LoadOptions::with_threads(1)).unwrap();
        let rows = Tensor::from_rows(3, 4, fixture::noise(12, 9)).unwrap();
        let golden = Golden::record(session.runnable(), &[vec![rows]], Tolerance::default()).unwrap();
        let mut writer = BundleWriter::new(ModelName::new("digits").unwrap());
        writer.model(bytes.clone()).unwrap().variant("rten", "f32", bytes).unwrap();
        writer.signature(session.signature()).unwrap().golden(&golden).unwrap();
        writer.write(parent).unwrap()
    }

    #[test]
    fn every_file_of_the_bundle_is_signed_and_the_bundle_stays_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        let (_, key) = key();
        key.sign_folder(bundle.dir()).unwrap();
        let written: Value = serde_json::from_slice(&fs::read(bundle.dir().join(FILE)).unwrap()).unwrap();
        let decode = |value: &Value| serde_json::from_value::<Base64>(value.clone()).unwrap().0;
        let envelope = &written["dsseEnvelope"];
        let payload = decode(&envelope["payload"]);
        let message = pre_authentication_encoding(PAYLOAD_TYPE, &payload);
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.pair.public_key().as_ref());
        public.verify(&message, &decode(&envelope["signatures"][0]["sig"])).unwrap();
        let statement: Value = serde_json::from_slice(&payload).unwrap();
        let resources = statement["predicate"]["resources"].as_array().unwrap();
        assert_eq!(resources.len(), bundle.manifest().files.len() + 1);
        assert!(resources.iter().any(|file| file["digest"] == bundle.digest().hex()));
        assert!(Bundle::verify(bundle.dir(), &bundle.digest()).is_ok());
    }

    #[test]
    fn what_is_no_such_key_is_refused_with_what_to_do() {
        let (good, _) = key();
        for pem in [
            "",
            "-----BEGIN EC PRIVATE KEY-----",
            &good.replace("M", "!"),
            &good.replace("PRIVATE", "PUBLIC"),
        ] {
            let error = ModelKey::from_pem(pem.as_bytes()).err().unwrap();
            assert!(error.to_string().contains("openssl genpkey"), "{pem}");
        }
        assert!(ModelKey::from_pem(&vec![b' '; KEY_BYTES_MAX + 1]).is_err());
    }
}
