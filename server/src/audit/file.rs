//! The file of the audit log, and what keeps it from being written: told by the threads that write, asked before each
//! use of a master key.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::AuditError;

/// Which work of the log failed last time.
#[derive(Clone, Copy, Debug)]
enum Work {
    Write,
    Sync,
}

/// A log that is appended to.
pub(super) struct LogFile {
    path: PathBuf,
    file: Mutex<Arc<File>>,
    /// Why the last write failed, and the last sync; each until the next one succeeds.
    trouble: Mutex<[Option<String>; 2]>,
}

impl LogFile {
    /// Opens a log at its end, or makes it, readable by its owner only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = Mutex::new(Arc::new(append_to(path)?));
        Ok(Self { path: path.to_owned(), file, trouble: Mutex::default() })
    }

    /// Refuses while the log is not written.
    pub(super) fn check(&self) -> Result<(), AuditError> {
        match locked(&self.trouble).iter().flatten().next() {
            None => Ok(()),
            Some(why) => Err(self.error(why)),
        }
    }

    /// Why an event cannot be left, in words that name the file.
    pub(super) fn error(&self, why: &str) -> AuditError {
        AuditError { path: self.path.clone(), why: why.to_owned() }
    }

    /// Writes all lines; those that are written are taken away.
    pub(super) fn write(&self, lines: &mut Vec<u8>) -> bool {
        let file = self.file();
        let mut write = || {
            while !lines.is_empty() {
                match (&*file).write(lines) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => drop(lines.drain(..written)),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        self.tell(Work::Write, write())
    }

    /// Forces to the disk what was written.
    pub(super) fn sync(&self) -> bool {
        let synced = match self.file().sync_data() {
            // A pipe or a device: there is no disk behind it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        };
        self.tell(Work::Sync, synced)
    }

    /// Finds the file anew by its path: an administrator may have put another in its place.
    pub(super) fn reopen(&self) {
        match append_to(&self.path) {
            Ok(file) => *locked(&self.file) = Arc::new(file),
            Err(error) => drop(self.tell(Work::Write, Err(error))),
        }
    }

    fn file(&self) -> Arc<File> {
        Arc::clone(&locked(&self.file))
    }

    /// Notes what became of some work, and says so in the log of the server where that is news. Whether it succeeded.
    fn tell(&self, work: Work, outcome: io::Result<()>) -> bool {
        let why = outcome.err().map(|error| error.to_string());
        let mut trouble = locked(&self.trouble);
        let path = self.path.display();
        match (&trouble[work as usize], &why) {
            (None, Some(why)) => {
                tracing::error!(%path, why, ?work, "the audit log fails: no master key is used until it works");
            }
            (Some(_), None) => tracing::info!(%path, ?work, "the audit log works again"),
            _ => {}
        }
        let is_well = why.is_none();
        trouble[work as usize] = why;
        is_well
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
