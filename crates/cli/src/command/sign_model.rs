//! `edgeward sign-model`: an OpenSSF model signature beside a bundle.

use std::fs;
use std::path::Path;

use edgeward_pipeline::model_signature::{FILE, ModelKey};
use serde::Serialize;

use crate::args::SignModelArgs;
use crate::output::{Explain, Failure, Outcome, Output};

#[derive(Serialize)]
struct Signed {
    /// Where the signature is.
    signature: String,
}

pub(crate) fn run(args: &SignModelArgs, out: Output) -> Outcome {
    let key = read_key(&args.key)?;
    sign(&key, &args.bundle)?;
    if let Some(path) = &args.public_key {
        fs::write(path, key.public_pem()).explain("file", format_args!("writing {}", path.display()))?;
    }
    let signed = Signed { signature: args.bundle.join(FILE).display().to_string() };
    out.document(&signed, |signed| format!("signed: {}", signed.signature))
}

/// The key that signs models.
pub(crate) fn read_key(file: &Path) -> Result<ModelKey, Failure> {
    let doing = format!("reading the model signing key {}", file.display());
    ModelKey::from_pem(&fs::read(file).explain("key", &doing)?).explain("key", &doing)
}

/// Signs the bundle in a folder.
pub(crate) fn sign(key: &ModelKey, folder: &Path) -> Outcome {
    key.sign_folder(folder).explain("bundle", format_args!("signing the model in {}", folder.display()))
}
