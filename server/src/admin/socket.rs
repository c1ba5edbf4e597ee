//! The server's end: a Unix socket in the data folder that answers its owner only.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, warn};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Administrator, Command, Event, perform_for};
use crate::administrators::Roles;
use crate::audit::Who;
use crate::store::Store;

/// Longer than any command.
const COMMAND_LEN_MAX: u64 = 64 << 10;

/// The name of the socket in the data folder.
const NAME: &str = "admin.sock";

/// A socket that is listened on; its file goes when this is dropped.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// The socket of a data folder. A socket's address has at most 107 bytes, so the folder is named by its descriptor.
pub(super) fn address(data: &Path) -> io::Result<(std::fs::File, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let folder = std::fs::File::open(data)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()));
    Ok((folder, path))
}

impl AdminSocket {
    /// Listens in the data folder, which this process has locked: a socket that is there is a dead server's.
    ///
    /// # Errors
    /// The file system's.
    pub fn listen(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let (_folder, address) = address(data)?;
        let listener = UnixListener::bind(address)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Answers commands until the task is aborted.
    pub async fn serve(self, store: std::sync::Weak<Store>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let Some(store) = store.upgrade() else { return };
                    tokio::spawn(async move {
                        if let Err(error) = attend(stream, store).await {
                            debug!(%error, "an administrator hung up");
                        }
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept an administrator");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One command. Work that was begun goes on to its end, whether or not its caller waits for it.
async fn attend(mut stream: UnixStream, store: Arc<Store>) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    if peer != rustix::process::geteuid().as_raw() && peer != 0 {
        warn!(uid = peer, "somebody who is not the owner of this server was turned away");
        return send(&mut stream, &Event::Failed("only the owner of the server may do that".to_owned())).await;
    }
    let mut line = String::new();
    BufReader::new((&mut stream).take(COMMAND_LEN_MAX)).read_line(&mut line).await?;
    let command: Command = match serde_json::from_str(&line) {
        Ok(command) => command,
        Err(error) => {
            return send(&mut stream, &Event::Failed(format!("not a command of this version: {error}"))).await;
        }
    };
    let (events, mut heard) = mpsc::channel(64);
    tokio::spawn(async move {
        let progress = events.clone();
        // A slow reader misses some of it.
        let on_progress = move |now| drop(progress.try_send(Event::Progress(now)));
        let administrator = Administrator { who: Who::uid(peer), roles: Roles::BOTH };
        let last = match perform_for(&store, administrator, command, &on_progress).await {
            Ok(done) => Event::Done(done),
            Err(error) => Event::Failed(error.to_string()),
        };
        let _ = events.send(last).await;
    });
    while let Some(mut event) = heard.recv().await {
        let sent = send(&mut stream, &event).await;
        if let Event::Done(answer) = &mut event {
            wipe(answer);
        }
        sent?;
    }
    Ok(())
}

/// An answer may hold the secret of a new access key.
fn wipe(answer: &mut Value) {
    match answer {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

async fn send(stream: &mut UnixStream, event: &Event) -> io::Result<()> {
    let mut line = Zeroizing::new(serde_json::to_vec(event)?);
    line.push(b'\n');
    stream.write_all(&line).await
}
