//! The thread that writes the audit log. It leaves nothing out: what cannot be written is tried again until it can be.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Message;

/// Messages taken at once: one write for all of them.
const BATCH: usize = 256;

/// Between two tries to write.
const REST: Duration = Duration::from_millis(200);

/// Opens a log at its end, or makes it.
pub(super) fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The thread ends with the last sender.
pub(super) fn start(file: File, path: PathBuf, events: mpsc::Receiver<Message>) -> io::Result<()> {
    std::thread::Builder::new().name("audit".to_owned()).spawn(move || write_all(file, &path, events)).map(drop)
}

fn write_all(mut file: File, path: &Path, mut events: mpsc::Receiver<Message>) {
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
        if !flushes.is_empty() {
            insist(path, || file.sync_data());
            for written in flushes {
                // Who asked may have lost patience.
                let _ = written.send(());
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
