//! Where the endpoint listens: addresses of a network, and sockets that are files.
//!
//! A socket's file is for the user of the process and its group (mode 0660), whatever the umask, and nobody can connect
//! before it is: it is made beside its place and moved there. One that a process left behind is replaced; one at which
//! somebody still answers is not. It is removed when the endpoint ends.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use edgeward_api::connections::Listener;
use tokio::net::{TcpListener, UnixListener};

/// Who may connect to a socket that is a file.
const SOCKET_MODE: u32 = 0o660;
const UNIX: &str = "unix:";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At an address of a network; port 0 takes a free one.
    Tcp(SocketAddr),
    /// At a file: `unix:PATH`.
    Unix(PathBuf),
}

/// Words that are no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address to listen on; give IP:PORT, such as 127.0.0.1:8600, or unix:/path/to/socket")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix(UNIX) {
            Some("") => Err(AddressError(text.to_owned())),
            Some(path) => Ok(Self::Unix(PathBuf::from(path))),
            None => text.parse().map(Self::Tcp).map_err(|_| AddressError(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<Address> for Vec<Address> {
    fn from(address: Address) -> Self {
        vec![address]
    }
}

impl Address {
    /// How callers on this machine write it.
    pub(crate) fn url(&self, is_tls: bool) -> String {
        let Self::Tcp(address) = self else { return self.to_string() };
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if is_tls { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
    }

    /// Listens there.
    pub(crate) async fn listen(&self) -> io::Result<Listening> {
        match self {
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = Self::Tcp(listener.local_addr()?);
                Ok(Listening { listener: listener.into(), address, file: None })
            }
            Self::Unix(path) => {
                let (listener, file) = listen_at(path)?;
                Ok(Listening { listener: listener.into(), address: self.clone(), file: Some(file) })
            }
        }
    }
}

/// A place where connections arrive.
pub(crate) struct Listening {
    pub(crate) listener: Listener,
    /// With the port that was taken.
    pub(crate) address: Address,
    pub(crate) file: Option<SocketFile>,
}

/// A socket's file, which goes when this does.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Another process may have put its own in the same place.
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // One that stays behind is replaced by the next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn listen_at(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    check_free(path)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new().prefix(".").tempdir_in(parent)?;
    let made = beside.path().join("s");
    let listener = UnixListener::bind(&made)?;
    fs::set_permissions(&made, fs::Permissions::from_mode(SOCKET_MODE))?;
    let inode = fs::symlink_metadata(&made)?.ino();
    fs::rename(&made, path)?;
    Ok((listener, SocketFile { path: path.to_owned(), inode }))
}

/// Refuses to take the place of what is no socket, and of a socket at which somebody answers.
fn check_free(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process answers at this socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Runtime::new().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        for text in ["127.0.0.1:8600", "[::1]:0", "unix:/run/edgeward.sock", "unix:here.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", "8600", "unix:", "unix", "/run/edgeward.sock"] {
            let refused = text.parse::<Address>().unwrap_err().to_string();
            assert!(refused.contains("unix:/path/to/socket"), "{refused}");
        }
    }

    #[test]
    fn a_socket_is_for_its_user_and_group_and_goes_when_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edgeward.sock");
        let address = Address::Unix(path.clone());
        let runtime = runtime();
        let listening = runtime.block_on(address.listen()).unwrap();
        assert_eq!(mode(&path), SOCKET_MODE);
        assert_eq!(listening.address.url(true), format!("unix:{}", path.display()));
        let busy = runtime.block_on(address.listen()).err().unwrap();
        assert_eq!(busy.kind(), ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).is_ok(), "the one that answers was not touched");
        drop(listening);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edgeward.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let runtime = runtime();
        let listening = runtime.block_on(Address::Unix(path.clone()).listen()).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "somebody's").unwrap();
        drop(listening);
        assert_eq!(fs::read(&path).unwrap(), b"somebody's", "what is not its own it does not remove");
        let refused = runtime.block_on(Address::Unix(path).listen()).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    }
}
