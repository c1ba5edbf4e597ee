//! One worker process as its parent sees it: started, asked, and ended.
//!
//! It gets a close-on-exec socket as standard input, variables by allow-list and those that are configured for it, and
//! nothing else of the server's. Every read and write on the socket has a deadline. Dropping a [`Process`] ends the child
//! and reaps it.

use super::config::{ModuleConfig, WorkerCommand, may_inherit};
use super::frame::{FrameReader, Reply, Request, send};
use crate::error::KeyError;
use crate::pkcs11::{Failure, OpenToken, OpenedToken};
use crate::provider::KnownKey;
use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// For what a worker has ready although its module hangs.
const LAST_REPLIES: Duration = Duration::from_millis(100);

/// For all that is looked at when a token is opened, however slow it is.
const OPEN_MAX: Duration = Duration::from_secs(120);

/// Why a worker gave no reply.
#[derive(Debug)]
pub(super) enum Silence {
    /// The deadline passed.
    Hung,
    /// The process ended, or talks nonsense.
    Died,
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Hung,
            _ => Self::Died,
        }
    }
}

pub(super) struct Process {
    child: Child,
    replies: FrameReader<UnixStream>,
}

impl Process {
    pub(super) fn spawn(
        command: &WorkerCommand,
        environment: &[(String, OsString)],
        deadline: Duration,
    ) -> Result<Self, KeyError> {
        let failed = |error: io::Error| {
            let program = command.program.display();
            KeyError::Misconfigured(format!("cannot start the worker process {program}: {error}"))
        };
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        socket.set_read_timeout(Some(deadline)).map_err(failed)?;
        socket.set_write_timeout(Some(deadline)).map_err(failed)?;
        let inherited = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(may_inherit));
        let child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(inherited)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            // A Ctrl-C at the terminal is the server's to answer: it still needs the worker to finish what is in flight.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        Ok(Self { child, replies: FrameReader::new(socket) })
    }

    /// Starts a worker and has it open its token.
    pub(super) fn open(
        command: &WorkerCommand,
        config: &ModuleConfig,
        token: OpenToken,
        known: Vec<KnownKey>,
    ) -> Result<(Self, OpenedToken), Failure> {
        let deadline = config.limits.open_deadline;
        let mut process = Self::spawn(command, &config.environment, deadline).map_err(Failure::Call)?;
        let begun = Instant::now();
        let mut answer = process.ask(&Request::Open { token, known });
        while matches!(answer, Ok(Reply::Opening)) && begun.elapsed() < OPEN_MAX {
            answer = process.receive();
        }
        match answer {
            Ok(Reply::Opened(opened)) => {
                process.set_deadline(config.limits.deadline);
                Ok((process, opened))
            }
            Ok(Reply::Failed(failure)) => Err(failure),
            Ok(_) | Err(Silence::Died) => {
                Err(Failure::Lost("the worker process ended while opening its token".to_owned()))
            }
            Err(Silence::Hung) => {
                Err(Failure::Lost(format!("the module did not open its token within {deadline:?} (open-deadline-ms)")))
            }
        }
    }

    /// From now on. A deadline that the system does not take leaves the one before.
    pub(super) fn set_deadline(&self, deadline: Duration) {
        let _ = self.socket().set_read_timeout(Some(deadline));
        let _ = self.socket().set_write_timeout(Some(deadline));
    }

    /// Disconnected once the worker has ended, so that the successor of an idle one starts at once.
    pub(super) fn watch(&self) -> io::Result<Receiver<()>> {
        let socket = self.socket().try_clone()?;
        let (alive, gone) = crossbeam_channel::bounded(0);
        let wait = move || {
            wait_for_hang_up(&socket);
            drop(alive);
        };
        std::thread::Builder::new().name("hsm-watch".to_owned()).spawn(wait)?;
        Ok(gone)
    }

    fn socket(&self) -> &UnixStream {
        self.replies.stream()
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn ask(&mut self, request: &Request) -> Result<Reply, Silence> {
        self.send([request])?;
        self.receive()
    }

    /// Several requests in one write; their replies come in this order.
    pub(super) fn send<'a>(&mut self, requests: impl IntoIterator<Item = &'a Request>) -> Result<(), Silence> {
        let bodies: Vec<_> = requests.into_iter().map(Request::encode).collect();
        Ok(send(&mut self.socket(), &bodies)?)
    }

    pub(super) fn receive(&mut self) -> Result<Reply, Silence> {
        let body = self.replies.receive()?.ok_or(Silence::Died)?;
        Reply::decode(&body).map_err(|_| Silence::Died)
    }

    /// The replies that a worker whose module hangs had ready and had not sent. It is asked nothing more.
    pub(super) fn last_replies(&mut self) -> Vec<Reply> {
        let _ = self.socket().shutdown(Shutdown::Write);
        self.set_deadline(LAST_REPLIES);
        std::iter::from_fn(|| self.receive().ok()).collect()
    }

    /// Lets the worker close its sessions: it ends by itself when the socket does.
    pub(super) fn end(mut self) {
        let _ = self.socket().shutdown(Shutdown::Both);
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the child has been reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Blocks until the other end of the socket is closed.
pub(super) fn wait_for_hang_up(socket: &UnixStream) {
    // No event is asked for: a hang-up, which is always told, is enough.
    wait_for(socket, PollFlags::empty());
}

/// Blocks until the other end of the socket will send no more.
pub(super) fn wait_for_last_request(socket: &UnixStream) {
    wait_for(socket, PollFlags::RDHUP);
}

fn wait_for(socket: &UnixStream, event: PollFlags) {
    while let Err(Errno::INTR) = poll(&mut [PollFd::new(socket, event)], None) {}
}

/// A worker for one question, then its end.
pub(crate) fn ask_once(
    command: &WorkerCommand,
    environment: &[(String, OsString)],
    deadline: Duration,
    request: &Request,
) -> Result<Reply, KeyError> {
    let mut process = Process::spawn(command, environment, deadline)?;
    match process.ask(request) {
        Ok(Reply::Failed(failure)) => Err(failure.into_error()),
        Ok(reply) => Ok(reply),
        Err(Silence::Hung) => Err(KeyError::away(format!("the module did not answer within {deadline:?}"))),
        Err(Silence::Died) => Err(KeyError::away("the worker process ended without an answer")),
    }
}
