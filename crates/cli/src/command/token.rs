//! `edgeward token create`: join tokens.

use edgeward_api::operator::JoinTokenRequest;

use super::remote::refused;
use crate::args::TokenCommand;
use crate::output::{Outcome, Output};

pub(crate) fn run(command: &TokenCommand, out: Output) -> Outcome {
    let TokenCommand::Create { uses, ttl, remote } = command;
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let request = JoinTokenRequest { uses: *uses, ttl_ms };
    let token =
        remote.client()?.make_join_token(&request).map_err(|error| refused("making a join token", &error))?;
    out.document(&token, |token| token.join_token.clone())
}
