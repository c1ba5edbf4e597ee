//! A TCP stream that waits for its peer, but not forever, and takes leave so that the last answer arrives.
//!
//! *Silence*: a read or write that is waited for fails once nothing has moved for the set time. This also bounds what
//! HTTP leaves unbounded: the first bytes of a connection, and a body that stops coming.
//! *Leave*: closing a socket that holds unread bytes resets the connection, and the peer may lose an answer that it has
//! not read yet, like the refusal of an upload still under way. So at the end the write side closes first, and what
//! still comes is read and dropped, for a while.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long a peer that still sends may take to notice that its answer is complete.
const LEAVE: Duration = Duration::from_secs(10);
/// How long to wait for one that sends nothing: an idle client does not look, and a server that stops is not to wait.
const LEAVE_SILENT: Duration = Duration::from_secs(1);

pub(super) struct Patient {
    stream: TcpStream,
    silence: Duration,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
    leave_until: Option<Instant>,
}

impl Patient {
    pub(super) fn new(stream: TcpStream, silence: Duration) -> Self {
        Self { stream, silence, timer: Box::pin(sleep(silence)), waiting: false, leave_until: None }
    }

    /// Passes a result on; a wait that has lasted too long becomes an error.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = false;
            return polled;
        }
        if !self.waiting {
            self.waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.silence);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads and drops what comes, until the peer closes, falls silent or has had its time.
    fn drain(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        // As many reads at a time as keep the other connections of this thread waiting for little.
        for _ in 0..16 {
            let mut dropped = [0; 16 << 10];
            let mut buffer = ReadBuf::new(&mut dropped);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && Instant::now() < until => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
            self.timer.as_mut().reset(until.min(Instant::now() + LEAVE_SILENT));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.bounded(cx, polled)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bounded(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.bounded(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = match self.leave_until {
            Some(until) => until,
            None => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                let now = Instant::now();
                self.timer.as_mut().reset(now + LEAVE_SILENT);
                *self.leave_until.insert(now + LEAVE)
            }
        };
        ready!(self.drain(cx, until));
        Poll::Ready(Ok(()))
    }
}
