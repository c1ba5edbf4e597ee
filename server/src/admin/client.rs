//! The other end: a command goes to the server that runs, or, where none does, to the store itself.

use std::future::pending;
use std::io;
use std::path::PathBuf;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Administrator, Command, CommandError, Event, perform_for, socket};
use crate::administrators::Roles;
use crate::audit::{AuditError, Who};
use crate::config::ServeConfig;
use crate::life::OnProgress;
use crate::start::{self, Opened, StartError};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// As the store says.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// As the server said.
    #[error("{0}")]
    Refused(String),
    /// It may go on working at the command.
    #[error("the server ended the connection before its answer: see its log")]
    HungUp,
    /// Name the socket that administrators use.
    #[error("you cannot reach the server's socket {path}: {source}; another place for it is told by --admin-socket")]
    OutOfReach {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Correct the paths.
    #[error("no server answers at {socket}, and there is no store at {data}: correct --admin-socket or --data")]
    Nobody {
        /// The socket.
        socket: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// Make room for the audit log; what was done stays done.
    #[error("the command was done, but its last events are missing from the audit log: {0}")]
    NotTold(AuditError),
    /// The socket does not work.
    #[error("cannot talk to the running server")]
    Socket(#[from] io::Error),
    /// Neither a server nor a store that opens.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Who does the commands.
pub enum Admin {
    /// A server that runs.
    Server(UnixStream),
    /// This process, which has the store open.
    Store(Box<Opened>),
}

impl Admin {
    /// Finds the server by its socket, or opens the store where none runs.
    ///
    /// # Errors
    /// [`AdminError::OutOfReach`], [`AdminError::Nobody`], [`AdminError::Start`].
    pub async fn reach(config: &ServeConfig) -> Result<Self, AdminError> {
        let path = &config.places.admin_socket;
        let connected = match socket::address(path) {
            Ok((_folder, address)) => UnixStream::connect(address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok(Self::Server(stream)),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Err(AdminError::OutOfReach { path: path.clone(), source });
            }
            // None runs.
            Err(_) => {}
        }
        if !config.may_found && !config.places.data.exists() {
            return Err(AdminError::Nobody { socket: path.clone(), data: config.places.data.clone() });
        }
        Ok(Self::Store(Box::new(start::open(config).await?)))
    }

    /// Has one command done.
    ///
    /// # Errors
    /// As the command's.
    pub async fn perform(self, command: Command, on_progress: OnProgress<'_>) -> Result<Value, AdminError> {
        match self {
            Self::Server(stream) => ask(stream, &command, on_progress).await,
            Self::Store(opened) => {
                // Whoever opens the store has its files and the PIN: there is nobody left to refuse.
                let who = Who::uid(rustix::process::geteuid().as_raw());
                let administrator = Administrator { who, roles: Roles::BOTH };
                let outcome = perform_for(&opened.store, administrator, command, on_progress, pending()).await;
                let told = opened.store.close().await;
                let done = outcome?;
                told.map_err(AdminError::NotTold)?;
                Ok(done)
            }
        }
    }
}

async fn ask(mut stream: UnixStream, command: &Command, on_progress: OnProgress<'_>) -> Result<Value, AdminError> {
    let mut line = serde_json::to_vec(command).map_err(io::Error::from)?;
    line.push(b'\n');
    // A server that turns this user away does not read it, and says why.
    let sent = stream.write_all(&line).await;
    let mut answers = BufReader::new(stream).lines();
    while let Some(line) = answers.next_line().await? {
        match serde_json::from_str(&line).map_err(io::Error::from)? {
            Event::Progress(progress) => on_progress(progress),
            Event::Done(done) => return Ok(done),
            Event::Failed(why) => return Err(AdminError::Refused(why)),
        }
    }
    sent?;
    Err(AdminError::HungUp)
}
