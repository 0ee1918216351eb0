//! How a device speaks at its endpoint.

use std::path::PathBuf;

use clap::Args;
use edgeward_agent::Speech;

/// Flags about TLS at the endpoint.
#[derive(Args)]
pub(crate) struct SpeechArgs {
    /// Speak TLS at the endpoint, with this certificate and its chain (PEM); anywhere but on loopback it must
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak plain HTTP on an address that others reach, too
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) plain_http: bool,
}

impl SpeechArgs {
    /// What they ask for.
    pub(crate) fn speech(self) -> Speech {
        match (self.tls_cert.zip(self.tls_key), self.plain_http) {
            (Some((certificate, key)), _) => Speech::Tls { certificate, key },
            (None, true) => Speech::PlainAnywhere,
            (None, false) => Speech::Plain,
        }
    }
}
