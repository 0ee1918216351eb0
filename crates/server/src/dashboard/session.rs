//! Who looks: signing in and out, and what ties a form to the session that it was made for.
//!
//! A session is the operator's token in a cookie that no script sees and no other site sends. A form carries a keyed digest of
//! its path and of when it was made; the key follows from the session's own secret, so that every server of a database accepts
//! it and nobody else can make it. A local caller without a token gets a key of this process.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use edgeward_core::{Role, Timestamp};
use maud::{Markup, html};
use ring::hmac;
use serde::Deserialize;

use super::alerts;
use super::layout::{bare, shown, wordmark};
use crate::access::{COOKIE, Caller, check_same_site, cookie, person};
use crate::app::App;
use crate::failure::Failure;
use crate::secret::{self, NoRandomness};

/// Life of the cookie, in seconds.
const COOKIE_LIFE_S: u32 = 30 * 24 * 3600;
/// How long a form may lie open.
const FORM_LIFE: Duration = Duration::from_secs(2 * 3600);
/// Keeps digests of forms apart from any other use of the same secret.
const FORM_DOMAIN: &str = "edgeward.form/1\n";

/// Makes and checks what a form carries.
#[derive(Clone, Debug)]
pub(crate) struct FormKey(hmac::Key);

impl FormKey {
    /// The key of this process.
    pub(crate) fn fresh() -> Result<Self, NoRandomness> {
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret::random::<32>()?)))
    }

    fn of_session(token: &str) -> Self {
        let key = secret::digest(&format!("{FORM_DOMAIN}{token}"));
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))
    }

    /// What the form that is sent to `path` carries.
    pub(super) fn token(&self, path: &str, now: Timestamp) -> String {
        let made = now.0.max(0);
        let tag = hmac::sign(&self.0, format!("{FORM_DOMAIN}{path}\n{made}").as_bytes());
        format!("{made:x}.{}", hex::encode(tag.as_ref()))
    }

    /// Whether `token` is of a form of this session for `path`, and not too old.
    pub(super) fn check(&self, path: &str, token: &str, now: Timestamp) -> Result<(), Failure> {
        let refused = || {
            Failure::forbidden("the form is not one of this session, or was open for too long")
                .hint("Go back, open the page again, and confirm once more.")
        };
        let (made, tag) = token.split_once('.').ok_or_else(refused)?;
        let made = i64::from_str_radix(made, 16).map_err(|_| refused())?;
        let tag = hex::decode(tag).map_err(|_| refused())?;
        let said = format!("{FORM_DOMAIN}{path}\n{made}");
        hmac::verify(&self.0, said.as_bytes(), &tag).map_err(|_| refused())?;
        match now.since(Timestamp(made)) <= FORM_LIFE && Timestamp(made) <= now {
            true => Ok(()),
            false => Err(refused()),
        }
    }
}

/// Who looks at a page, and what the page's frame tells them.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(super) caller: Caller,
    pub(super) role: Role,
    /// With a token, and so able to sign out.
    pub(super) signed_in: bool,
    pub(super) alerts_open: usize,
    pub(super) forms: FormKey,
    pub(super) now: Timestamp,
}

impl Viewer {
    pub(super) fn may(&self, least: Role) -> bool {
        self.role >= least
    }

    /// The hidden field of the form that is sent to `path`.
    pub(super) fn form_field(&self, path: &str) -> Markup {
        html! { input type="hidden" name="form" value=(self.forms.token(path, self.now)); }
    }
}

impl FromRequestParts<Arc<App>> for Viewer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or(Caller::Nobody);
        let unsettled = app.read(alerts::unsettled).await?;
        let alerts_open = unsettled.iter().filter(|raised| raised.acknowledged.is_none()).count();
        let session = cookie(&parts.headers).filter(|_| matches!(caller, Caller::Person(_)));
        Ok(Self {
            role: caller.role().unwrap_or(Role::Viewer),
            signed_in: session.is_some(),
            forms: session.map_or_else(|| app.forms.clone(), FormKey::of_session),
            now: app.now(),
            alerts_open,
            caller,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Token {
    token: Option<String>,
}

/// Turns a token in the address into a cookie, and a refusal into a page: one that asks for the token, or one that says
/// what is wrong.
pub(super) async fn door(
    State(app): State<Arc<App>>,
    Query(asked): Query<Token>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(token) = asked.token {
        return admit(&app, &token, "/").await;
    }
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    match response.status() {
        StatusCode::UNAUTHORIZED => {
            (StatusCode::UNAUTHORIZED, shown(&sign_in_page(false, &path))).into_response()
        }
        _ => super::failed::as_page(response),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Knock {
    #[serde(default)]
    token: String,
    /// Where to go then.
    #[serde(default)]
    to: String,
}

pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    method: Method,
    headers: HeaderMap,
    Form(form): Form<Knock>,
) -> Response {
    match check_same_site(&method, &headers) {
        Ok(()) => admit(&app, form.token.trim(), &form.to).await,
        Err(failure) => super::failed::as_page(failure.into_response()),
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Leaving {
    form: String,
}

/// Forgets the cookie.
pub(super) async fn sign_out(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Form(leaving): Form<Leaving>,
) -> Result<Response, Failure> {
    viewer.forms.check("/sign-out", &leaving.form, app.now())?;
    let cookie = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{}", secure(&app));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

fn secure(app: &App) -> &'static str {
    if app.address.starts_with("https:") { "; Secure" } else { "" }
}

async fn admit(app: &App, token: &str, to: &str) -> Response {
    match person(app, token).await {
        Ok(Some(_)) => {}
        Ok(None) => return (StatusCode::UNAUTHORIZED, shown(&sign_in_page(true, to))).into_response(),
        Err(failure) => return super::failed::as_page(failure.into_response()),
    }
    let secure = secure(app);
    let cookie =
        format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_LIFE_S}{secure}");
    ([(header::SET_COOKIE, cookie)], Redirect::to(own_path(to))).into_response()
}

/// A path of this server, and the overview for anything else.
fn own_path(to: &str) -> &str {
    let plain = to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    match to.starts_with('/') && !to.starts_with("//") && plain {
        true => to,
        false => "/",
    }
}

/// What someone without a credential sees.
pub(super) fn sign_in_page(refused: bool, to: &str) -> Markup {
    let body = html! {
        main.door id="main" {
            (wordmark())
            h1 { "Operator token" }
            @if refused { p.refused role="alert" { "That is not a token of this control plane, or it is not valid any more." } }
            p { "Any operator token will do. The first is in the file " code { "operator.token" } " in the control plane's data folder." }
            form method="post" action="/sign-in" {
                input type="hidden" name="to" value=(own_path(to));
                label for="token" { "Token" }
                input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
                button.primary type="submit" { "Open the dashboard" }
            }
        }
    };
    bare("Sign in", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_counts_for_its_session_its_path_and_its_time() {
        let (mine, yours) = (FormKey::of_session("ewo_mine"), FormKey::of_session("ewo_yours"));
        let now = Timestamp(1_700_000_000_000);
        let token = mine.token("/rollouts/r1/approve", now);
        assert!(mine.check("/rollouts/r1/approve", &token, now + Duration::from_secs(60)).is_ok());
        assert!(FormKey::of_session("ewo_mine").check("/rollouts/r1/approve", &token, now).is_ok());
        for (key, path, token, at) in [
            (&yours, "/rollouts/r1/approve", token.as_str(), now),
            (&mine, "/rollouts/r1/abort", token.as_str(), now),
            (&mine, "/rollouts/r1/approve", token.as_str(), now + FORM_LIFE + Duration::from_secs(1)),
            (&mine, "/rollouts/r1/approve", token.as_str(), now - Duration::from_secs(1)),
            (&mine, "/rollouts/r1/approve", "", now),
            (&mine, "/rollouts/r1/approve", "zz.00", now),
            (&mine, "/rollouts/r1/approve", "18bcfe56800.00", now),
        ] {
            assert_eq!(key.check(path, token, at).unwrap_err().status().as_u16(), 403, "{path} {token}");
        }
    }

    #[test]
    fn after_signing_in_only_a_page_of_this_server_opens() {
        assert_eq!([own_path("/fleet"), own_path("/rollouts/r-1?a=b")], ["/fleet", "/rollouts/r-1?a=b"]);
        for foreign in
            ["", "//evil.example", "http://evil.example", "/\\evil.example", "/a\r\nb", "javascript:x"]
        {
            assert_eq!(own_path(foreign), "/", "{foreign}");
        }
    }
}
