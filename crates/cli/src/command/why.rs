//! `edgeward why`, `edgeward model lineage` and `edgeward model card`: what the control plane answers, proved here, and the
//! model asked again here.
//!
//! Nothing of what the control plane says is believed: the proofs are checked, every file of the bundle is held against its
//! digest, and the explanation is computed in this process. With `--data` no control plane need run: its folder answers.

mod card;
mod device;
mod show;

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use edgeward_api::{Client, ClientError, Problem};
use edgeward_core::{Digest, PredictionId};
use edgeward_server::why::{Asked, Offline, PATIENCE, ProofFault, Shelf, Why, page, tell, tell_lineage};

use super::remote::refused;
use crate::args::{LineageArgs, WhyArgs};
use crate::output::{Explain, Failure, Outcome, Output, with_causes};
use crate::process::block_on;

pub(crate) use card::run as card;

pub(crate) fn run(args: &WhyArgs, out: Output) -> Outcome {
    let id = PredictionId(args.prediction);
    if let Some(address) = &args.agent {
        return device::run(address, id, out);
    }
    let why = match &args.data {
        Some(data) => offline(data, id, args)?,
        None => online(id, args)?,
    };
    if let Some(file) = &args.html {
        fs::write(file, page(&why)).explain("file", format_args!("writing {}", file.display()))?;
    }
    out.document(&why, show::why)
}

fn online(id: PredictionId, args: &WhyArgs) -> Result<Why, Failure> {
    let client = args.remote.client()?;
    let doing = format!("asking about prediction {id}");
    let answer = client.prediction(id).map_err(|error| refused(&doing, &error))?;
    let began = Instant::now();
    let asked = Asked { prediction: id, row: args.row, origin: args.origin.origin.as_deref() };
    tell(&Remote(&client), &answer, asked, &mut || began.elapsed() < PATIENCE)
        .map_err(|fault| unproved(&fault))
}

/// Reads the control plane's folder itself; nobody else may use it meanwhile.
fn offline(data: &Path, id: PredictionId, args: &WhyArgs) -> Result<Why, Failure> {
    let read = async {
        let opened = Offline::open(data).await.map_err(|error| failure(error.problem()))?;
        let opened = opened.ok_or_else(|| {
            Failure::new("not_found", format!("there is no control plane in {}", data.display()))
                .hint("name the --data folder of `edgeward server`, or a copy of it")
        })?;
        opened.why(id, args.row, args.origin.origin.as_deref()).await.map_err(failure)
    };
    block_on(read)?.map_err(|failure| match failure.kind == "data_dir_in_use" {
        true => failure.hint("or ask the running control plane: leave --data out"),
        false => failure,
    })
}

fn failure(problem: Problem) -> Failure {
    problem.hints.iter().fold(Failure::new(&problem.kind, problem.error), Failure::hint)
}

pub(crate) fn lineage(args: &LineageArgs, out: Output) -> Outcome {
    let client = args.remote.client()?;
    let doing = format!("asking where {} comes from", args.model);
    let lineage = client.lineage(&args.model, args.version).map_err(|error| refused(&doing, &error))?;
    let told = tell_lineage(&Remote(&client), &lineage, args.origin.origin.as_deref());
    let (model, _, proof) = told.map_err(|fault| unproved(&fault))?;
    out.document(&show::Lineage { model, proof }, show::lineage)
}

fn unproved(fault: &ProofFault) -> Failure {
    Failure::new("proof", format!("the answer is not what the ledger has: {}", with_causes(fault)))
        .hint("'edgeward audit verify' on the control plane's machine names the first bad entry or batch")
}

/// The control plane's blobs, over the network.
struct Remote<'a>(&'a Client);

impl Shelf for Remote<'_> {
    fn blob(&self, digest: &Digest, bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let reader = match self.0.blob(digest, 0) {
            Err(ClientError::Refused { status: 404, .. }) => return Ok(None),
            Err(error) => return Err(format!("fetching {digest}: {}", with_causes(&error))),
            Ok((_, reader)) => reader,
        };
        let mut bytes = Vec::new();
        let read = reader.take(bytes_max + 1).read_to_end(&mut bytes);
        read.map_err(|error| format!("reading {digest}: {error}"))?;
        Ok(Some(bytes))
    }

    fn has(&self, digest: &Digest) -> bool {
        self.0.blob(digest, 0).is_ok()
    }
}
