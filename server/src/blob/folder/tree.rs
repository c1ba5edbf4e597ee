//! The directories of a folder store: found, made and made durable, relative to open descriptors.
//!
//! A directory counts as durable once its entry in its parent was fsynced by this process. If such a fsync ever
//! fails, nobody can tell which entries are on the disk, and a later success would prove nothing: no blob is accepted
//! any more until a restart. Everything here blocks.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::blob::BlobName;
use crate::id::{SessionId, StreamId};

/// Directories kept open: those of this process's own session are 257.
const OPEN_COUNT_MAX: usize = 1024;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A session's directory, or one of the 256 below it.
type Place = (SessionId, Option<u8>);

pub(super) struct Tree {
    path: PathBuf,
    root: OwnedFd,
    durable: Mutex<HashMap<Place, Arc<OwnedFd>>>,
    sync_failed: AtomicBool,
}

impl Tree {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        make_root(&path)?;
        let root = File::open(&path)?.into();
        Ok(Self { path, root, durable: Mutex::default(), sync_failed: AtomicBool::new(false) })
    }

    pub(super) fn root(&self) -> &Path {
        &self.path
    }

    /// For people: files are opened relative to descriptors.
    pub(super) fn path(&self, name: BlobName) -> PathBuf {
        self.path.join(name.session.to_string()).join(hex(shard(name))).join(name.stream.to_string())
    }

    /// The directory of a blob, made if it is absent, and durable up to the root.
    pub(super) fn folder_to_write(&self, name: BlobName) -> io::Result<Arc<OwnedFd>> {
        let session = self.make((name.session, None), &self.root, &name.session.to_string())?;
        self.make((name.session, Some(shard(name))), &session, &hex(shard(name)))
    }

    /// Makes a blob's file, which must not exist.
    pub(super) fn create_file(&self, folder: &OwnedFd, name: BlobName) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(folder, name.stream.to_string(), flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Opens a blob's file for reading.
    pub(super) fn open_file(&self, name: BlobName) -> io::Result<File> {
        // NONBLOCK: opening a FIFO that somebody put there must not wait for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let folder = self.folder(name)?;
        let file = File::from(rustix::fs::openat(&*folder, name.stream.to_string(), flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(file)
    }

    pub(super) fn unlink(&self, name: BlobName) -> io::Result<()> {
        let folder = self.folder(name)?;
        Ok(rustix::fs::unlinkat(&*folder, name.stream.to_string(), AtFlags::empty())?)
    }

    /// Makes a directory's entries durable; a failure ends all writing.
    pub(super) fn sync(&self, folder: &OwnedFd) -> io::Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier fsync of a directory failed: restart this process"));
        }
        rustix::fs::fsync(folder).map_err(|error| {
            self.sync_failed.store(true, Ordering::Release);
            tracing::error!(root = %self.path.display(), %error, "fsync of a directory failed: no blob is accepted");
            error.into()
        })
    }

    /// Sessions that have left at least one blob.
    pub(super) fn sessions(&self) -> io::Result<Vec<SessionId>> {
        let mut sessions = Vec::new();
        for (name, _) in entries(self.root.as_fd())? {
            let Some(session) = SessionId::from_hex(&name) else {
                self.warn_of(Path::new(&name));
                continue;
            };
            let mut left = false;
            self.each_blob(session, |_| {
                left = true;
                false
            })?;
            if left {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }

    pub(super) fn written_by(&self, session: SessionId) -> io::Result<Vec<BlobName>> {
        let mut blobs = Vec::new();
        self.each_blob(session, |blob| {
            blobs.push(blob);
            true
        })?;
        Ok(blobs)
    }

    /// Visits a session's blobs until told to stop. What is none of ours is reported and left alone.
    fn each_blob(&self, session: SessionId, mut visit: impl FnMut(BlobName) -> bool) -> io::Result<()> {
        let name = session.to_string();
        let Some(folder) = self.open_known(&self.root, &name, Path::new(&name))? else { return Ok(()) };
        for (shard_name, _) in entries(folder.as_fd())? {
            let path = Path::new(&name).join(&shard_name);
            let Some(number) = from_hex(&shard_name) else {
                self.warn_of(&path);
                continue;
            };
            let Some(shard_folder) = self.open_known(&folder, &shard_name, &path)? else { continue };
            for (file, kind) in entries(shard_folder.as_fd())? {
                let stream = StreamId::from_hex(&file).map(|stream| BlobName { session, stream });
                match stream.filter(|blob| shard(*blob) == number && may_be_file(kind)) {
                    Some(blob) if visit(blob) => {}
                    Some(_) => return Ok(()),
                    None => self.warn_of(&path.join(&file)),
                }
            }
        }
        Ok(())
    }

    /// A directory; `None` if it is gone, or if something else has its name, which is reported.
    fn open_known(&self, parent: &OwnedFd, name: &str, path: &Path) -> io::Result<Option<OwnedFd>> {
        match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.warn_of(path);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn warn_of(&self, path: &Path) {
        tracing::warn!(path = %self.path.join(path).display(), "unknown file in the blob store: left alone");
    }

    /// The directory of a blob that was written.
    fn folder(&self, name: BlobName) -> io::Result<Arc<OwnedFd>> {
        if let Some(folder) = self.known_durable((name.session, Some(shard(name)))) {
            return Ok(folder);
        }
        let session = rustix::fs::openat(&self.root, name.session.to_string(), DIRECTORY, Mode::empty())?;
        Ok(Arc::new(rustix::fs::openat(&session, hex(shard(name)), DIRECTORY, Mode::empty())?))
    }

    /// A directory below `parent`, made if it is absent: its entry is durable when this returns. Two threads may make
    /// the same one; each of them fsyncs, so neither goes on before it is durable.
    fn make(&self, place: Place, parent: &OwnedFd, name: &str) -> io::Result<Arc<OwnedFd>> {
        if let Some(folder) = self.known_durable(place) {
            return Ok(folder);
        }
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = Arc::new(rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?);
        self.sync(parent)?;
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() >= OPEN_COUNT_MAX {
            durable.clear();
        }
        durable.insert(place, Arc::clone(&folder));
        Ok(folder)
    }

    fn known_durable(&self, place: Place) -> Option<Arc<OwnedFd>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).get(&place).cloned()
    }
}

/// Makes the root and what is missing above it, each with its entry durable.
fn make_root(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let create = || DirBuilder::new().mode(0o700).create(path);
    let created = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_root(parent)?;
            create()
        }
        other => other,
    };
    match created {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        // Also where it exists: whoever made it may have died before its fsync.
        Ok(()) | Err(_) => File::open(parent)?.sync_all(),
    }
}

/// Names in a directory, without `.` and `..`.
fn entries(folder: impl AsFd) -> io::Result<Vec<(String, FileType)>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            all.push((name, entry.file_type()));
        }
    }
    Ok(all)
}

/// Some file systems do not tell; opening will.
fn may_be_file(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Unknown)
}

/// The last byte of a stream's name is random, so the files spread evenly over 256 directories.
fn shard(name: BlobName) -> u8 {
    name.stream.as_bytes()[15]
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}")
}

fn from_hex(text: &str) -> Option<u8> {
    let byte = u8::from_str_radix(text, 16).ok()?;
    (hex(byte) == text).then_some(byte)
}
