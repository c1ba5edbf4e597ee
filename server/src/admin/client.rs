//! The other end: a command goes to the server that runs, or, where none does, to the store itself.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::{Command, Event, perform_for, socket};
use crate::audit::Who;
use crate::config::ServeConfig;
use crate::life::{LifeError, OnProgress};
use crate::start::{self, Opened, StartError};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// As the store says.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// As the server said.
    #[error("{0}")]
    Refused(String),
    /// It may go on working at the command.
    #[error("the server ended the connection before its answer: see its log")]
    HungUp,
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
    /// Finds the server of this data folder, or opens the store where none runs.
    ///
    /// # Errors
    /// [`AdminError::Start`].
    pub async fn reach(config: &ServeConfig) -> Result<Self, AdminError> {
        if let Ok((_folder, address)) = socket::address(&config.places.data)
            && let Ok(stream) = UnixStream::connect(address).await
        {
            return Ok(Self::Server(stream));
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
                let uid = rustix::process::geteuid().as_raw();
                let outcome = perform_for(&opened.store, Who::uid(uid), command, on_progress).await;
                opened.store.close().await;
                Ok(outcome?)
            }
        }
    }
}

async fn ask(mut stream: UnixStream, command: &Command, on_progress: OnProgress<'_>) -> Result<Value, AdminError> {
    let mut line = serde_json::to_vec(command).map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut answers = BufReader::new(stream).lines();
    while let Some(line) = answers.next_line().await? {
        match serde_json::from_str(&line).map_err(io::Error::from)? {
            Event::Progress(progress) => on_progress(progress),
            Event::Done(done) => return Ok(done),
            Event::Failed(why) => return Err(AdminError::Refused(why)),
        }
    }
    Err(AdminError::HungUp)
}
