//! Nudges by way of an MQTT broker, for fleets that have one: devices then hold one connection, to it.
//!
//! The control plane publishes the generation of what the fleet should run, retained, to one topic; devices subscribe to
//! it. As on every other way a nudge carries no authority and no secret: whoever can publish can make devices look at the
//! signed repository, and nothing else. MQTT 3.1.1; TLS 1.3 unless the broker is on this machine.
//!
//! Deliberately missing: MQTT 5, client certificates, and anything but the nudge.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{MqttOptions, TlsConfiguration, Transport};
use ureq::http::Uri;
use uuid::Uuid;

use crate::client::{Roots, Tls, is_this_machine};

/// The topic if the address names none.
pub const TOPIC: &str = "edgeward/desired";
/// Largest packet that is taken: a nudge is a number, and others may share the topic.
const PACKET_BYTES_MAX: usize = 4096;
/// A quiet connection is tried this often.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Most bytes of a password's file.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Where a broker is, and how to speak to it.
#[derive(Clone)]
pub struct Broker {
    host: String,
    port: u16,
    topic: String,
    is_tls: bool,
    tls: Tls,
    login: Option<(String, String)>,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        let Self { host, port, topic, .. } = self;
        match host.contains(':') {
            true => write!(f, "{scheme}://[{host}]:{port}/{topic}"),
            false => write!(f, "{scheme}://{host}:{port}/{topic}"),
        }
    }
}

/// Why an address is none of a broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It cannot be read.
    #[error("'{0}' is no address of a broker; one is mqtts://HOST[:PORT][/TOPIC]")]
    Address(String),
    /// Everything between machines is TLS.
    #[error("{0} is not on this machine, and mqtt:// does not encrypt; use mqtts://")]
    Open(String),
    /// A password in an address ends up in lists of processes.
    #[error("an address of a broker holds no user name; give --mqtt-user and --mqtt-password-file")]
    Login,
    /// One topic, not a pattern.
    #[error("'{0}' is no topic to publish to: wildcards (+, #) and empty names are not")]
    Topic(String),
    /// The password cannot be read.
    #[error("reading the broker's password in {path}")]
    Password {
        /// Which file.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// TLS cannot be spoken.
    #[error("no TLS to the broker: {0}")]
    Tls(String),
}

impl Broker {
    /// The broker at `mqtts://HOST[:PORT][/TOPIC]`, or `mqtt://` on this machine. Its certificate must stand on what this
    /// computer believes, unless [`Broker::believing`] says otherwise.
    ///
    /// # Errors
    /// It is no such address.
    pub fn parse(address: &str) -> Result<Self, BrokerError> {
        let unread = || BrokerError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| unread())?;
        let is_tls = match uri.scheme_str() {
            Some("mqtts") => true,
            Some("mqtt") => false,
            _ => return Err(unread()),
        };
        let authority = uri.authority().ok_or_else(unread)?;
        if authority.as_str().contains('@') {
            return Err(BrokerError::Login);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() || uri.query().is_some() {
            return Err(unread());
        }
        if !is_tls && !is_this_machine(&host) {
            return Err(BrokerError::Open(host));
        }
        let topic = topic(uri.path())?;
        let port = authority.port_u16().unwrap_or(if is_tls { 8883 } else { 1883 });
        Ok(Self { host, port, topic, is_tls, tls: Tls::default(), login: None })
    }

    /// The same, with a certificate that must stand on `roots`.
    #[must_use]
    pub fn believing(self, roots: Roots) -> Self {
        Self { tls: Tls::with_roots(roots), ..self }
    }

    /// The same, with a user's name and the password in a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn logging_in(self, user: &str, password: Option<&Path>) -> Result<Self, BrokerError> {
        let password = password.map(password_in).transpose()?.unwrap_or_default();
        Ok(Self { login: Some((user.to_owned(), password)), ..self })
    }

    /// The topic of the nudges.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// How to connect, under a name that begins with `who` and is used by nobody else.
    ///
    /// # Errors
    /// TLS cannot be spoken.
    pub fn options(&self, who: &str) -> Result<MqttOptions, BrokerError> {
        let id = format!("edgeward-{who}-{:08x}", Uuid::now_v7().as_u128() as u32);
        let mut options = MqttOptions::new(id, &self.host, self.port);
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        if let Some((user, password)) = &self.login {
            options.set_credentials(user, password);
        }
        if self.is_tls {
            let config = Arc::new(self.tls.config().map_err(BrokerError::Tls)?);
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
        }
        Ok(options)
    }
}

fn topic(path: &str) -> Result<String, BrokerError> {
    match path.strip_prefix('/').unwrap_or(path) {
        "" => Ok(TOPIC.to_owned()),
        named if named.contains(['+', '#', '%', '\0']) => Err(BrokerError::Topic(named.to_owned())),
        named if named.starts_with('$') => Err(BrokerError::Topic(named.to_owned())),
        named => Ok(named.to_owned()),
    }
}

fn password_in(path: &Path) -> Result<String, BrokerError> {
    let read = || {
        let mut text = String::new();
        io::Read::read_to_string(
            &mut io::Read::take(std::fs::File::open(path)?, PASSWORD_BYTES_MAX),
            &mut text,
        )?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    read().map_err(|source| BrokerError::Password { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expect: &str) {
        let said = match Broker::parse(address) {
            Ok(broker) => broker.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expect), "{address}: {said}");
    }

    #[test]
    fn an_address_says_all_but_who() {
        check("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883/edgeward/desired");
        check("mqtt://localhost:1900/", "mqtt://localhost:1900/edgeward/desired");
        check("mqtt://[::1]:1900/plant/7/look", "mqtt://[::1]:1900/plant/7/look");
        check("mqtts://broker.example/plant", "mqtts://broker.example:8883/plant");
    }

    #[test]
    fn what_is_no_address_says_why() {
        check("broker.example", "is no address of a broker");
        check("http://broker.example", "is no address of a broker");
        check("mqtts://", "is no address of a broker");
        check("mqtt://broker.example", "use mqtts://");
        check("mqtt://192.168.1.5", "use mqtts://");
        check("mqtts://me:secret@broker.example", "--mqtt-password-file");
        check("mqtts://broker.example/plant/+", "wildcards");
        check("mqtts://broker.example/$SYS/broker", "is no topic");
    }

    #[test]
    fn a_password_is_not_shown_and_its_newline_is_not_part_of_it() {
        let file = std::env::temp_dir().join(format!("edgeward-broker-{}", Uuid::now_v7()));
        std::fs::write(&file, "secret\n").unwrap();
        let broker = Broker::parse("mqtt://localhost").unwrap().logging_in("me", Some(&file)).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(broker.login, Some(("me".to_owned(), "secret".to_owned())));
        assert!(!format!("{broker:?} {broker}").contains("secret"));
        let missing = broker.logging_in("me", Some(&file)).unwrap_err().to_string();
        assert!(missing.contains("edgeward-broker"), "{missing}");
    }
}
