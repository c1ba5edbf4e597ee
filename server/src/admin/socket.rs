//! The server's end: a Unix socket. Whoever is no administrator is turned away before a byte is read.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt as _;
use rustix::fs::OFlags;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Administrator, Command, Event, perform_for};
use crate::administrators::{Administrators, Roles};
use crate::audit::Who;
use crate::store::Store;

/// Longer than any command.
const COMMAND_LEN_MAX: u64 = 64 << 10;

/// A socket that is listened on; its file goes when this is dropped.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    administrators: Arc<Administrators>,
}

/// A path that leads to a socket. A socket's address has at most 107 bytes, so its folder is named by its descriptor.
pub(super) fn address(path: &Path) -> io::Result<(File, PathBuf)> {
    use std::os::fd::AsRawFd as _;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a socket needs a name"));
    };
    let folder = OpenOptions::new().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open(folder)?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, path))
}

impl AdminSocket {
    /// Listens at `path`, in the place of a socket that a dead server left. All that are not at home must be able to
    /// connect: then everybody is, and the kernel tells who comes.
    ///
    /// # Errors
    /// The file system's; a file that is no socket stays, as does the socket of a server that lives.
    pub fn listen(path: &Path, administrators: Administrators) -> io::Result<Self> {
        let (_folder, address) = address(path)?;
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
            Ok(_) if std::os::unix::net::UnixStream::connect(&address).is_ok() => {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            Ok(_) => std::fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(address)?;
        let mode = if administrators.are_at_home() { 0o600 } else { 0o666 };
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(Self { listener, path: path.to_owned(), administrators: Arc::new(administrators) })
    }

    /// Answers commands until the task is aborted.
    pub async fn serve(self, store: std::sync::Weak<Store>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let Some(store) = store.upgrade() else { return };
                    let administrators = Arc::clone(&self.administrators);
                    tokio::spawn(async move {
                        if let Err(error) = attend(stream, store, &administrators).await {
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

/// One command. Work that was begun goes on to its end, whether or not its caller waits for it, unless it goes over all keys.
async fn attend(mut stream: UnixStream, store: Arc<Store>, administrators: &Administrators) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let administrator = Administrator { who: Who::uid(peer), roles: administrators.roles_of(peer) };
    if administrator.roles == Roles::NONE {
        warn!(uid = peer, "somebody who administers nothing was turned away");
        let why = format!("uid {peer} administers nothing here: see [administrators] in the server's configuration");
        return send(&mut stream, &Event::Failed(why)).await;
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
    let (_waiting, hung_up) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let progress = events.clone();
        // A slow reader misses some of it.
        let on_progress = move |now| drop(progress.try_send(Event::Progress(now)));
        let last = match perform_for(&store, administrator, command, &on_progress, hung_up.map(drop)).await {
            Ok(done) => Event::Done(done),
            Err(error) => Event::Failed(error.to_string()),
        };
        let _ = events.send(last).await;
    });
    let (mut rest, mut answers) = stream.split();
    loop {
        let mut event = tokio::select! {
            event = heard.recv() => match event {
                Some(event) => event,
                None => break,
            },
            // Nothing more is to be said but farewell.
            _ = rest.read_u8() => break,
        };
        let sent = send(&mut answers, &event).await;
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

async fn send(stream: &mut (impl AsyncWrite + Unpin), event: &Event) -> io::Result<()> {
    let mut line = Zeroizing::new(serde_json::to_vec(event)?);
    line.push(b'\n');
    stream.write_all(&line).await
}
