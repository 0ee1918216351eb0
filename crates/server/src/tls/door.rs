//! The way in, for `axum`, and who came through it.

use std::io;

use axum::extract::FromRequestParts;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::Extensions;
use axum::http::request::Parts;
use axum::serve::IncomingStream;
use edgeward_api::door::{self, Io};
use edgeward_core::Digest;

/// What a caller who speaks plain HTTP is told.
pub(crate) const TLS_HINT: &str =
    "Use an address that begins with https://, and the fleet's authority: --ca DATA/ca.pem.";

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The connection is under TLS.
    pub(crate) tls: bool,
    /// SHA-256 of the certificate whose key the other end holds.
    pub(crate) certificate: Option<Digest>,
}

impl Peer {
    /// The peer that a request came from.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<ConnectInfo<Self>>().map_or_else(Self::default, |info| info.0)
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        *stream.remote_addr()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The way in.
pub(crate) struct Door(pub(crate) door::Door);

impl axum::serve::Listener for Door {
    type Io = Io;
    type Addr = Peer;

    async fn accept(&mut self) -> (Io, Peer) {
        let (io, door::Peer { tls, certificate }) = self.0.accept().await;
        (io, Peer { tls, certificate })
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer::default())
    }
}
