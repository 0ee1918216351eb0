//! One device's connection: HTTP/1.1 with lengths, over a real socket, under TLS or not, kept between two requests for a while.
//!
//! Deliberately missing: redirects, chunked bodies and whatever else a control plane does not send.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// A connection that was idle for so long is closed, as the agent's client does.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(15);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_BYTES_MAX: usize = 32 << 10;
const BODY_BYTES_MAX: usize = 64 << 20;

/// Where the control plane is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// `127.0.0.1:7700`.
    pub(super) host: String,
    /// What stands before every path; usually nothing.
    pub(super) base: String,
    /// Whose certificate is asked for; none without TLS.
    name: Option<ServerName<'static>>,
}

impl Address {
    /// The address of a URL.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (rest, port) = match url.strip_prefix("https://") {
            Some(rest) => (rest, 443),
            None => (url.strip_prefix("http://")?, 80),
        };
        let rest = rest.trim_end_matches('/');
        let (host, base) =
            rest.split_once('/').map_or((rest, String::new()), |(host, base)| (host, format!("/{base}")));
        let host = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let bare = host.rsplit_once(':').map_or(host.as_str(), |(bare, _)| bare).trim_matches(['[', ']']);
        let name = match port {
            443 => Some(ServerName::try_from(bare.to_owned()).ok()?),
            _ => None,
        };
        Some(Self { host, base, name })
    }

    pub(super) const fn is_tls(&self) -> bool {
        self.name.is_some()
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub(super) path: &'a str,
    pub(super) credential: Option<&'a str>,
    pub(super) etag: Option<&'a str>,
    /// A JSON document; none asks with GET.
    pub(super) body: Option<&'a [u8]>,
}

/// What was answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
    /// From asking to the end of the answer, connecting included.
    pub(super) took: Duration,
}

/// What bytes go over.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

type Stream = BufReader<Box<dyn Line>>;

/// A connection, open or not.
#[derive(Default)]
pub(super) struct Connection {
    tls: Option<TlsConnector>,
    stream: Option<Stream>,
    used_at: Option<Instant>,
    /// How often it was opened.
    pub(super) opened: u64,
}

impl Connection {
    /// A connection that believes and shows what `tls` says, where the address asks for TLS.
    pub(super) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls: tls.map(TlsConnector::from), ..Self::default() }
    }

    async fn open(&mut self, address: &Address) -> io::Result<Stream> {
        let stream = TcpStream::connect(&address.host).await?;
        stream.set_nodelay(true)?;
        self.opened += 1;
        let line: Box<dyn Line> = match (&self.tls, &address.name) {
            (Some(tls), Some(name)) => Box::new(tls.connect(name.clone(), stream).await?),
            _ => Box::new(stream),
        };
        Ok(BufReader::with_capacity(2048, line))
    }

    /// Closes it if it was idle for too long.
    pub(super) fn close_if_idle(&mut self) {
        if self.used_at.is_some_and(|used| used.elapsed() >= IDLE_MAX) {
            self.stream = None;
        }
    }

    /// Asks, on a new connection if the one that was kept is gone.
    pub(super) async fn ask(&mut self, address: &Address, ask: Ask<'_>) -> io::Result<Answer> {
        let began = Instant::now();
        let kept = self.stream.is_some();
        let mut answer = self.attempt(address, ask).await;
        if kept && answer.as_ref().is_err_and(|error| error.kind() != ErrorKind::TimedOut) {
            self.stream = None;
            answer = self.attempt(address, ask).await;
        }
        self.used_at = Some(Instant::now());
        match answer {
            Ok(answer) => Ok(Answer { took: began.elapsed(), ..answer }),
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    async fn attempt(&mut self, address: &Address, ask: Ask<'_>) -> io::Result<Answer> {
        let exchange = async {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => self.open(address).await?,
            };
            stream.write_all(&request(address, ask)).await?;
            stream.flush().await?;
            let (answer, keep) = read(&mut stream).await?;
            if keep {
                self.stream = Some(stream);
            }
            Ok(answer)
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }
}

fn request(address: &Address, ask: Ask<'_>) -> Vec<u8> {
    let method = if ask.body.is_some() { "POST" } else { "GET" };
    let mut head = format!("{method} {}{} HTTP/1.1\r\nhost: {}\r\n", address.base, ask.path, address.host);
    if let Some(credential) = ask.credential {
        head.push_str(&format!("authorization: Bearer {credential}\r\n"));
    }
    if let Some(etag) = ask.etag {
        head.push_str(&format!("if-none-match: {etag}\r\n"));
    }
    if let Some(body) = ask.body {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(ask.body.unwrap_or_default());
    bytes
}

/// The answer, and whether the connection may be kept.
async fn read(stream: &mut Stream) -> io::Result<(Answer, bool)> {
    let mut answer = Answer { status: status_of(&line(stream).await?)?, ..Answer::default() };
    let (mut length, mut keep, mut read) = (0_usize, true, 0);
    loop {
        let line = line(stream).await?;
        read += line.len();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(ErrorKind::InvalidData)?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(|_| ErrorKind::InvalidData)?,
            "etag" => answer.etag = Some(value.to_owned()),
            "retry-after" => answer.retry_after = value.parse().ok().map(Duration::from_secs),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            "transfer-encoding" => return Err(ErrorKind::Unsupported.into()),
            _ => {}
        }
        if read > HEAD_BYTES_MAX || length > BODY_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    if answer.status != 304 && answer.status != 204 {
        answer.body.resize(length, 0);
        stream.read_exact(&mut answer.body).await?;
    }
    Ok((answer, keep))
}

fn status_of(line: &str) -> io::Result<u16> {
    line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| ErrorKind::InvalidData.into())
}

async fn line(stream: &mut Stream) -> io::Result<String> {
    let mut line = String::new();
    if stream.take(HEAD_BYTES_MAX as u64).read_line(&mut line).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_a_port_and_what_stands_before_paths() {
        let check = |url: &str, host: &str, base: &str| {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.host.as_str(), address.base.as_str()), (host, base));
            assert_eq!(address.is_tls(), url.starts_with("https:"));
        };
        check("http://127.0.0.1:7700", "127.0.0.1:7700", "");
        check("http://plant.example/edgeward/", "plant.example:80", "/edgeward");
        check("http://[::1]:7700/", "[::1]:7700", "");
        check("https://plant.example/edgeward", "plant.example:443", "/edgeward");
        check("https://[::1]:7700", "[::1]:7700", "");
        assert!(Address::parse("ftp://plant.example").is_none());
    }
}
