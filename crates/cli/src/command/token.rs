//! `edgeward token create|ls|revoke`: operator tokens.

use std::time::Duration;

use edgeward_api::access::{Token, TokenRequest, Tokens};
use edgeward_core::{Timestamp, TokenId};

use super::remote::{ago, now, refused};
use crate::args::TokenCommand;
use crate::output::{Failure, Outcome, Output, table};

const HEADER: [&str; 5] = ["token", "name", "role", "made", "valid"];

pub(crate) fn run(command: &TokenCommand, out: Output) -> Outcome {
    match command {
        TokenCommand::Create { role, name, expires, remote } => {
            let ttl_ms = expires.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
            let request = TokenRequest { name: name.clone(), role: *role, ttl_ms };
            let token = remote.client()?.make_token(&request);
            let token = token.map_err(|error| refused("making an operator token", &error))?;
            out.document(&token, |token| token.secret.clone())
        }
        TokenCommand::Ls { remote } => {
            let tokens = remote.client()?.tokens().map_err(|error| refused("listing tokens", &error))?;
            out.document(&tokens, listing)
        }
        TokenCommand::Revoke { id, remote } => {
            let id = TokenId::new(id).map_err(|error| Failure::usage(error.to_string()))?;
            let token = remote.client()?.revoke_token(&id);
            let token = token.map_err(|error| refused("revoking a token", &error))?;
            out.document(&token, |token| format!("{} of {} is revoked", token.id, token.name))
        }
    }
}

fn listing(tokens: &Tokens) -> String {
    let now = now();
    let row = |token: &Token| {
        let (id, name) = (token.id.to_string(), token.name.clone());
        vec![id, name, token.role.to_string(), ago(token.created_at_ms, now), validity(token, now)]
    };
    let rows: Vec<Vec<String>> = tokens.tokens.iter().map(row).collect();
    table(&HEADER, &rows, "no token was made; the first one is in operator.token of the data folder")
}

fn validity(token: &Token, now: Timestamp) -> String {
    match (token.revoked_at_ms, token.expires_at_ms) {
        (Some(_), _) => "revoked".to_owned(),
        (None, None) => "for ever".to_owned(),
        (None, Some(end)) if end <= now => "expired".to_owned(),
        (None, Some(end)) => format!("for {}", span(end.since(now))),
    }
}

/// `3 h`, `12 days`, rounded down.
fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use edgeward_core::Role;

    use super::*;

    #[test]
    fn what_is_left_of_a_token_is_told() {
        let token = |expires: Option<i64>, revoked: Option<i64>| Token {
            id: TokenId::new("t-1").unwrap(),
            name: "ann".to_owned(),
            role: Role::Viewer,
            created_at_ms: Timestamp(0),
            expires_at_ms: expires.map(Timestamp),
            revoked_at_ms: revoked.map(Timestamp),
        };
        let day = 86_400_000;
        let check = |token, expect| assert_eq!(validity(&token, Timestamp(day)), expect);
        check(token(None, None), "for ever");
        check(token(Some(day), None), "expired");
        check(token(Some(91 * day), None), "for 90 days");
        check(token(Some(91 * day), Some(1)), "revoked");
    }
}
