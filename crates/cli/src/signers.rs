//! Signing keys as files name them: the private key itself, or a command that signs with a key it guards.
//!
//! A command (`edgeward.signer/1`) is what a hardware token, a key service or an agent on another machine offers: it gets
//! the bytes to sign on standard input and writes the Ed25519 signature to standard output, as 64 bytes or as hex or
//! base64 of them (PKCS#11: `C_SignInit` with `CKM_EDDSA`, then `C_Sign`). What it writes is checked before it is used.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use edgeward_core::Digest;
use edgeward_core::envelope::Base64;
use edgeward_trust::key::{SIGNATURE_LEN, SignerError};
use edgeward_trust::{PublicKey, Signer, SigningKey};
use serde::Deserialize;

use crate::output::{Explain, Failure};

/// Schema of a file that names a signing command.
pub(crate) const SIGNER_SCHEMA: &str = "edgeward.signer/1";
/// Longest time a signing command may take: somebody may have to touch a token.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two looks at a signing command.
const LOOK: Duration = Duration::from_millis(10);
/// Most bytes that are read of what a signing command writes.
const OUTPUT_BYTES_MAX: u64 = 4096;

/// What a key's file holds.
pub(crate) enum KeyFile {
    /// Something that signs.
    Signer(Box<dyn Signer>),
    /// Only the public half.
    Public(PublicKey),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerFile {
    #[serde(rename = "schema")]
    _schema: String,
    public: PublicKey,
    /// The program and its arguments.
    command: Vec<String>,
}

/// A key that a command signs with.
struct CommandSigner {
    public: PublicKey,
    command: Vec<String>,
}

/// Why a command did not sign.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("'{program}' cannot be run")]
    Run {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("'{program}' ended with {status}: {said}")]
    Failed { program: String, status: std::process::ExitStatus, said: String },
    #[error("'{program}' did not end within {} s", COMMAND_TIMEOUT.as_secs())]
    TooSlow { program: String },
    #[error(
        "what '{program}' wrote is not this key's signature; it must write 64 bytes, or hex or base64 of them, and use \
         the key that the file names"
    )]
    Wrong { program: String },
}

impl KeyFile {
    /// Reads the file of a key.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let doing = format!("reading the key {}", path.display());
        let bytes = fs::read(path).explain("key", &doing)?;
        let schema = serde_json::from_slice::<serde_json::Value>(&bytes).unwrap_or_default();
        match schema.get("schema").and_then(serde_json::Value::as_str) {
            Some(SIGNER_SCHEMA) => {
                let SignerFile { public, command, .. } =
                    serde_json::from_slice(&bytes).explain("key", &doing)?;
                if command.is_empty() {
                    return Err(Failure::new("key", format!("{doing}: its command is empty")));
                }
                Ok(Self::Signer(Box::new(CommandSigner { public, command })))
            }
            None if schema.get("public").is_some() => {
                Ok(Self::Public(serde_json::from_slice(&bytes).explain("key", &doing)?))
            }
            _ => Ok(Self::Signer(Box::new(SigningKey::from_json(&bytes).explain("key", &doing)?))),
        }
    }

    /// The public half.
    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Signer(signer) => signer.public_key(),
            Self::Public(public) => public.clone(),
        }
    }
}

/// What signs in the file at `path`.
pub(crate) fn read_signer(path: &Path) -> Result<Box<dyn Signer>, Failure> {
    match KeyFile::read(path)? {
        KeyFile::Signer(signer) => Ok(signer),
        KeyFile::Public(_) => Err(Failure::new(
            "key",
            format!("{} holds only the public half of a key, which cannot sign", path.display()),
        )),
    }
}

/// Every key in a folder, by the name of its file.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<Box<dyn Signer>>, Failure> {
    let doing = format!("reading the keys in {}", folder.display());
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).explain("key", &doing)? {
        paths.push(entry.explain("key", &doing)?.path());
    }
    paths.sort();
    let mut signers = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        if let KeyFile::Signer(signer) = KeyFile::read(path)? {
            signers.push(signer);
        }
    }
    Ok(signers)
}

impl Signer for CommandSigner {
    fn public_key(&self) -> PublicKey {
        self.public.clone()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LEN], SignerError> {
        let wrap = |error: CommandError| SignerError { keyid: self.keyid(), source: Box::new(error) };
        let written = self.run(message).map_err(wrap)?;
        let signature = signature(&written).filter(|signature| self.public.verifies(message, signature));
        signature.ok_or_else(|| wrap(CommandError::Wrong { program: self.program() }))
    }
}

impl CommandSigner {
    fn program(&self) -> String {
        self.command.first().cloned().unwrap_or_default()
    }

    /// Runs the command on `message`; what it writes.
    fn run(&self, message: &[u8]) -> Result<Vec<u8>, CommandError> {
        let program = self.program();
        let wrap = |source| CommandError::Run { program: program.clone(), source };
        let mut command = Command::new(&program);
        command.args(self.command.iter().skip(1));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(wrap)?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let message = message.to_vec();
        // A command that ends without reading says why itself.
        let writer = thread::spawn(move || input.map(|mut input| input.write_all(&message)));
        let reader = thread::spawn(move || bounded(output));
        let errors = thread::spawn(move || bounded(errors));
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        let status = loop {
            match child.try_wait().map_err(wrap)? {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(LOOK),
                None => {
                    child.kill().and_then(|()| child.wait()).map_err(wrap)?;
                    return Err(CommandError::TooSlow { program });
                }
            }
        };
        // The pipes are closed: these threads have ended, or do at once.
        let (_, written, said) = (writer.join(), reader.join(), errors.join());
        match status.success() {
            true => Ok(written.unwrap_or_default()),
            false => {
                let said = String::from_utf8_lossy(&said.unwrap_or_default()).trim().to_owned();
                Err(CommandError::Failed { program, status, said })
            }
        }
    }
}

fn bounded(source: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read until then counts.
    let _ = source.map(|source| source.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes));
    bytes
}

/// A signature, raw or as text.
fn signature(written: &[u8]) -> Option<[u8; SIGNATURE_LEN]> {
    if let Ok(raw) = written.try_into() {
        return Some(raw);
    }
    let text = std::str::from_utf8(written).ok()?.trim();
    if text.len() == 2 * SIGNATURE_LEN {
        let (first, second) = text.split_at_checked(SIGNATURE_LEN)?;
        let halves = [Digest::from_hex(first).ok()?, Digest::from_hex(second).ok()?];
        return halves.map(|half| *half.as_bytes()).concat().try_into().ok();
    }
    let base64: Base64 = serde_json::from_value(text.into()).ok()?;
    base64.0.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(words: &[&str]) -> CommandSigner {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        CommandSigner { public: SigningKey::from_seed(&[7; 32]).public_key(), command }
    }

    #[test]
    fn a_signature_is_read_in_each_form() {
        let raw: [u8; SIGNATURE_LEN] = std::array::from_fn(|n| n as u8);
        let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = serde_json::to_value(Base64(raw.to_vec())).unwrap();
        for written in [raw.to_vec(), format!("{hex}\n").into_bytes(), base64.as_str().unwrap().into()] {
            assert_eq!(signature(&written), Some(raw));
        }
        for written in [&b""[..], b"no", &raw[1..], "é".repeat(64).as_bytes()] {
            assert_eq!(signature(written), None);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_command_signs_or_says_why_it_does_not() {
        use std::os::unix::ffi::OsStrExt as _;
        let message = b"message";
        let key = SigningKey::from_seed(&[7; 32]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("signature");
        fs::write(&file, key.sign(message).unwrap()).unwrap();
        let file = std::str::from_utf8(file.as_os_str().as_bytes()).unwrap();
        let reads = signer(&["sh", "-c", "test \"$(cat)\" = message && cat \"$0\"", file]);
        assert_eq!(reads.sign(message).unwrap(), key.sign(message).unwrap());
        let why = |signer: CommandSigner, message: &[u8]| {
            let error = signer.sign(message).unwrap_err();
            crate::output::with_causes(&error)
        };
        assert!(why(signer(&["cat", file]), b"another").contains("not this key's signature"));
        assert!(why(signer(&["sh", "-c", "echo locked >&2; exit 3"]), message).contains("locked"));
        assert!(why(signer(&["/no/such/program"]), message).contains("cannot be run"));
    }
}
