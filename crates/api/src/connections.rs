//! Connections that cannot crowd out one another: a bound on their number, and an end to those on which nothing happens.
//!
//! A [`Gate`] accepts connections; each takes one of a fixed number of places. A connection without traffic is ended
//! after [`Patience::idle`], or, while places are scarce and it owes no answer, already after [`Patience::crowded`]. So
//! callers that leak connections, or hold them on purpose, cannot keep others out for long.
//!
//! Deliberately missing: limits by caller, and a shortest rate of bytes; whoever sends one byte a minute keeps a place.

use std::future::Future as _;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::either::Either;

/// Places are scarce when fewer than one in this many is free.
const SCARCE_PART: usize = 4;
/// Wait after the system refused to accept, for want of open files for example.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a listener accepts.
type Stream = Either<TcpStream, UnixStream>;

/// How long connections may be quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Any connection.
    pub idle: Duration,
    /// One that owes no answer, while places are scarce.
    pub crowded: Duration,
    /// Between two looks at a quiet connection.
    pub look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { idle: s(75), crowded: s(5), look: s(2) }
    }
}

impl Patience {
    const fn limit(&self, is_crowded: bool, owes_answer: bool) -> Duration {
        if is_crowded && !owes_answer { self.crowded } else { self.idle }
    }
}

/// Where connections arrive.
#[derive(Debug)]
pub enum Listener {
    /// At an address of a network.
    Tcp(TcpListener),
    /// At a file.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Listener {
    /// The next connection, and the address it comes from if it has one.
    async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // An answer in several pieces would wait for the other end to acknowledge the first; if it cannot be
                // helped, it waits.
                let _ = stream.set_nodelay(true);
                Ok((Either::Left(stream), Some(address)))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (Either::Right(stream), None)),
        }
    }
}

/// Accepts a bounded number of connections at a time.
#[derive(Debug)]
pub struct Gate {
    listener: Listener,
    places: Arc<Semaphore>,
    places_max: usize,
    is_crowded: Arc<AtomicBool>,
    patience: Patience,
}

impl Gate {
    /// A gate before `listener` with room for `places_max` connections.
    #[must_use]
    pub fn new(listener: impl Into<Listener>, places_max: usize, patience: Patience) -> Self {
        let places = Arc::new(Semaphore::new(places_max));
        Self { listener: listener.into(), places, places_max, is_crowded: Arc::default(), patience }
    }

    /// The next connection, once there is a place for it, and the address it comes from if it has one. Failures to
    /// accept are waited out.
    pub async fn accept(&mut self) -> (Connection, Option<SocketAddr>) {
        let place = self.place().await;
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (self.admit(stream, place), address),
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => {
                    self.is_crowded.store(true, Ordering::Relaxed);
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        let is_scarce = self.places.available_permits() < self.places_max.div_ceil(SCARCE_PART);
        self.is_crowded.store(is_scarce, Ordering::Relaxed);
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            // Only a closed semaphore has no place to give, and nobody closes this one.
            Err(_) => std::future::pending().await,
        }
    }

    fn admit(&self, stream: Stream, place: OwnedSemaphorePermit) -> Connection {
        Connection {
            stream,
            _place: place,
            is_crowded: Arc::clone(&self.is_crowded),
            patience: self.patience,
            look: Box::pin(sleep(self.patience.look)),
            active_at: Instant::now(),
            owes_answer: false,
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

/// A connection that ends by itself when it is quiet for too long.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    _place: OwnedSemaphorePermit,
    is_crowded: Arc<AtomicBool>,
    patience: Patience,
    look: Pin<Box<Sleep>>,
    active_at: Instant,
    /// What was read last has not been answered.
    owes_answer: bool,
}

impl Connection {
    /// The first byte that the other end sends, which stays to be read.
    ///
    /// # Errors
    /// The connection ends before that, or is none of a network.
    pub async fn first_byte(&self) -> io::Result<u8> {
        let Either::Left(stream) = &self.stream else { return Err(ErrorKind::Unsupported.into()) };
        let mut byte = [0];
        match stream.peek(&mut byte).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0]),
        }
    }

    fn was_active(&mut self, owes_answer: bool) {
        self.active_at = Instant::now();
        self.owes_answer = owes_answer;
    }

    /// Pending, or an error once the connection was quiet for too long.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.look.as_mut().poll(context).is_ready() {
            let is_crowded = self.is_crowded.load(Ordering::Relaxed);
            let limit = self.patience.limit(is_crowded, self.owes_answer);
            if self.active_at.elapsed() >= limit {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            self.look.as_mut().reset(Instant::now() + self.patience.look);
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_pending() {
            return self.wait(context);
        }
        if buffer.filled().len() > before {
            self.was_active(true);
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if polled.is_pending() {
            return self.wait(context);
        }
        self.was_active(false);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if polled.is_pending() {
            return self.wait(context);
        }
        self.was_active(false);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(5);

    async fn gate(places_max: usize, patience: Patience) -> (Gate, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Gate::new(listener, places_max, patience), address)
    }

    async fn read(connection: &mut Connection) -> io::Result<usize> {
        connection.read(&mut [0; 8]).await
    }

    #[tokio::test]
    async fn a_quiet_connection_ends() {
        let (mut gate, address) = gate(8, Patience { idle: SOON, crowded: SOON, look: SOON }).await;
        let _client = TcpStream::connect(address).await.unwrap();
        let (mut connection, _) = gate.accept().await;
        assert_eq!(read(&mut connection).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_quiet_make_room_where_places_are_scarce() {
        let (mut gate, address) = gate(2, Patience { idle: NEVER, crowded: SOON, look: SOON }).await;
        let _clients =
            [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        for _ in 0..2 {
            let (mut connection, _) = gate.accept().await;
            tokio::spawn(async move { read(&mut connection).await });
        }
        let _third = TcpStream::connect(address).await.unwrap();
        gate.accept().await;
    }

    #[test]
    fn who_is_owed_an_answer_may_wait_for_it() {
        let patience = Patience::default();
        assert_eq!(patience.limit(true, false), patience.crowded);
        assert_eq!(patience.limit(true, true), patience.idle);
        assert_eq!(patience.limit(false, false), patience.idle);
    }
}
