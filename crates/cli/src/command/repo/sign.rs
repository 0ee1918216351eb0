//! `edgeward repo sign`: bundles that may run, what the fleet runs, and drafts that wait for signatures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use edgeward_core::desired::DESIRED_SCHEMA;
use edgeward_core::{Desired, Digest, ModelName};
use edgeward_model::Bundle;
use edgeward_model::bundle::path;
use edgeward_trust::fleet::{Draft, File, Lives, RELEASES, add_release, release_path, target_file};

use super::{Desk, refused, rotate};
use crate::args::DeskArgs;
use crate::output::{Explain, Failure, Outcome, Output};

/// What is to be signed.
pub(super) struct Wanted<'a> {
    pub(super) bundles: &'a [PathBuf],
    pub(super) roll_out: bool,
    pub(super) stable: &'a [(ModelName, Digest)],
}

pub(super) fn run(args: &DeskArgs, wanted: &Wanted<'_>, out: Output) -> Outcome {
    let mut desk = Desk::open(args)?;
    let signed = rotate::sign_open_drafts(&mut desk)?;
    if !signed && wanted.bundles.is_empty() && wanted.stable.is_empty() {
        return Err(Failure::usage("there is nothing to sign: no draft waits, and no bundle was given")
            .hint("give --bundle FOLDER, or --stable MODEL=BUNDLE"));
    }
    let mut stable = wanted.stable.to_vec();
    for folder in wanted.bundles {
        let released = release(&mut desk, folder)?;
        stable.extend(wanted.roll_out.then_some(released));
    }
    if !stable.is_empty() {
        let before = desk.desired()?;
        let desired = with_stable(before, stable);
        desk.publish(&desired)?;
    }
    desk.freshen(false)?;
    desk.finish(out)
}

fn with_stable(before: Option<Desired>, stable: Vec<(ModelName, Digest)>) -> Desired {
    let empty = Desired { schema: DESIRED_SCHEMA.to_owned(), generation: 0, models: BTreeMap::new() };
    let mut desired = before.unwrap_or(empty);
    desired.generation += 1;
    for (model, bundle) in stable {
        desired.models.entry(model).or_default().stable = Some(bundle);
    }
    desired
}

/// Lets the bundle in a folder run; its files are put beside the repository.
fn release(desk: &mut Desk, folder: &Path) -> Result<(ModelName, Digest), Failure> {
    let doing = format!("releasing the bundle in {}", folder.display());
    let opened = Bundle::open(folder).explain("bundle", &doing)?;
    let bundle = Bundle::verify(folder, &opened.digest()).explain("bundle", &doing)?;
    let (model, digest) = (bundle.manifest().model.clone(), bundle.digest());
    let manifest = fs::read(folder.join(path::MANIFEST)).explain("bundle", &doing)?;
    let mut files = vec![File { path: format!("blobs/{}", digest.hex()), bytes: manifest.clone() }];
    for (path, entry) in &bundle.manifest().files {
        let bytes = bundle.read(path.as_str()).explain("bundle", &doing)?;
        files.push(File { path: format!("blobs/{}", entry.digest.hex()), bytes });
    }
    let draft =
        Draft { model: &model, manifest: &manifest, custom: serde_json::json!({ "by": "repo sign" }) };
    let signer = desk.needed(RELEASES)?;
    let signed = add_release(desk.shelf.releases().bytes(), &draft, signer, &Lives::default(), desk.now);
    let signed = signed.map_err(|error| refused(&doing, &error))?;
    let list = desk.shelf.accept_releases(&signed).map_err(|error| refused(&doing, &error))?;
    let path = release_path(&model, &digest);
    if let Some(target) = desk.shelf.releases().body().targets.get(&path) {
        files.push(File { path: target_file(&path, target), bytes: manifest });
    }
    files.push(list);
    files.retain(|file| !(file.path.starts_with("blobs/") && desk.folder.contains(&file.path)));
    desk.write(&files)?;
    desk.done.released.push(format!("{model}={digest}"));
    Ok((model, digest))
}
