//! The worker's replies on their way to the server, in order: some wait for the next, so that they go in one write.

use super::frame::append;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes that go in one write, where they are of several replies: those that hold keys never outgrow the buffer.
const WRITE_LEN: usize = 4096;

pub(super) struct Replies(Mutex<Waiting>);

struct Waiting {
    socket: UnixStream,
    frames: Zeroizing<Vec<u8>>,
}

impl Replies {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self(Mutex::new(Waiting { socket, frames: Zeroizing::new(Vec::with_capacity(WRITE_LEN)) }))
    }

    /// Sends a reply behind those that wait, or has it wait with them.
    pub(super) fn put(&self, body: &[u8], may_wait: bool) -> io::Result<()> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.frames.len() + body.len() > WRITE_LEN / 2 {
            waiting.send()?;
        }
        append(&mut waiting.frames, body)?;
        if may_wait { Ok(()) } else { waiting.send() }
    }

    /// Sends those that wait.
    pub(super) fn send(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send()
    }
}

impl Waiting {
    fn send(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.frames)?;
        self.frames.zeroize();
        Ok(())
    }
}
