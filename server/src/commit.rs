//! The one door between async callers and SQLite: group commit for writes, a few threads for reads.
//!
//! One thread owns the connection that writes. It takes the jobs that wait into one transaction, each in a savepoint
//! of its own, and answers only after COMMIT returned, so that many callers share one fsync and none is told of what
//! a power cut could take back. Queues are bounded: a caller waits for its place without blocking its thread. One who
//! hangs up before its turn is skipped; one who hangs up later costs nothing, and its commit happens. Nothing here
//! knows what the rows mean, and nothing here has a clock: a deadline is the caller's, who drops the future.
//!
//! After a COMMIT that failed, nobody can tell what is on the disk: the whole group hears so, and nothing more is
//! acknowledged until the database was closed, opened again and checkpointed. A failed fsync is never retried.

mod file;
mod reader;
mod sql;
mod writer;

use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub(crate) use file::DatabaseFile;
pub(crate) use sql::rows;

/// Jobs that may wait, of each kind; callers beyond that wait for a place.
const QUEUE_LEN_MAX: usize = 1024;

/// Two fill the two cores that this was measured on; a listing then does not hold up every other read.
const READER_COUNT: usize = 2;

/// Why the database did not do a job, whatever the job was.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// A row with one of these names exists.
    #[error("such a row exists")]
    Conflict,
    /// Nothing was changed, or what was changed is known: ask again.
    #[error("{0}")]
    Unavailable(String),
    /// COMMIT failed: it may or may not be on the disk.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// The file is none of ours, or was altered.
    #[error("{0}")]
    Damaged(String),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::{Error, ErrorCode};
        match &error {
            Error::SqliteFailure(code, _) => match code.code {
                ErrorCode::ConstraintViolation => Self::Conflict,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged(error.to_string()),
                _ => Self::Unavailable(error.to_string()),
            },
            Error::FromSqlConversionFailure(..) | Error::IntegralValueOutOfRange(..) | Error::InvalidColumnType(..) => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// An open database. Dropped, it waits until its threads have done what waits and have closed their connections: what
/// is left is one file that says all.
pub(crate) struct Database {
    // Dropped in this order: threads end when their sender is gone, and only a connection that may write, closed as the
    // last, moves the log into the file.
    reads: mpsc::Sender<reader::Query>,
    _readers: Threads,
    writes: mpsc::Sender<Box<dyn writer::Job>>,
    _writer: Threads,
}

struct Threads(Vec<JoinHandle<()>>);

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // One that panicked has told so itself.
            let _ = thread.join();
        }
    }
}

impl Database {
    /// Opens the file, makes it if it is absent, and starts the threads.
    pub(crate) fn open(file: DatabaseFile) -> Result<Self, DatabaseError> {
        let connection = file.open_writer()?;
        let readers = (0..READER_COUNT).map(|_| file.open_reader()).collect::<Result<Vec<_>, _>>()?;
        let name = file.what;
        let (reads, queries) = mpsc::channel(QUEUE_LEN_MAX);
        let readers = Threads(reader::start(name, readers, queries)?);
        let (writes, jobs) = mpsc::channel(QUEUE_LEN_MAX);
        let writer = Threads(vec![writer::start(file, connection, jobs)?]);
        Ok(Self { reads, _readers: readers, writes, _writer: writer })
    }

    /// Runs `job` in the next group and returns once that is durable. A job that fails undoes only itself.
    pub(crate) async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        self.commit(job, false).await
    }

    /// As [`Self::write`], and before it returns, what was deleted is gone from the log beside the database too.
    pub(crate) async fn erase<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        self.commit(job, true).await
    }

    async fn commit<T, E, F>(&self, job: F, erases: bool) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        let (job, answer) = writer::job(job, erases);
        self.writes.send(job).await.map_err(|_| thread_ended())?;
        // The thread may have died between COMMIT and answer, so this is not known to be undone.
        answer.await.map_err(|_| DatabaseError::OutcomeUnknown("its thread ended".to_owned()))?
    }

    /// Runs `query` on one snapshot of what is committed.
    pub(crate) async fn read<T, E, F>(&self, query: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.reads.send(reader::query(query, reply)).await.map_err(|_| thread_ended())?;
        answer.await.map_err(|_| thread_ended())?
    }
}

fn thread_ended() -> DatabaseError {
    DatabaseError::Unavailable("its thread ended; restart this process".to_owned())
}

fn panicked() -> DatabaseError {
    DatabaseError::Unavailable("a job panicked; its changes were undone".to_owned())
}

/// Runs a statement without parameters and without rows.
fn run(connection: &Connection, sql: &str) -> Result<(), DatabaseError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests;
