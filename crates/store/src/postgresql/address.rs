//! Where a PostgreSQL database is, and how it may be spoken to.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use postgres::Config;
use postgres::config::{Host, SslMode};

use super::tls::{Connector, TlsError};

/// How long to wait for a connection, unless the address says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A peer that does not acknowledge what was sent for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Silence after which a peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
const PORT: u16 = 5432;

/// The address of a PostgreSQL database. It is shown without its password.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    pub(super) tls: Option<Connector>,
    name: String,
}

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It is something else.
    #[error("a database's address looks like postgres://USER@HOST:5432/NAME")]
    Form,
    /// A part of it cannot be read.
    #[error("reading the database's address: write it like postgres://USER@HOST:5432/NAME")]
    Parse(#[source] postgres::Error),
    /// It names no database or no host.
    #[error("the database's address names no {0}: write it like postgres://USER@HOST:5432/NAME")]
    Missing(&'static str),
    /// A mode that is none.
    #[error("sslmode={0} is not known: take require or verify-full, or disable on this very machine")]
    Mode(String),
    /// It would be spoken to in the clear over a network.
    #[error(
        "sslmode={mode} would send passwords and data in the clear to {host}: leave sslmode away or write \
         sslmode=verify-full, and name the file of the authority with sslrootcert=FILE if it is not one that this machine \
         knows"
    )]
    Plain {
        /// What was asked for.
        mode: String,
        /// The host.
        host: String,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What an address says of TLS.
#[derive(Default)]
struct Wish {
    mode: Option<String>,
    root: Option<PathBuf>,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(AddressError::Form);
        }
        let (text, wish) = split(text);
        let mut config: Config = text.parse().map_err(AddressError::Parse)?;
        if config.get_hosts().is_empty() {
            return Err(AddressError::Missing("host"));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(AddressError::Missing("database"));
        }
        let tls = tls(&config, &wish)?;
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("edgeward");
        }
        config.keepalives_idle(KEEPALIVE).tcp_user_timeout(SILENCE_MAX);
        let name = name(&config);
        Ok(Self { config, tls, name })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Takes out what the driver does not know, or knows with another meaning.
fn split(text: &str) -> (String, Wish) {
    let mut wish = Wish::default();
    let Some((place, query)) = text.split_once('?') else { return (text.to_owned(), wish) };
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => wish.mode = Some(mode.to_owned()),
            Some(("sslrootcert", file)) => wish.root = Some(PathBuf::from(decoded(file))),
            _ => others.push(pair),
        }
    }
    match others.is_empty() {
        true => (place.to_owned(), wish),
        false => (format!("{place}?{}", others.join("&")), wish),
    }
}

/// Undoes percent encoding; what is no such code stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// In the clear only on this very machine. Under TLS the server's certificate and name are always checked.
fn tls(config: &Config, wish: &Wish) -> Result<Option<Connector>, AddressError> {
    let afar = config.get_hosts().iter().find_map(afar);
    let afar = afar.or_else(|| {
        config.get_hostaddrs().iter().find(|address| !address.is_loopback()).map(ToString::to_string)
    });
    match (wish.mode.as_deref(), afar) {
        (None | Some("disable" | "allow" | "prefer"), None) => Ok(None),
        (None | Some("require" | "verify-ca" | "verify-full"), _) => {
            Ok(Some(Connector::new(wish.root.as_deref())?))
        }
        (Some(mode @ ("disable" | "allow" | "prefer")), Some(host)) => {
            Err(AddressError::Plain { mode: mode.to_owned(), host })
        }
        (Some(mode), _) => Err(AddressError::Mode(mode.to_owned())),
    }
}

/// The host's name, if it is not this very machine.
fn afar(host: &Host) -> Option<String> {
    match host {
        Host::Tcp(name) => {
            let address: Result<IpAddr, _> = name.trim_matches(['[', ']']).parse();
            let is_here = address.map_or(name == "localhost", |address| address.is_loopback());
            (!is_here).then(|| name.clone())
        }
        #[cfg(unix)]
        Host::Unix(_) => None,
    }
}

fn name(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(n, host)| {
        let port = ports.get(n).or_else(|| ports.first()).copied().unwrap_or(PORT);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    format!("postgres://{user}{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Address>().err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_password_is_never_shown() {
        let address: Address = "postgres://ann:s3cret@localhost:5433/fleet".parse().unwrap();
        assert_eq!(format!("{address} {address:?}"), ["postgres://ann@localhost:5433/fleet"; 2].join(" "));
        assert!(address.tls.is_none());
        let error = "postgres://ann:s3cret@localhost:port/fleet".parse::<Address>().err().unwrap();
        let said = format!("{error} {error:?} {:?}", std::error::Error::source(&error));
        assert!(!said.contains("s3cret"), "{said}");
    }

    #[test]
    fn nothing_goes_over_a_network_in_the_clear() {
        for mode in ["disable", "allow", "prefer"] {
            let said = refused(&format!("postgres://ann@db.example:5432/fleet?sslmode={mode}"));
            assert!(said.contains("in the clear to db.example"), "{said}");
            assert!(refused(&format!("postgres://ann@10.0.0.1/fleet?sslmode={mode}")).contains("10.0.0.1"));
            assert_eq!(refused(&format!("postgres://ann@127.0.0.1/fleet?sslmode={mode}")), "");
            assert_eq!(refused(&format!("postgres://ann@[::1]/fleet?sslmode={mode}")), "");
        }
        for mode in ["", "?sslmode=require", "?sslmode=verify-full&connect_timeout=3"] {
            match format!("postgres://ann@db.example/fleet{mode}").parse::<Address>() {
                Ok(address) => assert!(address.tls.is_some(), "{mode}"),
                Err(error) => assert!(matches!(error, AddressError::Tls(TlsError::NoRoots)), "{error}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        assert!(refused("fleet.db").contains("postgres://USER@HOST"));
        assert!(refused("postgres://ann@localhost").contains("names no database"));
        assert!(refused("postgres://ann@localhost/x?sslmode=maybe").contains("sslmode=maybe"));
        assert!(refused("postgres://ann@localhost/x?color=red").contains("reading the database's address"));
        let said = refused("postgres://ann@h/x?sslrootcert=%2Fnowhere%2Fca.pem");
        assert!(said.contains("/nowhere/ca.pem"), "{said}");
    }
}
