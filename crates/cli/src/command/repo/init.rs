//! `edgeward repo init`: a repository that lets nothing run yet, and the keys of its roles.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use edgeward_trust::fleet::{FleetKeys, Lives, Shelf};
use edgeward_trust::{Signer, SigningKey};

use super::{Desk, folder, refused};
use crate::args::DeskArgs;
use crate::command::now;
use crate::output::{Explain, Failure, Outcome, Output, note};
use crate::signers::{KeyFile, read_signer};

/// The keys that sign root and top-level targets, two of which must.
const ROOTS: [&str; 3] = ["root-1", "root-2", "root-3"];

pub(super) fn run(args: &DeskArgs, out: Output) -> Outcome {
    let Some(keys) = &args.keys else {
        return Err(Failure::usage("repo init needs --keys, the folder for the keys"));
    };
    let folder = folder(&args.repository);
    if folder.contains("metadata/1.root.json") {
        let text = format!("there is a repository in {} already", args.repository.display());
        return Err(Failure::new("exists", text).hint("`edgeward repo verify` shows what it says"));
    }
    fs::create_dir_all(keys).explain("key", format_args!("making {}", keys.display()))?;
    for name in ROOTS.into_iter().chain(["releases", "rollouts", "snapshot", "timestamp", "ledger"]) {
        make_key(&keys.join(format!("{name}.json")))?;
    }
    let public = |name: &str| KeyFile::read(&keys.join(format!("{name}.json"))).map(|key| key.public());
    let fleet = FleetKeys {
        root: ROOTS.into_iter().map(public).collect::<Result<_, _>>()?,
        root_threshold: 2,
        releases: public("releases")?,
        rollouts: public("rollouts")?,
        snapshot: public("snapshot")?,
        timestamp: public("timestamp")?,
        ledger: public("ledger")?,
    };
    let signer = |name: &str| read_signer(&keys.join(format!("{name}.json")));
    let roots = [signer(ROOTS[0])?, signer(ROOTS[1])?];
    let roots: Vec<&dyn Signer> = roots.iter().map(|signer| &**signer).collect();
    let (releases, now) = (signer("releases")?, now());
    let shelf = Shelf::new(&fleet, &roots, &*releases, &Lives::default(), now);
    let shelf = shelf.map_err(|error| refused("making the repository", &error))?;
    let files = shelf.offline_files();
    let signers = crate::signers::read_folder(keys)?;
    let mut desk = Desk { folder, shelf, signers, now, done: super::Done::default() };
    // The first root last: a command that was cut short is done again.
    let files: Vec<_> = files.into_iter().rev().collect();
    desk.write(&files)?;
    desk.freshen(true)?;
    note(
        "move root-1.json, root-2.json and root-3.json to places apart; releases.json belongs where models are made",
    );
    desk.finish(out)
}

/// Makes the key at `path`, unless there is one, or a file that names the command that signs.
fn make_key(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        return Ok(());
    }
    let doing = format!("making the key {}", path.display());
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::new("key", format!("{doing}: {error}")))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).explain("key", &doing)?;
    file.write_all(&SigningKey::from_seed(&seed).to_json()).explain("key", &doing)?;
    file.sync_all().explain("key", &doing)
}
