//! `edgeward ca`: the certificate authorities on which the fleet's TLS stands.

use edgeward_api::access::{Authorities, Authority, AuthoritySwitch};

use super::remote::{ago, now, refused};
use crate::args::CaCommand;
use crate::output::{Outcome, Output, table};

const HEADER: [&str; 4] = ["authority", "made", "does", "devices"];

pub(crate) fn run(command: &CaCommand, out: Output) -> Outcome {
    let authorities = match command {
        CaCommand::Ls { remote } => remote.client()?.authorities(),
        CaCommand::Rotate { remote } => remote.client()?.rotate_authority(),
        CaCommand::Switch { force, remote } => {
            remote.client()?.switch_authority(&AuthoritySwitch { force: *force })
        }
    };
    let authorities = authorities.map_err(|error| refused("the certificate authorities", &error))?;
    out.document(&authorities, |known: &Authorities| {
        let rows: Vec<Vec<String>> = known.authorities.iter().map(row).collect();
        table(&HEADER, &rows, "there is none")
    })
}

fn row(authority: &Authority) -> Vec<String> {
    let does = match (authority.serves, authority.issues) {
        (true, true) => "serves and issues",
        (true, false) => "serves",
        _ => "issues",
    };
    vec![
        authority.fingerprint.to_string(),
        ago(authority.made_at_ms, now()),
        does.to_owned(),
        authority.devices.to_string(),
    ]
}
