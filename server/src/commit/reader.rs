//! The threads that read, each with a connection that cannot write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{DatabaseError, panicked, run};

/// A query that carries its way back.
pub(super) type Query = Box<dyn FnOnce(&Connection) + Send>;

/// A query that answers to `reply`, unless nobody waits any more.
pub(super) fn query<T, E, F>(work: F, reply: oneshot::Sender<Result<T, E>>) -> Query
where
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    Box::new(move |connection| {
        if reply.is_closed() {
            return;
        }
        let on_snapshot = || -> Result<T, E> {
            // One snapshot for all that the query reads.
            run(connection, "BEGIN")?;
            work(connection)
        };
        let result = catch_unwind(AssertUnwindSafe(on_snapshot)).unwrap_or_else(|_| Err(panicked().into()));
        // Failing here means that SQLite has ended the snapshot already.
        let _ = run(connection, "ROLLBACK");
        let _ = reply.send(result);
    })
}

/// Starts a thread for each connection; they end when every sender is gone and the queue is empty.
pub(super) fn start(
    name: &'static str,
    connections: Vec<Connection>,
    queries: mpsc::Receiver<Query>,
) -> Result<Vec<JoinHandle<()>>, DatabaseError> {
    let queries = Arc::new(Mutex::new(queries));
    let threads = connections.into_iter().enumerate().map(|(index, connection)| {
        let queries = Arc::clone(&queries);
        let next = move || queries.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let body = move || {
            while let Some(query) = next() {
                query(&connection);
            }
        };
        thread::Builder::new()
            .name(format!("{name}-reader-{index}"))
            .spawn(body)
            .map_err(|error| DatabaseError::Unavailable(format!("cannot start its thread: {error}")))
    });
    threads.collect()
}
