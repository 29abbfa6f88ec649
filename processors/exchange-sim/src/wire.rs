//! Listening, and connections that can be broken off from inside: the faults `drop` and `cut` need a TCP connection that ends
//! without an answer or a closing frame.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::Error;

/// Pause after a failed accept (too many open files): trying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener whose connections end with it.
#[derive(Debug)]
pub(crate) struct Door {
    listener: TcpListener,
    shutdown: CancellationToken,
}

impl Door {
    pub(crate) async fn open(
        what: &'static str,
        address: SocketAddr,
        shutdown: CancellationToken,
    ) -> Result<(Self, SocketAddr), Error> {
        let failed = |source| Error::Listen { what, address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        Ok((Self { listener, shutdown }, bound))
    }
}

/// Who is at the other end, and the way to hang up on them.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Their address.
    pub ip: IpAddr,
    /// Breaks the connection at once.
    pub hangup: CancellationToken,
}

impl Listener for Door {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%address, %error, "no TCP_NODELAY");
                    }
                    return (Wire::new(stream, self.shutdown.child_token()), address);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self { ip: stream.remote_addr().ip(), hangup: stream.io().hangup.clone() }
    }
}

/// A TCP connection that fails from the moment it is hung up.
pub(crate) struct Wire {
    stream: TcpStream,
    hangup: CancellationToken,
    hung_up: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    fn new(stream: TcpStream, hangup: CancellationToken) -> Self {
        Self { stream, hung_up: Box::pin(hangup.clone().cancelled_owned()), hangup }
    }

    fn gone() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, "hung up")
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // The future may be polled only once after it is ready; the token tells the rest.
        if self.hangup.is_cancelled() || self.hung_up.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(Self::gone()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.hangup.is_cancelled() {
            return Poll::Ready(Err(Self::gone()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hangup.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.hangup.is_cancelled() {
            return Poll::Ready(Err(Self::gone()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
