//! Who may call what.
//!
//! A device is known by the certificate it shows under TLS, or by its bearer credential. A token may also be the password of
//! basic authentication, whatever the user's name: some clients know no other way. A certificate counts because the
//! store knows it; one that does not is refused whatever else the request carries.
//!
//! Each route belongs to one [`Need`]; the router asks [`guard`] before a handler runs, and writes the same need into
//! the OpenAPI document. A caller is known by a bearer credential, by the dashboard's cookie, or, on a control plane
//! that listens on loopback without `require_auth`, by being local. The last two are what a browser sends on anyone's
//! behalf, so they count only when `Host` names this machine and `Origin` names this server.
//!
//! Deliberately missing: permissions finer than a role, such as one project only.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use edgeward_api::client::is_this_machine;
use edgeward_core::{DeviceId, Digest, Role};

use crate::app::App;
use crate::failure::Failure;
use crate::secret::{self, SECRET_LEN_MAX};
use crate::tls::Peer;

/// The dashboard's cookie.
pub(crate) const COOKIE: &str = "edgeward_operator";

/// What the token in `operator.token` is called where a token's name stands.
const FIRST_TOKEN: &str = "operator.token";
/// Whom the ledger names for a local caller without a token.
const LOCAL: &str = "local";

/// Who a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anyone.
    Nothing,
    /// An enrolled device.
    Device,
    /// A person or program of this role at least.
    Role(Role),
    /// Either.
    DeviceOr(Role),
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No credential.
    Nobody,
    /// No credential, but on this machine, where that suffices for everything.
    Local,
    /// Whoever holds an operator token.
    Person(Person),
    /// An enrolled device.
    Device(DeviceId),
}

/// The holder of an operator token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// The token's name and id.
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Caller {
    /// What the caller may do; none for devices and nobody.
    pub(crate) const fn role(&self) -> Option<Role> {
        match self {
            Self::Local => Some(Role::Admin),
            Self::Person(person) => Some(person.role),
            Self::Nobody | Self::Device(_) => None,
        }
    }

    /// How the ledger names the caller.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::Local => LOCAL.to_owned(),
            Self::Person(person) => person.name.clone(),
            Self::Device(device) => device.to_string(),
        }
    }
}

/// What the server accepts.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Digest of the token in `operator.token`.
    first_token: Digest,
    /// Local callers without a token are admins.
    local_trust: bool,
}

impl Access {
    pub(crate) fn new(operator_token: &str, listening: SocketAddr, require_auth: bool) -> Self {
        let local_trust = listening.ip().is_loopback() && !require_auth;
        Self { first_token: secret::digest(operator_token), local_trust }
    }

    pub(crate) const fn local_trust(&self) -> bool {
        self.local_trust
    }

    fn is_first_token(&self, digest: &Digest) -> bool {
        secret::is_same(digest, &self.first_token)
    }
}

/// The person who holds `token`; none if it is unknown, revoked or past its time.
pub(crate) async fn person(app: &App, token: &str) -> Result<Option<Person>, Failure> {
    if token.len() > SECRET_LEN_MAX {
        return Ok(None);
    }
    let digest = secret::digest(token);
    if app.access.is_first_token(&digest) {
        return Ok(Some(Person { name: FIRST_TOKEN.to_owned(), role: Role::Admin }));
    }
    let row = app.read(move |view| view.operator_token(digest).map_err(Failure::from)).await?;
    let row = row.filter(|row| row.is_valid(app.now()));
    Ok(row.map(|row| Person { name: format!("{} ({})", row.name, row.id), role: row.role }))
}

/// What a request carries to show who sends it.
enum Presented {
    Bearer(String),
    Garbage,
    Nothing,
}

fn presented(headers: &HeaderMap) -> Presented {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Presented::Nothing };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, shown) = text.split_once(' ')?;
        let shown = shown.trim();
        match scheme {
            scheme if scheme.eq_ignore_ascii_case("bearer") => Some(shown.to_owned()),
            scheme if scheme.eq_ignore_ascii_case("basic") => password(shown),
            _ => None,
        }
    });
    let token = token.filter(|token| !token.is_empty() && token.len() <= SECRET_LEN_MAX);
    token.map_or(Presented::Garbage, Presented::Bearer)
}

/// What stands after the first colon of what basic authentication encodes.
fn password(encoded: &str) -> Option<String> {
    let text = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

/// Lets a request through to the routes of `need`, with its [`Caller`] as an extension.
pub(crate) async fn guard(
    State((app, need)): State<(Arc<App>, Need)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if need != Need::Nothing {
        let peer = Peer::of(request.extensions());
        let caller = identify(&app, peer, request.method(), request.headers()).await?;
        admit(need, &caller)?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

async fn identify(app: &App, peer: Peer, method: &Method, headers: &HeaderMap) -> Result<Caller, Failure> {
    if let Some(certificate) = peer.certificate {
        return identify_certificate(app, certificate).await;
    }
    match presented(headers) {
        Presented::Bearer(token) => match person(app, &token).await? {
            Some(person) => Ok(Caller::Person(person)),
            None => {
                let device = app.device_of(secret::digest(&token)).await?;
                device.map(Caller::Device).ok_or_else(unknown_credential)
            }
        },
        Presented::Garbage => Err(unknown_credential()),
        Presented::Nothing => {
            let known = match cookie(headers) {
                Some(token) => person(app, token).await?,
                None => None,
            };
            identify_browser(&app.access, known, method, headers)
        }
    }
}

/// A caller that shows a certificate.
async fn identify_certificate(app: &App, fingerprint: Digest) -> Result<Caller, Failure> {
    let row = app.read(move |view| Ok::<_, Failure>(view.certificate(fingerprint)?)).await?;
    let refused = |why: String| Failure::bad_certificate(why);
    match row {
        None => Err(refused("the certificate was not issued by this control plane".to_owned())
            .hint("Join with a join token.")),
        Some(row) if row.revoked => {
            Err(refused(format!("the certificate of {} was revoked", row.device))
                .hint(join_again(&row.device)))
        }
        Some(row) if app.now() >= row.expires_at_ms => {
            Err(refused(format!("the certificate of {} has ended", row.device)).hint(join_again(&row.device)))
        }
        Some(row) => Ok(Caller::Device(row.device)),
    }
}

fn join_again(device: &DeviceId) -> String {
    format!("Join again with the token that `edgeward device token --for {device}` makes.")
}

/// A caller that shows no bearer credential; `known` is whom its cookie names.
fn identify_browser(
    access: &Access,
    known: Option<Person>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Failure> {
    let caller = match known {
        Some(person) => Caller::Person(person),
        None if access.local_trust && !is_forwarded(headers) => {
            check_host(headers)?;
            Caller::Local
        }
        None => return Ok(Caller::Nobody),
    };
    check_same_site(method, headers)?;
    Ok(caller)
}

fn admit(need: Need, caller: &Caller) -> Result<(), Failure> {
    let least = match (need, caller) {
        (Need::Nothing, _) | (Need::Device | Need::DeviceOr(_), Caller::Device(_)) => return Ok(()),
        (Need::Device, Caller::Person(_)) => {
            return Err(
                Failure::forbidden("only a device may do this").hint("Enrol with a join token first.")
            );
        }
        (Need::Device, Caller::Nobody | Caller::Local) => {
            return Err(Failure::unauthorized("this needs a device's credential")
                .hint("Enrol with a join token, and send Authorization: Bearer <credential>."));
        }
        (Need::Role(least) | Need::DeviceOr(least), _) => least,
    };
    match caller.role() {
        Some(role) if role >= least => Ok(()),
        Some(role) => Err(Failure::forbidden(format!(
            "this needs the role {least}, and {} has the role {role}",
            caller.name()
        ))
        .hint(format!(
            "Ask an admin for a token of that role: edgeward token create --name NAME --role {least}"
        ))),
        None if matches!(caller, Caller::Device(_)) => Err(Failure::forbidden("a device may not do this")
            .hint("Use an operator token; the first is in operator.token in the control plane's data folder.")),
        None => Err(Failure::unauthorized("this needs a credential").hint(
            "Send Authorization: Bearer <token>; the first token is in operator.token in the control plane's data folder.",
        )),
    }
}

fn unknown_credential() -> Failure {
    Failure::unauthorized("the credential is not known here, or not valid any more")
        .hint("Operators: use the token in operator.token, or ask an admin for one. Devices: enrol again.")
}

/// What the dashboard's cookie holds.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).find_map(|text| {
        text.split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == COOKIE).then_some(value))
    })
}

/// A reverse proxy stands in between: the caller need not be on this machine.
fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| HeaderValue::to_str(value).unwrap_or("?"))
}

/// Refuses a page whose name was made to point at this machine (DNS rebinding).
fn check_host(headers: &HeaderMap) -> Result<(), Failure> {
    let host = text(headers, "host").unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    match is_this_machine(name) {
        true => Ok(()),
        false => Err(Failure::forbidden(format!("without a token, '{host}' is not a name of this machine"))
            .hint("Use http://127.0.0.1 or http://localhost, or send the operator token.")),
    }
}

/// Refuses what another site's page asks for.
pub(crate) fn check_same_site(method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let host = text(headers, "host").unwrap_or_default();
    let own = |origin: &str| {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    let navigates = method == Method::GET && text(headers, "sec-fetch-dest") == Some("document");
    let same_site = text(headers, "sec-fetch-site")
        .is_none_or(|site| matches!(site, "same-origin" | "none") || navigates);
    match same_site && text(headers, "origin").is_none_or(own) {
        true => Ok(()),
        false => Err(Failure::forbidden("another site's page may not call this").hint(
            "Open the dashboard at the control plane's own address, or send the operator token as a bearer token.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "ewo_test";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn access(listening: &str, require_auth: bool) -> Access {
        Access::new(TOKEN, listening.parse().unwrap(), require_auth)
    }

    fn person(role: Role) -> Person {
        Person { name: "ann".to_owned(), role }
    }

    fn check(access: &Access, method: &Method, pairs: &[(&'static str, &str)], expect: Option<&Caller>) {
        let headers = headers(pairs);
        let known = cookie(&headers).filter(|token| access.is_first_token(&secret::digest(token)));
        let known = known.map(|_| person(Role::Viewer));
        let found = identify_browser(access, known, method, &headers).ok();
        assert_eq!(found.as_ref(), expect, "{method} {pairs:?}");
    }

    #[test]
    fn local_callers_are_admins_on_loopback_only() {
        let host = ("host", "127.0.0.1:7700");
        check(&access("127.0.0.1:7700", false), &Method::GET, &[host], Some(&Caller::Local));
        check(&access("[::1]:7700", false), &Method::GET, &[("host", "[::1]:7700")], Some(&Caller::Local));
        check(&access("127.0.0.1:7700", true), &Method::GET, &[host], Some(&Caller::Nobody));
        check(&access("0.0.0.0:7700", false), &Method::GET, &[host], Some(&Caller::Nobody));
        let proxied = [host, ("x-forwarded-for", "10.1.1.1")];
        check(&access("127.0.0.1:7700", false), &Method::GET, &proxied, Some(&Caller::Nobody));
    }

    #[test]
    fn a_rebound_name_is_refused() {
        for host in ["evil.example:7700", "127.0.0.1.evil.example", "", "10.0.0.1:7700", "localhost.evil:80"]
        {
            check(&access("127.0.0.1:7700", false), &Method::GET, &[("host", host)], None);
        }
        for host in ["localhost:7700", "LOCALHOST", "127.0.0.1", "[::1]"] {
            check(&access("127.0.0.1:7700", false), &Method::GET, &[("host", host)], Some(&Caller::Local));
        }
    }

    #[test]
    fn another_sites_page_is_refused_but_a_link_is_followed() {
        let local = access("127.0.0.1:7700", false);
        let host = ("host", "127.0.0.1:7700");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:7701", "http://127.0.0.1:7700.evil"] {
            check(&local, &Method::POST, &[host, ("origin", origin)], None);
        }
        check(&local, &Method::POST, &[host, ("origin", "http://127.0.0.1:7700")], Some(&Caller::Local));
        let cross = ("sec-fetch-site", "cross-site");
        check(&local, &Method::GET, &[host, cross, ("sec-fetch-dest", "image")], None);
        check(&local, &Method::GET, &[host, cross, ("sec-fetch-dest", "document")], Some(&Caller::Local));
        check(&local, &Method::POST, &[host, cross, ("sec-fetch-dest", "document")], None);
    }

    #[test]
    fn the_cookie_counts_as_the_token_and_is_bound_to_the_site() {
        let remote = access("0.0.0.0:7700", false);
        let (host, good) = (("host", "plant:7700"), ("cookie", "a=b; edgeward_operator=ewo_test"));
        check(&remote, &Method::GET, &[host, good], Some(&Caller::Person(person(Role::Viewer))));
        check(&remote, &Method::POST, &[host, good, ("origin", "http://evil.example")], None);
        check(&remote, &Method::GET, &[host, ("cookie", "edgeward_operator=guess")], Some(&Caller::Nobody));
    }

    #[test]
    fn a_token_may_be_a_password() {
        let shown = |value: &str| match presented(&headers(&[("authorization", value)])) {
            Presented::Bearer(token) => token,
            Presented::Garbage => "garbage".to_owned(),
            Presented::Nothing => "nothing".to_owned(),
        };
        assert_eq!(shown("Bearer abc"), "abc");
        assert_eq!(shown("basic YW5uOmFiYzpk"), "abc:d", "ann:abc:d");
        for garbage in ["Basic YW5u", "Basic %%%", "Basic ", "Digest abc", "Bearer ", "Basic YW5uOg=="] {
            assert_eq!(shown(garbage), "garbage", "{garbage}");
        }
    }

    #[test]
    fn needs_admit_whom_they_say() {
        let status =
            |need, caller: &Caller| admit(need, caller).err().map(|failure| failure.status().as_u16());
        let device = Caller::Device(DeviceId::new("d1").unwrap());
        assert_eq!(status(Need::Device, &device), None);
        assert_eq!(status(Need::Device, &Caller::Local), Some(401));
        assert_eq!(status(Need::Device, &Caller::Person(person(Role::Admin))), Some(403));
        for least in Role::ALL {
            for role in Role::ALL {
                let refused = (role < least).then_some(403);
                assert_eq!(status(Need::Role(least), &Caller::Person(person(role))), refused);
                assert_eq!(status(Need::DeviceOr(least), &Caller::Person(person(role))), refused);
            }
            assert_eq!(status(Need::Role(least), &device), Some(403));
            assert_eq!(status(Need::DeviceOr(least), &device), None);
            assert_eq!(status(Need::Role(least), &Caller::Local), None);
            assert_eq!(status(Need::DeviceOr(least), &Caller::Nobody), Some(401));
        }
        assert_eq!(status(Need::Nothing, &Caller::Nobody), None);
    }
}
