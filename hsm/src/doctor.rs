//! What `strongroom hsm doctor` and `strongroom hsm bench` report, as data: words and figures, no calls on a token.
//!
//! Every line says what was seen and, where it is not well, what to do. Nothing here holds a PIN or a key.

use crate::error::KeyError;
use crate::provider::{MasterKeyId, TokenKey};
use crate::rung::Rung;
use serde::{Deserialize, Serialize};

/// How much the doctor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoctorPlan {
    /// Wraps and unwraps for the latency.
    pub calls: u32,
    /// Sessions to open at most.
    pub sessions: u32,
}

impl Default for DoctorPlan {
    fn default() -> Self {
        Self { calls: 100, sessions: 64 }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Good,
    /// Works, but an administrator should know.
    Warning,
    /// Does not work, or is not safe.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub about: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen.
    pub seen: String,
    /// What to do about it, where something is to be done.
    pub advice: Option<String>,
}

/// One call pattern, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RungFinding {
    /// The rung.
    pub rung: Rung,
    /// Who makes the IV, for AES-GCM: `caller`, `message`, `handed-back`, `zeros-filled`, `appended`, `appended-both`.
    pub iv: Option<String>,
    /// Whether this token does it.
    pub works: bool,
    /// Why not.
    pub why: Option<String>,
}

/// Time of one call in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the calls took less.
    pub median_us: u64,
    /// One in a hundred took more.
    pub p99_us: u64,
}

/// All that the doctor found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// Name and version, as the module tells them.
    pub module: Option<String>,
    /// Label of the token.
    pub token: Option<String>,
    /// Its serial: what to configure where labels repeat.
    pub serial: Option<String>,
    /// Mechanisms that the PKCS#11 crate has a name for.
    pub mechanisms: Vec<String>,
    /// Every call pattern that was tried, on a throw-away key.
    pub rungs: Vec<RungFinding>,
    /// Sessions that could be opened at once, up to the limit asked for.
    pub sessions: Option<u32>,
    /// One wrap with its check unwrap.
    pub wrap: Option<Latency>,
    /// One unwrap.
    pub unwrap: Option<Latency>,
    /// Master keys with Strongroom's labels.
    pub master_keys: Vec<TokenKey>,
    /// Line by line.
    pub findings: Vec<Finding>,
}

impl DoctorReport {
    /// The worst of the findings.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Good)
    }

    pub(crate) fn failed(error: &KeyError) -> Self {
        let mut report = Self::default();
        report.bad(
            "module",
            error.to_string(),
            "end what hangs or crashes first: the vendor's own tool, then this again",
        );
        report
    }

    pub(crate) fn good(&mut self, about: &str, seen: impl Into<String>) {
        self.add(about, Severity::Good, seen.into(), None);
    }

    pub(crate) fn warn(&mut self, about: &str, seen: impl Into<String>, advice: &str) {
        self.add(about, Severity::Warning, seen.into(), Some(advice));
    }

    pub(crate) fn bad(&mut self, about: &str, seen: impl Into<String>, advice: &str) {
        self.add(about, Severity::Bad, seen.into(), Some(advice));
    }

    fn add(&mut self, about: &str, severity: Severity, seen: String, advice: Option<&str>) {
        self.findings.push(Finding { about: about.to_owned(), severity, seen, advice: advice.map(str::to_owned) });
    }
}

/// One measurement inside a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BenchPlan {
    pub(crate) master: MasterKeyId,
    /// Threads, each with a session of its own.
    pub(crate) sessions: u32,
    /// For the wraps, and as long again for the unwraps.
    pub(crate) milliseconds: u32,
}

/// What the module does in one process, without frames.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InProcess {
    /// Threads, each with a session of its own.
    pub sessions: u32,
    /// How fast.
    #[serde(flatten)]
    pub rates: Rates,
}

/// What a pool of workers does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ThroughWorkers {
    /// Worker processes.
    pub workers: usize,
    /// Callers at once.
    pub callers: usize,
    /// How fast.
    #[serde(flatten)]
    pub rates: Rates,
}

/// Operations a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Each with its check unwrap.
    pub wraps_per_second: f64,
    /// Alone.
    pub unwraps_per_second: f64,
    /// Each an unwrap and a wrap with its check unwrap.
    pub rewraps_per_second: f64,
}

/// All that the bench measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReport {
    /// Serial of the token.
    pub serial: Option<String>,
    /// The rung that wrapped.
    pub rung: Rung,
    /// One process, more and more sessions.
    pub in_process: Vec<InProcess>,
    /// More and more workers.
    pub through_workers: Vec<ThroughWorkers>,
    /// From the kill of a worker to the next wrap by its successor: the median, in milliseconds.
    pub successor_ms: f64,
    /// The number of workers to configure: the fewest within a tenth of the most wraps a second.
    pub best_workers: usize,
}
