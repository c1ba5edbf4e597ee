//! The audit: one event for every use of a master key and for every command of an administrator, as JSON lines.
//!
//! A place in the queue is taken before a master key is used, and the event is left whatever becomes of the caller: no
//! use goes unseen, and while the file cannot be written, no master key is used. One thread writes; no async thread
//! waits for the disk. An event names keys by their ids and never holds a key, a wrapped key or anything of an object
//! but its name.

mod event;
mod file;
mod masters;
mod who;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use event::{Administration, KeyUse, Operation};
pub use masters::{AuditedMasters, Subject, UseError};
pub use who::{Who, on_behalf_of, spawn};

use event::{Event, Line};
use file::LogFile;

/// Events that wait to be written; who uses a master key while so many do waits for a place.
const WAITING_MAX: usize = 4_096;

/// For a place in the queue, and for the last events at the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the writer is handed.
enum Message {
    Event(Box<Line>),
    /// Answered once everything before it is on the disk.
    Flush(oneshot::Sender<()>),
}

/// An event cannot be left, so what it would tell is not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "cannot write the audit log {path}: {why}; no master key is used until it can be: make room on its disk, or name \
     another file by --audit-log"
)]
pub struct AuditError {
    path: PathBuf,
    why: String,
}

/// Where events go.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Message>,
    file: Arc<LogFile>,
}

impl AuditLog {
    /// Goes on at the end of the file, which is made where there is none, readable by its owner only, and leaves the
    /// first event there. A file that does not take it is no error here: see [`AuditLog::check`].
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Arc::new(LogFile::open(path)?);
        let (queue, events) = mpsc::channel(WAITING_MAX);
        writer::start(file.clone(), &Line::of_start(), events)?;
        Ok(Self { queue, file })
    }

    /// Whether events are written, as far as is known.
    ///
    /// # Errors
    /// [`AuditError`] from the first write or sync that failed until one that does not.
    pub fn check(&self) -> Result<(), AuditError> {
        self.file.check()
    }

    /// Starts the event of what follows, once there is a place for it.
    ///
    /// # Errors
    /// [`AuditError`] if the log cannot be written: then that is not to be done either.
    pub(crate) async fn begin(&self, event: impl Into<Event>) -> Result<Pending, AuditError> {
        Ok(Pending { place: Some(self.place().await?), line: Some(Box::new(Line::of(event))) })
    }

    /// Returns once all events until now are on the disk.
    ///
    /// # Errors
    /// [`AuditError`] if they are not after a few seconds.
    pub async fn flush(&self) -> Result<(), AuditError> {
        let (written, is_written) = oneshot::channel();
        let flushed = async {
            self.queue.send(Message::Flush(written)).await.ok()?;
            is_written.await.ok()
        };
        match tokio::time::timeout(PATIENCE, flushed).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(self.late()),
        }
    }

    async fn place(&self) -> Result<mpsc::OwnedPermit<Message>, AuditError> {
        self.check()?;
        match tokio::time::timeout(PATIENCE, self.queue.clone().reserve_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(self.late()),
        }
    }

    /// Why patience ended.
    fn late(&self) -> AuditError {
        let slow = || self.file.error(&format!("events wait for more than {} s", PATIENCE.as_secs()));
        self.check().err().unwrap_or_else(slow)
    }
}

/// The event of something under way. It is left in any case, at the latest when this is dropped.
pub(crate) struct Pending {
    place: Option<mpsc::OwnedPermit<Message>>,
    line: Option<Box<Line>>,
}

impl Pending {
    /// What became of it.
    pub(crate) fn end(mut self, result: String) {
        if let Some(line) = &mut self.line {
            line.result = result;
        }
    }

    /// What became of a use of a key, and which key that was.
    fn end_use(mut self, result: String, change: impl FnOnce(&mut KeyUse)) {
        if let Some(line) = &mut self.line {
            line.change(change);
        }
        self.end(result);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let (Some(place), Some(line)) = (self.place.take(), self.line.take()) {
            place.send(Message::Event(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::Value;
    use strongroom_engine::{KeyId, Kind};

    use super::*;

    fn use_of_a_key() -> KeyUse {
        KeyUse::new(Operation::Unwrap, Kind::DataKey, KeyId::from_bytes([7; 16]), Subject::default())
    }

    /// The uses of keys in a log.
    fn uses(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        events.filter(|event: &Value| event["event"] == "key-use").collect()
    }

    #[tokio::test]
    async fn an_event_says_who_did_what_and_the_next_start_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for _ in 0..2 {
            let log = AuditLog::open(&path).unwrap();
            let work = async { log.begin(use_of_a_key()).await.unwrap().end("done".into()) };
            on_behalf_of(Who::access_key("AKID"), work).await;
            log.flush().await.unwrap();
        }
        let lines = uses(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["who"], &lines[0]["operation"]), (&"AKID".into(), &"unwrap".into()));
        assert_eq!((&lines[0]["key_kind"], &lines[0]["result"]), (&"data".into(), &"done".into()));
    }

    #[tokio::test]
    async fn a_caller_who_goes_away_leaves_the_event_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = AuditLog::open(&path).unwrap();
        drop(log.begin(use_of_a_key()).await.unwrap());
        log.flush().await.unwrap();
        assert_eq!(uses(&path)[0]["result"], "unknown: the caller went away");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_is_known_before_the_first_use() {
        let log = AuditLog::open(Path::new("/dev/full")).unwrap();
        let refused = log.begin(use_of_a_key()).await.err().unwrap().to_string();
        assert!(refused.contains("/dev/full") && refused.contains("No space left"), "{refused}");
    }

    #[tokio::test]
    async fn nobody_uses_a_key_before_there_is_a_place_for_the_event() {
        // A queue that nobody empties, as where the disk hangs.
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(LogFile::open(&folder.path().join("audit.log")).unwrap());
        let (queue, mut events) = mpsc::channel(1);
        let log = AuditLog { queue, file };
        let _first = log.begin(use_of_a_key()).await.unwrap();
        let mut second = std::pin::pin!(log.begin(use_of_a_key()));
        assert!(second.as_mut().now_or_never().is_none());
        drop(_first);
        assert!(second.as_mut().now_or_never().is_none(), "the first event still waits to be written");
        events.recv().await.unwrap();
        assert!(second.now_or_never().unwrap().is_ok());
    }
}
