//! The threads that write the audit log. They leave nothing out: what cannot be written is tried again until it can be.
//!
//! An event is in the file before the next batch is taken, and on the disk soon after: a power cut can cost those of the
//! last moment, the end of the process none that were written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Message;

/// Messages taken at once: one write for all of them.
const BATCH: usize = 256;

/// Between two tries to write.
const REST: Duration = Duration::from_millis(200);

/// Between two forced writes to the disk: often enough for an auditor, and no flush for every event.
const SYNC_EVERY: Duration = Duration::from_millis(200);

/// Opens a log at its end, or makes it.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The threads end with the last sender.
pub(super) fn start(file: File, path: PathBuf, events: mpsc::Receiver<Message>) -> io::Result<()> {
    let (written, is_written) = sync_channel(1);
    let (same_file, same_path) = (file.try_clone()?, path.clone());
    let sync = move || sync_soon(&same_file, &same_path, &is_written);
    std::thread::Builder::new().name("audit-sync".to_owned()).spawn(sync)?;
    let write = move || write_all(file, &path, events, &written);
    std::thread::Builder::new().name("audit".to_owned()).spawn(write).map(drop)
}

/// Forces to the disk what was written, for as many events as came meanwhile at once.
fn sync_soon(file: &File, path: &Path, is_written: &Receiver<()>) {
    while is_written.recv().is_ok() {
        if let Err(error) = file.sync_data() {
            tracing::error!(path = %path.display(), %error, "the last events may not be on the disk of the audit log");
        }
        std::thread::sleep(SYNC_EVERY);
    }
}

fn write_all(mut file: File, path: &Path, mut events: mpsc::Receiver<Message>, written: &SyncSender<()>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut lines = Vec::new();
    while events.blocking_recv_many(&mut batch, BATCH) > 0 {
        let mut flushes = Vec::new();
        for message in batch.drain(..) {
            match message {
                Message::Event(line) => {
                    // Nothing in a line is a type that JSON does not have.
                    if serde_json::to_writer(&mut lines, &line).is_ok() {
                        lines.push(b'\n');
                    }
                }
                Message::Flush(written) => flushes.push(written),
            }
        }
        insist(path, || {
            while !lines.is_empty() {
                let written = file.write(&lines)?;
                lines.drain(..written);
            }
            Ok(())
        });
        // Full where the last is still to be synced, which then takes these with it.
        let _ = written.try_send(());
        if !flushes.is_empty() {
            insist(path, || file.sync_data());
            for flushed in flushes {
                // Who asked may have lost patience.
                let _ = flushed.send(());
            }
        }
    }
}

/// Until it is done. Meanwhile the queue fills, and then no master key is used.
fn insist(path: &Path, mut work: impl FnMut() -> io::Result<()>) {
    let mut failed = false;
    while let Err(error) = work() {
        if error.kind() == io::ErrorKind::Interrupted {
            continue;
        }
        if !failed {
            tracing::error!(path = %path.display(), %error, "cannot write the audit log: it is tried until it works");
        }
        failed = true;
        std::thread::sleep(REST);
    }
    if failed {
        tracing::info!(path = %path.display(), "the audit log is written again");
    }
}
