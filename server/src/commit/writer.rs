//! The thread that writes: takes what waits, commits it as one, answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{DatabaseError, DatabaseFile, panicked, run};

/// Measured with 64 callers: the commit's fixed cost is spread thin enough, and no job waits long behind the others.
const GROUP_LEN_MAX: usize = 128;

/// A checkpoint waits as long as SQLite waits for a reader (ours read for milliseconds), but not at all for another
/// process that is at a checkpoint itself: it is tried again until so much time is over.
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_millis(if cfg!(test) { 150 } else { 15_000 });
const CHECKPOINT_REST: Duration = Duration::from_millis(2);

/// A job on its way through the queue.
pub(super) trait Job: Send {
    /// Whether its caller still waits.
    fn wanted(&self) -> bool;
    /// Whether what it deletes must be gone from the files before its answer.
    fn erases(&self) -> bool;
    /// Does it; whether its changes are to stay.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells its caller what became of the group, and what it returned if that was committed.
    fn answer(self: Box<Self>, outcome: Result<(), DatabaseError>);
}

struct Pending<F, T, E> {
    work: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    erases: bool,
}

/// A job, and where its answer arrives.
pub(super) fn job<T, E, F>(work: F, erases: bool) -> (Box<dyn Job>, oneshot::Receiver<Result<T, E>>)
where
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Pending { work: Some(work), result: None, reply, erases }), answer)
}

impl<F, T, E> Job for Pending<F, T, E>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    E: From<DatabaseError> + Send,
{
    fn wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn erases(&self) -> bool {
        self.erases
    }

    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        // Whatever it changed is rolled back with its savepoint, so nothing half-done is seen after a panic.
        let result = catch_unwind(AssertUnwindSafe(|| work(connection))).unwrap_or_else(|_| Err(panicked().into()));
        let done = result.is_ok();
        self.result = Some(result);
        done
    }

    fn answer(self: Box<Self>, outcome: Result<(), DatabaseError>) {
        let result = match (outcome, self.result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(panicked().into()),
            (Err(error), _) => Err(error.into()),
        };
        // A caller who hung up meanwhile wants no answer.
        let _ = self.reply.send(result);
    }
}

/// Starts the thread; it ends when every sender is gone and the queue is empty.
pub(super) fn start(
    file: DatabaseFile,
    connection: Connection,
    mut jobs: mpsc::Receiver<Box<dyn Job>>,
) -> Result<JoinHandle<()>, DatabaseError> {
    let name = format!("{}-writer", file.what);
    let mut writer = Writer { file, connection: Some(connection) };
    let body = move || {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_LEN_MAX
                && let Ok(job) = jobs.try_recv()
            {
                group.push(job);
            }
            group.retain(|job| job.wanted());
            writer.commit(group);
        }
    };
    thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|error| DatabaseError::Unavailable(format!("cannot start its thread: {error}")))
}

struct Writer {
    file: DatabaseFile,
    /// None after a COMMIT of unknown outcome, until it was opened again and checkpointed.
    connection: Option<Connection>,
}

impl Writer {
    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        if group.is_empty() {
            return;
        }
        let outcome = self.transact(&mut group);
        let (erasing, others): (Vec<_>, Vec<_>) = group.into_iter().partition(|job| job.erases());
        answer(others, &outcome);
        if !erasing.is_empty() {
            let outcome = outcome.and_then(|()| self.empty_log());
            answer(erasing, &outcome);
        }
    }

    fn transact(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), DatabaseError> {
        let connection = self.trusted()?;
        if let Err(error) = run_all(connection, group) {
            // Nothing was committed. If not even a rollback works, the connection is done for.
            if !connection.is_autocommit() && run(connection, "ROLLBACK").is_err() {
                self.distrust(&error);
            }
            return Err(error);
        }
        if let Err(error) = run(connection, "COMMIT") {
            self.distrust(&error);
            return Err(DatabaseError::OutcomeUnknown(error.to_string()));
        }
        Ok(())
    }

    /// The connection; after a failed COMMIT a new one, once all that the log holds has reached the database.
    fn trusted(&mut self) -> Result<&Connection, DatabaseError> {
        if self.connection.is_none() {
            let connection = self.file.open_writer()?;
            if !checkpoint(&connection)? {
                return Err(log_in_use());
            }
            tracing::warn!(database = self.file.what, "reopened and checkpointed");
            self.connection = Some(connection);
        }
        self.connection.as_ref().ok_or_else(|| DatabaseError::Unavailable("closed".to_owned()))
    }

    fn distrust(&mut self, error: &DatabaseError) {
        tracing::error!(database = self.file.what, %error, "closed: it acknowledges nothing until it was reopened");
        self.connection = None;
    }

    /// What was deleted is zeros in the database, but the log still has it: moves the log into the database and cuts
    /// it to nothing. The deletion itself is durable; on an error its caller asks again.
    fn empty_log(&mut self) -> Result<(), DatabaseError> {
        match checkpoint(self.trusted()?) {
            Ok(true) => Ok(()),
            Ok(false) => Err(log_in_use()),
            Err(error) => {
                self.distrust(&error);
                Err(error)
            }
        }
    }
}

fn answer(group: Vec<Box<dyn Job>>, outcome: &Result<(), DatabaseError>) {
    for job in group {
        job.answer(outcome.clone());
    }
}

fn run_all(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), DatabaseError> {
    run(connection, "BEGIN IMMEDIATE")?;
    for job in group {
        run(connection, "SAVEPOINT job")?;
        let done = job.run(connection);
        // A full disk or a failed read makes SQLite roll back everything, the other jobs included.
        if connection.is_autocommit() {
            return Err(DatabaseError::Unavailable(
                "the transaction was rolled back by a failed write or read".to_owned(),
            ));
        }
        if !done {
            run(connection, "ROLLBACK TO job")?;
        }
        run(connection, "RELEASE job")?;
    }
    Ok(())
}

/// Moves the log into the database and cuts it to nothing; false if a reader was in the way all the time.
fn checkpoint(connection: &Connection) -> Result<bool, DatabaseError> {
    let begun = Instant::now();
    loop {
        let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if !busy {
            return Ok(true);
        }
        if begun.elapsed() > CHECKPOINT_WAIT_MAX {
            return Ok(false);
        }
        thread::sleep(CHECKPOINT_REST);
    }
}

fn log_in_use() -> DatabaseError {
    DatabaseError::Unavailable("another process reads it without end: its log cannot be emptied".to_owned())
}
