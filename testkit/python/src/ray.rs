//! A real Ray head on loopback, for tests of whoever sends it work.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use crate::{Environment, Skip, environment, skip};

/// The version that tests talk to, as a requirement.
const RAY: &str = "ray[default]==2.60.0";

/// A Ray head; it ends when this is dropped, or when the process that holds it ends in whatever way.
#[derive(Debug)]
pub struct RayHead {
    address: String,
    keeper: Child,
}

impl RayHead {
    /// Where its dashboard listens, and with it the Jobs API.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for RayHead {
    fn drop(&mut self) {
        // The keeper ends the head when its input ends.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Starts a Ray head with four processors, on ports of its own.
///
/// # Errors
/// As [`environment`], or it does not come up.
///
/// # Panics
/// As [`environment`].
pub fn ray_head() -> Result<RayHead, Skip> {
    if !cfg!(target_os = "linux") {
        return Err(skip("a Ray head is started on Linux only"));
    }
    start(&environment("ray", &[RAY])?).map_err(|why| skip(&format!("no Ray head: {why}")))
}

fn start(ray: &Environment) -> Result<RayHead, String> {
    let mut keeper = ray.command();
    keeper.args(["-c", include_str!("head.py")]);
    keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut keeper = keeper.spawn().map_err(|source| source.to_string())?;
    let (said, complaint) = (keeper.stdout.take(), keeper.stderr.take());
    let mut address = String::new();
    let read = said.map(|said| BufReader::new(said).read_line(&mut address));
    if matches!(read, Some(Ok(1..))) {
        // What it says later is of no interest, and nobody reads it: it says nothing more.
        return Ok(RayHead { address: address.trim().to_owned(), keeper });
    }
    let mut why = String::new();
    let _ = complaint.map(|mut complaint| complaint.read_to_string(&mut why));
    let _ = keeper.wait();
    Err(why)
}
