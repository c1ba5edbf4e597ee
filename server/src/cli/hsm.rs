//! `strongroom hsm`: what the HSM is and does (`doctor`), and how fast (`bench`). Both work beside a running server.
//!
//! Nothing here prompts: the PIN comes from a file or a systemd credential, as it does for `serve`, and is read by the worker.

use std::io::Write as _;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use strongroom_hsm::{
    BenchOptions, BenchReport, DoctorPlan, DoctorReport, ModuleConfig, Rates, Rung, Severity, Supervisor, bench,
};

use super::Failure;
use super::store_args::StoreArgs;
use crate::log;
use crate::start::{self, worker_command};

/// Look at the HSM: what it does, whether keys can leave it, and how fast it is.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Hsm {
    #[command(subcommand)]
    action: Action,
    /// Which of several HSMs that the configuration names.
    #[arg(long, global = true, value_name = "NAME")]
    provider: Option<String>,
    /// Rungs that may wrap, best first: aes-key-wrap, aes-gcm, rsa-oaep.
    #[arg(long, global = true, value_name = "RUNGS", value_delimiter = ',', value_parser = rung)]
    rungs: Vec<Rung>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Say what module and token are and do, and try on a throw-away key whether it can be got out.
    ///
    /// Nothing is left on the token. Exit code 1 if something is bad.
    #[command(after_help = EXAMPLES)]
    Doctor {
        /// Most sessions to open at once.
        #[arg(long, value_name = "COUNT", default_value_t = 64)]
        sessions: u32,
        /// Wraps and unwraps to time.
        #[arg(long, value_name = "COUNT", default_value_t = 100)]
        calls: u32,
    },
    /// Measure wraps, unwraps and rewraps a second, by number of workers and of sessions.
    ///
    /// A key is made on the token for it, as strongroom-bench/0, and destroyed at the end; one that an earlier bench left
    /// behind is destroyed first. So let one bench at a time run on a token.
    #[command(after_help = EXAMPLES)]
    Bench {
        /// Numbers of worker processes.
        #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2,3,4", value_parser = RangedU64ValueParser::<usize>::new().range(1..=256))]
        workers: Vec<usize>,
        /// Numbers of sessions in one process.
        #[arg(long, value_name = "COUNTS", value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u32).range(1..=65_536))]
        sessions: Vec<u32>,
        /// Time for each figure, in milliseconds.
        #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=600_000))]
        each: u64,
    },
}

const EXAMPLES: &str = "\
Examples:
  strongroom hsm doctor --config /etc/strongroom/strongroom.toml
  strongroom hsm doctor --json --config /etc/strongroom/strongroom.toml --provider hsm
  strongroom hsm doctor --data .strongroom   # a store that serve --dev has made
  strongroom hsm bench --workers 1,2 --sessions 1,4 \\
      --pkcs11-module /usr/lib/libvendor-pkcs11.so --token-serial 0123456789 --pin-file /etc/strongroom/pin";

fn rung(name: &str) -> Result<Rung, String> {
    Rung::by_name(name).ok_or_else(|| format!("there are {}", Rung::ALL.map(Rung::name).join(", ")))
}

impl Hsm {
    pub(super) fn run(self) -> Result<(), Failure> {
        log::start(&self.directives()?)?;
        let module = self.module()?;
        match self.action {
            Action::Doctor { sessions, calls } => {
                let report = Supervisor::doctor(&worker_command(), &module, DoctorPlan { calls, sessions });
                print(self.json, &report, show_doctor)?;
                match report.worst() {
                    Severity::Bad => Err(Failure { line: "the HSM is not as it should be".to_owned(), code: 1 }),
                    Severity::Good | Severity::Warning => Ok(()),
                }
            }
            Action::Bench { workers, sessions, each } => {
                let options = BenchOptions { workers, sessions, each: Duration::from_millis(each) };
                print(self.json, &bench(&worker_command(), &module, &options)?, show_bench)
            }
        }
    }

    fn directives(&self) -> Result<log::Directives, Failure> {
        match self.action {
            Action::Doctor { .. } => Ok(log::Directives::warnings()),
            // It kills workers to see how soon their successors wrap, and tells that time.
            Action::Bench { .. } => Ok("warn,strongroom_hsm::worker::tender=error".parse()?),
        }
    }

    fn module(&self) -> Result<ModuleConfig, Failure> {
        let config = self.store.config_of_existing()?;
        let mut module = start::module_config(&config, self.provider.as_deref())?;
        // Where `serve` keeps which PIN was refused.
        module.refusal_file = module.refusal_file.filter(|_| config.places.data.is_dir());
        if !self.rungs.is_empty() {
            module.rungs.clone_from(&self.rungs);
        }
        Ok(module)
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
    lines.push("in one process   sessions   wraps/s   unwraps/s   rewraps/s".to_owned());
    for row in &report.in_process {
        lines.push(format!("{:>25} {}", row.sessions, show_rates(&row.rates)));
    }
    lines.push("through workers  workers  callers   wraps/s   unwraps/s   rewraps/s".to_owned());
    for row in &report.through_workers {
        lines.push(format!("{:>24} {:>8} {}", row.workers, row.callers, show_rates(&row.rates)));
    }
    lines.push(format!("a killed worker's successor wraps after {:.0} ms", report.successor_ms));
    lines.push(format!("configure {} workers", report.best_workers));
    lines.join("\n") + "\n"
}

fn show_rates(rates: &Rates) -> String {
    let Rates { wraps_per_second, unwraps_per_second, rewraps_per_second } = rates;
    format!("{wraps_per_second:>9.0} {unwraps_per_second:>11.0} {rewraps_per_second:>11.0}")
}
