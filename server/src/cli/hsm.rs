//! `strongroom hsm`: what the HSM is and does (`doctor`), and how fast (`bench`). Both work beside a running server.
//!
//! Nothing here prompts: the PIN comes from a file or a systemd credential, as it does for `serve`, and is read by the worker.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use strongroom_hsm::{
    BenchOptions, BenchReport, DevToken, DoctorPlan, DoctorReport, ModuleConfig, PinSource, Rung, Severity, Supervisor,
    TokenSelector, WorkerCommand, bench,
};

use super::Failure;
use crate::config::DEV_TOKEN_LABEL;

/// Look at the HSM: what it does, whether keys can leave it, and how fast it is.
#[derive(Subcommand)]
pub(super) enum Hsm {
    /// Say what module and token are and do, and try on a throw-away key whether it can be got out.
    ///
    /// Nothing is left on the token. Exit code 1 if something is bad.
    Doctor {
        #[command(flatten)]
        token: Token,
        /// Most sessions to open at once.
        #[arg(long, value_name = "COUNT", default_value_t = 64)]
        sessions: u32,
        /// Wraps and unwraps to time.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        calls: u32,
    },
    /// Measure wraps and unwraps a second, by number of workers and of sessions.
    ///
    /// A key is made on the token for it, under the alias strongroom-bench, and destroyed at the end.
    Bench {
        #[command(flatten)]
        token: Token,
        /// Numbers of worker processes.
        #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2,3,4")]
        workers: Vec<usize>,
        /// Numbers of sessions in one process.
        #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2,4,8")]
        sessions: Vec<u32>,
        /// Time for each figure, in milliseconds.
        #[arg(long, value_name = "MS", default_value_t = 500)]
        each: u64,
    },
}

/// Which token.
#[derive(Args)]
pub(super) struct Token {
    /// Folder of a store made with `serve --dev`: its token is looked at, unless --pkcs11-module names another.
    #[arg(long, value_name = "DIR", default_value = ".strongroom")]
    data: PathBuf,
    /// PKCS#11 module of the HSM, a shared object.
    #[arg(long, value_name = "FILE")]
    pkcs11_module: Option<PathBuf>,
    /// Label of the token.
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module", conflicts_with_all = ["token_serial", "slot"])]
    token_label: Option<String>,
    /// Serial number of the token: where labels repeat.
    #[arg(long, value_name = "SERIAL", requires = "pkcs11_module", conflicts_with = "slot")]
    token_serial: Option<String>,
    /// Slot number of the token; some modules give it another at each start.
    #[arg(long, value_name = "NUMBER", requires = "pkcs11_module")]
    slot: Option<u64>,
    /// File that holds the token's user PIN; only the worker process reads it.
    #[arg(long, value_name = "FILE", conflicts_with = "pin_credential")]
    pin_file: Option<PathBuf>,
    /// systemd credential that holds the PIN (LoadCredential=NAME:FILE).
    #[arg(long, value_name = "NAME")]
    pin_credential: Option<String>,
    /// Rungs that may wrap, best first: aes-key-wrap, aes-gcm, rsa-oaep.
    #[arg(long, value_name = "RUNGS", value_delimiter = ',', value_parser = rung)]
    rungs: Vec<Rung>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn rung(name: &str) -> Result<Rung, String> {
    Rung::by_name(name).ok_or_else(|| format!("there are {}", Rung::ALL.map(Rung::name).join(", ")))
}

impl Hsm {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Doctor { token, sessions, calls } => {
                let report = Supervisor::doctor(&worker(), &token.config()?, DoctorPlan { calls, sessions });
                print(token.json, &report, show_doctor)?;
                match report.worst() {
                    Severity::Bad => Err(Failure { line: "the HSM is not as it should be".to_owned(), code: 1 }),
                    Severity::Good | Severity::Warning => Ok(()),
                }
            }
            Self::Bench { token, workers, sessions, each } => {
                let options = BenchOptions { workers, sessions, each: Duration::from_millis(each) };
                print(token.json, &bench(&worker(), &token.config()?, &options)?, show_bench)
            }
        }
    }
}

/// This program again, as the worker: see `hsm-worker`.
fn worker() -> WorkerCommand {
    WorkerCommand { program: "/proc/self/exe".into(), args: vec!["hsm-worker".into()] }
}

impl Token {
    fn config(&self) -> Result<ModuleConfig, Failure> {
        let mut config = self.without_rungs()?;
        // Where `serve` keeps which PIN was refused.
        config.refusal_file = Some(self.data.join("refused-pin")).filter(|_| self.data.is_dir());
        if !self.rungs.is_empty() {
            config.rungs.clone_from(&self.rungs);
        }
        Ok(config)
    }

    fn without_rungs(&self) -> Result<ModuleConfig, Failure> {
        let Some(module) = &self.pkcs11_module else {
            let found = DevToken::find(&self.data)?;
            let missing = || {
                let folder = self.data.join("token");
                Failure::usage(format!("there is no token {}: give --data, or --pkcs11-module", folder.display()))
            };
            return Ok(found.ok_or_else(missing)?.module_config(DEV_TOKEN_LABEL, Vec::new()));
        };
        let token = match (&self.token_label, &self.token_serial, self.slot) {
            (Some(label), _, _) => TokenSelector::Label(label.clone()),
            (None, Some(serial), _) => TokenSelector::Serial(serial.clone()),
            (None, None, Some(slot)) => TokenSelector::Slot(slot),
            (None, None, None) => {
                return Err(Failure::usage("which token? give --token-label, --token-serial or --slot"));
            }
        };
        let pin = match (&self.pin_file, &self.pin_credential) {
            (Some(path), _) => PinSource::File(std::path::absolute(path)?),
            (None, Some(name)) => PinSource::Credential(name.clone()),
            (None, None) => {
                return Err(Failure::usage("where is the token's PIN? give --pin-file or --pin-credential"));
            }
        };
        Ok(ModuleConfig::new(std::path::absolute(module)?, token, pin))
    }
}

fn print<T: Serialize>(json: bool, report: &T, show: fn(&T) -> String) -> Result<(), Failure> {
    let text = if json { serde_json::to_string_pretty(report)? + "\n" } else { show(report) };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn show_doctor(report: &DoctorReport) -> String {
    let mut lines = Vec::new();
    for finding in &report.findings {
        let sign = match finding.severity {
            Severity::Good => "good   ",
            Severity::Warning => "warning",
            Severity::Bad => "BAD    ",
        };
        lines.push(format!("{sign}  {}: {}", finding.about, finding.seen));
        lines.extend(finding.advice.iter().map(|advice| format!("         -> {advice}")));
    }
    for rung in &report.rungs {
        let iv = rung.iv.as_ref().map(|iv| format!(", IV {iv}")).unwrap_or_default();
        let result = rung.why.as_deref().unwrap_or("works");
        lines.push(format!("rung     {}{iv}: {result}", rung.rung));
    }
    for key in &report.master_keys {
        lines.push(format!("key      {}/{} {}", key.alias, key.version, key.id));
    }
    lines.join("\n") + "\n"
}

fn show_bench(report: &BenchReport) -> String {
    let mut lines = vec![format!("rung {}; each wrap is opened again and compared", report.rung)];
    lines.push("in one process   sessions   wraps/s   unwraps/s".to_owned());
    for row in &report.in_process {
        let (wraps, unwraps) = (row.wraps_per_second, row.unwraps_per_second);
        lines.push(format!("{:>25} {wraps:>9.0} {unwraps:>11.0}", row.sessions));
    }
    lines.push("through workers  workers  callers   wraps/s   unwraps/s".to_owned());
    for row in &report.through_workers {
        let (wraps, unwraps) = (row.wraps_per_second, row.unwraps_per_second);
        lines.push(format!("{:>24} {:>8} {wraps:>9.0} {unwraps:>11.0}", row.workers, row.callers));
    }
    lines.push(format!("a killed worker's successor wraps after {:.0} ms", report.successor_ms));
    lines.push(format!("configure {} workers", report.best_workers));
    lines.join("\n") + "\n"
}
