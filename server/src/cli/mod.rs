//! The command line: one file per command. A failure is one line on standard error, and an exit code: 2 for a command
//! that was not understood, 130 for one that a signal ended, 1 for one that did not work.

mod admin_args;
mod buckets;
mod file_job;
mod hsm;
mod hsm_worker;
mod key_use_args;
mod keys;
mod keys_report;
mod open;
mod seal;
mod serve;
mod store_args;
mod users;
mod users_report;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// S3-compatible object server that encrypts every object under master keys that never leave an HSM.
#[derive(Parser)]
#[command(name = "strongroom", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Seal(Box<seal::Seal>),
    Open(Box<open::Open>),
    Keys(Box<keys::Keys>),
    Buckets(Box<buckets::Buckets>),
    Users(Box<users::Users>),
    Hsm(Box<hsm::Hsm>),
    /// The process that holds the HSM module. The server starts it.
    #[command(hide = true)]
    HsmWorker,
}

/// A command that did not work, in one line.
struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    fn usage(line: impl Into<String>) -> Self {
        Self { line: line.into(), code: 2 }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    /// The error and its causes, but for those whose text the error itself repeats.
    fn from(error: E) -> Self {
        let mut line = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            let text = deeper.to_string();
            if !line.contains(&text) {
                line = format!("{line}: {text}");
            }
            cause = deeper.source();
        }
        Self { line: line.replace('\n', " "), code: 1 }
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::HsmWorker => return hsm_worker::run(),
        Command::Serve(serve) => serve.run(),
        Command::Seal(seal) => seal.run(),
        Command::Open(open) => open.run(),
        Command::Keys(keys) => keys.run(),
        Command::Buckets(buckets) => buckets.run(),
        Command::Users(users) => users.run(),
        Command::Hsm(hsm) => hsm.run(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "strongroom: {}", failure.line);
            ExitCode::from(failure.code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_declared_soundly() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
