//! A server of this process's own, in a folder that goes with it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Where Debian puts the programs, by version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Looks whether the server answers, and the time between two.
const LOOKS_MAX: u32 = 300;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// PostgreSQL does not run as root; this user is there where its package is.
const USER: &str = "postgres";

pub(crate) struct Own {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Own {
    /// Speaks TLS too where there are a certificate and its key (PEM).
    pub(crate) fn start(tls: Option<(&str, &str)>) -> Result<Self, String> {
        let bin = programs().ok_or(
            "there is no PostgreSQL: name a server with EDGEWARD_TEST_POSTGRES, or install Debian's postgresql",
        )?;
        let folder = tempfile::Builder::new().prefix("edgeward-postgres").tempdir().map_err(said)?;
        let owner = owner(folder.path())?;
        let data = folder.path().join("data");
        let mut made = Command::new(bin.join("initdb"));
        made.args(["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "-N", "-D"]).arg(&data);
        let made = as_owner(&mut made, owner).stdout(Stdio::null()).output().map_err(said)?;
        if !made.status.success() {
            return Err(format!("initdb failed: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let port = free.map_err(said)?.port();
        let mut server = Command::new(bin.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F"]);
        if let Some((certificate, key)) = tls {
            secure(&data, "server.crt", certificate, owner)?;
            secure(&data, "server.key", key, owner)?;
            server.args(["-c", "ssl=on"]);
        }
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = as_owner(&mut server, owner).spawn().map_err(said)?;
        let mut own = Self { child, port, _folder: folder };
        own.wait()?;
        Ok(own)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    fn wait(&mut self) -> Result<(), String> {
        let mut last = String::new();
        for _ in 0..LOOKS_MAX {
            match super::connect(&self.url()) {
                Ok(_) => return Ok(()),
                Err(why) => last = why,
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the PostgreSQL server ended: {status}"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(last)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that only the server may read.
fn secure(data: &Path, name: &str, text: &str, owner: Option<(u32, u32)>) -> Result<(), String> {
    let path = data.join(name);
    fs::write(&path, text).map_err(said)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(said)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(said)?;
        }
    }
    #[cfg(not(unix))]
    let _ = owner;
    Ok(())
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The folder with `initdb` and `postgres`, of the newest version.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut debian: Vec<PathBuf> = debian.collect();
    debian.sort();
    let folders = std::env::split_paths(&path).chain(debian.into_iter().rev());
    folders.into_iter().find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
}

/// Who the server runs as; none for whoever runs the test.
#[cfg(unix)]
fn owner(folder: &Path) -> Result<Option<(u32, u32)>, String> {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata(folder).map_err(said)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(said)?;
    let user = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|user| user[0] == USER);
    let ids = user.and_then(|user| Some((user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?)));
    let (uid, gid) = ids.ok_or("PostgreSQL does not run as root, and there is no user postgres")?;
    std::os::unix::fs::chown(folder, Some(uid), Some(gid)).map_err(said)?;
    Ok(Some((uid, gid)))
}

#[cfg(not(unix))]
fn owner(_: &Path) -> Result<Option<(u32, u32)>, String> {
    Ok(None)
}

fn as_owner(command: &mut Command, owner: Option<(u32, u32)>) -> &mut Command {
    #[cfg(unix)]
    if let Some((uid, gid)) = owner {
        use std::os::unix::process::CommandExt as _;
        command.uid(uid).gid(gid).current_dir("/");
    }
    #[cfg(not(unix))]
    let _ = owner;
    command
}
