//! The worker's whole life: harden itself, answer frames in order, end when the server does.
//!
//! One thread is inside the module; requests that follow wait in the socket. While calls are short, several replies go in
//! one write. A second thread waits for the other end to close: it sends the replies that a hanging module holds up, and
//! sees to it that a worker whose module hangs does not outlive its server.

use super::frame::{FrameReader, Reply, Request};
use super::process::{wait_for_hang_up, wait_for_last_request};
use super::replies::Replies;
use crate::error::KeyError;
use crate::pkcs11::{Failure, TokenKeys, calls_begun, examine, make_token};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use serde::Serialize;
use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use strongroom_engine::DataKey;

/// How long a call may go on in the module after the server has gone.
const GRACE: Duration = Duration::from_secs(2);

/// How often a worker that opens a slow token says that it goes on.
const BEAT: Duration = Duration::from_millis(100);

/// A call that took less is short: its reply may wait for that of the next one, which is at hand.
const SHORT: Duration = Duration::from_micros(100);

/// The `main` of the worker process. Standard input is the socket; the end of it ends the process.
pub fn run_worker() -> ExitCode {
    match harden().and_then(|()| serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// No core dump, and no other process of this user may read this one's memory.
fn harden() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

fn serve() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Without a peer this is no socket of ours, but a person at a terminal.
    socket.peer_addr()?;
    let replies = Arc::new(Replies::new(socket.try_clone()?));
    end_with_the_server(socket.try_clone()?, replies.clone())?;
    let mut requests = FrameReader::new(socket);
    let mut worker = Worker { keys: None, replies: replies.clone() };
    while let Some(body) = requests.receive()? {
        let request = Request::decode(&body).map_err(|_| io::ErrorKind::InvalidData)?;
        let begun = Instant::now();
        let reply = worker.answer(request).encode();
        replies.put(&reply, requests.is_ready() && begun.elapsed() < SHORT)?;
    }
    Ok(())
}

/// SIGKILL, since ending in order would run the module's own exit code beside a call in flight.
fn end_with_the_server(socket: UnixStream, replies: Arc<Replies>) -> io::Result<()> {
    let wait = move || {
        wait_for_last_request(&socket);
        let _ = replies.send();
        wait_for_hang_up(&socket);
        std::thread::sleep(GRACE);
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    };
    std::thread::Builder::new().name("end".to_owned()).spawn(wait).map(drop)
}

/// Does the work, and says meanwhile that the token answers, as long as it does.
fn alive<T>(replies: &Replies, work: impl FnOnce() -> T) -> T {
    let (end, ended) = mpsc::channel::<Infallible>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut seen = 0;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                let begun = calls_begun();
                // Fails where the server has gone, which ends this process, too.
                if std::mem::replace(&mut seen, begun) != begun && replies.put(&Reply::Opening.encode(), false).is_err()
                {
                    break;
                }
            }
        });
        let done = work();
        drop(end);
        done
    })
}

struct Worker {
    keys: Option<TokenKeys>,
    replies: Arc<Replies>,
}

impl Worker {
    fn answer(&mut self, request: Request) -> Reply {
        self.carry_out(request).unwrap_or_else(Reply::Failed)
    }

    fn carry_out(&mut self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Open { token, known } => {
                let (keys, opened) = alive(&self.replies, || TokenKeys::open(&token, known))?;
                self.keys = Some(keys);
                Ok(Reply::Opened(opened))
            }
            Request::MakeToken { module, label, pin_file, so_pin_file } => {
                make_token(&module, &label, &pin_file, &so_pin_file).map(|()| Reply::Done)
            }
            Request::Know(known) => {
                let mut notes = Vec::new();
                self.keys()?.know(known, &mut notes);
                Ok(Reply::Noted(notes))
            }
            Request::Probe => self.keys()?.probe().map(|()| Reply::Done),
            Request::Wrap { master, context, key } => {
                self.keys()?.wrap(&master, key.expose(), &context).map(Reply::Wrapped)
            }
            Request::Unwrap { wrapped, context } => {
                let mut key = self.keys()?.unwrap(&wrapped, &context)?;
                Ok(Reply::Unwrapped(DataKey::from_bytes(&mut key)))
            }
            Request::Rewrap { master, wrapped, context } => {
                let key = self.keys()?.unwrap(&wrapped, &context)?;
                self.keys()?.wrap(&master, &key, &context).map(Reply::Wrapped)
            }
            Request::Create { alias, version } => self.keys()?.create(alias, version).map(Reply::Created),
            Request::List => json(&self.keys()?.list()?),
            Request::Adopt(master) => self.keys()?.adopt(&master).map(Reply::Created),
            Request::SetWraps { master, wraps } => self.keys()?.set_wraps(&master, wraps).map(|()| Reply::Done),
            Request::Destroy { alias, version, master } => {
                self.keys()?.destroy(&alias, version, &master).map(|()| Reply::Done)
            }
            Request::Doctor(token, plan) => json(&examine(&token, plan)),
            Request::Bench(plan) => json(&self.keys()?.bench(&plan)?),
        }
    }

    fn keys(&mut self) -> Result<&mut TokenKeys, Failure> {
        self.keys.as_mut().ok_or_else(|| Failure::Call(KeyError::away("the worker has not opened its token yet")))
    }
}

fn json(value: &impl Serialize) -> Result<Reply, Failure> {
    let text = serde_json::to_string(value);
    text.map(Reply::Json).map_err(|error| Failure::misconfigured(format!("the answer cannot be written: {error}")))
}
