//! The audit: one event for every use of a master key and for every command of an administrator, as JSON lines.
//!
//! A place in the queue is taken before a master key is used, and the event is left whatever becomes of the caller: no
//! use goes unseen, and where the file cannot be written, no master key is used. One thread writes; no async thread
//! waits for the disk. An event names keys by their ids and never holds a key, a wrapped key or anything of an object
//! but its name.

mod event;
mod masters;
mod who;
mod writer;

use std::io;
use std::path::Path;
use std::time::Duration;

use strongroom_hsm::KeyError;
use tokio::sync::{mpsc, oneshot};

pub use event::{Administration, KeyUse, Operation};
pub use masters::{AuditedMasters, Subject};
pub use who::{Who, on_behalf_of, spawn};

use event::Line;

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

/// Where events go.
#[derive(Clone)]
pub struct AuditLog {
    queue: mpsc::Sender<Message>,
}

impl AuditLog {
    /// Goes on at the end of the file, which is made where there is none, readable by its owner only.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = writer::append_to(path)?;
        let (queue, events) = mpsc::channel(WAITING_MAX);
        writer::start(file, path.to_owned(), events)?;
        Ok(Self { queue })
    }

    /// Starts the event of a use that follows, once there is a place for it.
    ///
    /// # Errors
    /// [`KeyError::Away`] if the log cannot be written: then the key is not to be used either.
    async fn begin(&self, event: KeyUse) -> Result<Pending, KeyError> {
        Ok(Pending { place: Some(self.place().await?), line: Some(Box::new(Line::of(event))) })
    }

    /// Leaves the event of a command that was given, and of what became of it.
    pub async fn administration(&self, event: Administration, result: String) {
        match self.place().await {
            Ok(place) => drop(place.send(Message::Event(Box::new(Line::of(event).with(result))))),
            Err(error) => tracing::error!(%error, "the event of a command is missing from the audit log"),
        }
    }

    /// Returns once all events until now are on the disk; not beyond a few seconds.
    pub async fn flush(&self) {
        let (written, is_written) = oneshot::channel();
        let flushed = async {
            self.queue.send(Message::Flush(written)).await.ok();
            is_written.await.ok()
        };
        if tokio::time::timeout(PATIENCE, flushed).await.ok().flatten().is_none() {
            tracing::error!("the last events are missing from the audit log");
        }
    }

    async fn place(&self) -> Result<mpsc::OwnedPermit<Message>, KeyError> {
        let full = || KeyError::Away { reason: "the audit log takes no more events: see its disk".to_owned() };
        tokio::time::timeout(PATIENCE, self.queue.clone().reserve_owned())
            .await
            .map_err(|_| full())?
            .map_err(|_| full())
    }
}

/// The event of a use under way. It is left in any case, at the latest when this is dropped.
struct Pending {
    place: Option<mpsc::OwnedPermit<Message>>,
    line: Option<Box<Line>>,
}

impl Pending {
    /// What became of it.
    fn end(mut self, result: String, change: impl FnOnce(&mut KeyUse)) {
        if let Some(mut line) = self.line.take() {
            line.change(change);
            line.result = result;
            self.line = Some(line);
        }
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

    fn lines(path: &Path) -> Vec<Value> {
        std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn an_event_says_who_did_what_and_the_next_start_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for _ in 0..2 {
            let log = AuditLog::open(&path).unwrap();
            let work = async { log.begin(use_of_a_key()).await.unwrap().end("done".into(), |_| {}) };
            on_behalf_of(Who::access_key("AKID"), work).await;
            log.flush().await;
        }
        let lines = lines(&path);
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
        log.flush().await;
        assert_eq!(lines(&path)[0]["result"], "unknown: the caller went away");
    }

    #[tokio::test]
    async fn nobody_uses_a_key_before_there_is_a_place_for_the_event() {
        // A queue that nobody empties, as where the disk is full.
        let (queue, mut events) = mpsc::channel(1);
        let log = AuditLog { queue };
        let _first = log.begin(use_of_a_key()).await.unwrap();
        let mut second = std::pin::pin!(log.begin(use_of_a_key()));
        assert!(second.as_mut().now_or_never().is_none());
        drop(_first);
        assert!(second.as_mut().now_or_never().is_none(), "the first event still waits to be written");
        events.recv().await.unwrap();
        assert!(second.now_or_never().unwrap().is_ok());
    }
}
