//! What sealing and opening a file have in common: a way to the master keys, a signal that cancels, a bar, a report.
//!
//! The runtime serves the HSM and the signals only; files are read and written on the engine's own threads.

use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use strongroom_engine::Watch;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use super::key_use_args::AuditArgs;
use super::store_args::StoreArgs;
use crate::audit::{AuditedMasters, Subject, Who, on_behalf_of};
use crate::start;

/// Set by the first SIGINT, SIGTERM or SIGHUP.
static CANCELLED: AtomicBool = AtomicBool::new(false);

/// As shells report a command that SIGINT ended.
const CANCELLED_CODE: u8 = 130;

/// A command on one file, under way.
pub(super) struct FileJob {
    runtime: Runtime,
    masters: AuditedMasters,
}

impl FileJob {
    /// Listens for signals and finds the master keys.
    pub(super) fn start(store: &StoreArgs, audit: &AuditArgs) -> Result<Self, Failure> {
        let mut config = store.config_of_existing()?;
        audit.apply(&mut config.use_of_keys)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async { listen() })?;
        let masters = runtime.block_on(unless_cancelled(start::open_masters(&config)))??;
        Ok(Self { runtime, masters })
    }

    /// Asks the HSM for the key of a file, and leaves the event; a signal ends the wait.
    pub(super) fn ask<'a, T, E, F>(
        &'a self,
        file: &'a Path,
        question: impl FnOnce(&'a AuditedMasters, Subject<'a>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error,
    {
        let who = Who::uid(rustix::process::geteuid().as_raw());
        let subject = Subject { object: file.to_str(), ..Subject::default() };
        let asked = on_behalf_of(who, question(&self.masters, subject));
        let answer = self.runtime.block_on(unless_cancelled(asked));
        let told = self.runtime.block_on(self.masters.log().flush());
        let answer = answer??;
        told?;
        Ok(answer)
    }
}

/// Runs `work` with a bar on standard error, if that is a terminal.
pub(super) fn watched<T, E: Into<Failure>>(work: impl FnOnce(Watch<'_>) -> Result<T, E>) -> Result<T, Failure> {
    let bar = ProgressBar::new(0);
    let look = "{bar:40} {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(look).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let worked = work(Watch { progress: &progress, cancel: &CANCELLED });
    bar.finish_and_clear();
    if CANCELLED.load(Ordering::Relaxed) && worked.is_err() { Err(cancelled()) } else { worked.map_err(Into::into) }
}

/// What became of it: a sentence, or one JSON object on a line.
pub(super) fn report(as_json: bool, sentence: &str, json: &serde_json::Value) {
    let line = if as_json { json.to_string() } else { sentence.to_owned() };
    // Whoever closed standard output does not want to read it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// `path` with `ending` behind its name.
pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut longer = path.as_os_str().to_owned();
    longer.push(ending);
    longer.into()
}

/// The first signal cancels, so that what was begun is undone; the second ends the process at once.
fn listen() -> std::io::Result<()> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if CANCELLED.swap(true, Ordering::Relaxed) {
                    std::process::exit(CANCELLED_CODE.into());
                }
            }
        });
    }
    Ok(())
}

async fn unless_cancelled<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let looked = async {
        while !CANCELLED.load(Ordering::Relaxed) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        done = work => Ok(done),
        () = looked => Err(cancelled()),
    }
}

fn cancelled() -> Failure {
    Failure { line: "cancelled: nothing was kept".into(), code: CANCELLED_CODE }
}
