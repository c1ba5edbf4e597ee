//! The threads that write the audit log. They leave nothing out: what cannot be written is tried again until it can be.
//!
//! An event is in the file before the next batch is taken, and on the disk soon after: a power cut can cost those of the
//! last moment, the end of the process none that were written.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Message;
use super::event::Line;
use super::file::LogFile;

/// Messages taken at once: one write for all of them.
const BATCH: usize = 256;

/// Between two tries to write.
const REST: Duration = Duration::from_millis(200);

/// Between two forced writes to the disk: often enough for an auditor, and no flush for every event.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// Writes the first event before it returns, so that a log that cannot be written is known before a key is used. The
/// threads end with the last sender.
pub(super) fn start(log: Arc<LogFile>, first: &Line, events: mpsc::Receiver<Message>) -> io::Result<()> {
    let mut lines = Vec::new();
    add(&mut lines, first);
    log.write(&mut lines);
    let (written, is_written) = sync_channel(1);
    let same = log.clone();
    let sync = move || sync_soon(&same, &is_written);
    std::thread::Builder::new().name("audit-sync".to_owned()).spawn(sync)?;
    let write = move || write_all(&log, lines, events, &written);
    std::thread::Builder::new().name("audit".to_owned()).spawn(write).map(drop)
}

/// Forces to the disk what was written, for as many events as came meanwhile at once.
fn sync_soon(log: &LogFile, is_written: &Receiver<()>) {
    while is_written.recv().is_ok() {
        insist(|| log.sync(), || {});
        std::thread::sleep(SYNC_EVERY);
    }
}

/// `lines` are left from before.
fn write_all(log: &LogFile, mut lines: Vec<u8>, mut events: mpsc::Receiver<Message>, written: &SyncSender<()>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut flushes: Vec<oneshot::Sender<()>> = Vec::new();
    loop {
        insist(|| log.write(&mut lines), || log.reopen());
        // Full where the last is still to be synced, which then takes these with it.
        let _ = written.try_send(());
        if !flushes.is_empty() {
            insist(|| log.sync(), || log.reopen());
            for flushed in flushes.drain(..) {
                // Who asked may have lost patience.
                let _ = flushed.send(());
            }
        }
        if events.blocking_recv_many(&mut batch, BATCH) == 0 {
            return;
        }
        for message in batch.drain(..) {
            match message {
                Message::Event(line) => add(&mut lines, &line),
                Message::Flush(flushed) => flushes.push(flushed),
            }
        }
    }
}

fn add(lines: &mut Vec<u8>, line: &Line) {
    // Nothing in a line is a type that JSON does not have.
    if serde_json::to_writer(&mut *lines, line).is_ok() {
        lines.push(b'\n');
    }
}

/// Until it is done, with `mend` before each further try. Meanwhile no master key is used.
fn insist(mut work: impl FnMut() -> bool, mend: impl Fn()) {
    while !work() {
        std::thread::sleep(REST);
        mend();
    }
}
