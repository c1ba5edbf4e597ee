//! The command line: one file per command. A failure is one line on standard error, and an exit code: 2 for a command
//! that was not understood, 130 for one that a signal ended, 1 for one that did not work.

mod admin_args;
mod buckets;
mod file_job;
mod hsm;
mod hsm_worker;
mod key_use_args;
mod keys;
mod keys_action;
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
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_argument_is_declared_soundly() {
        Cli::command().debug_assert();
    }

    /// The commands of the examples in a help text, without `\` at the end of a line and without comments.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let joined = help.replace("\\\n", " ");
        let lines = joined.lines().map(|line| line.split(" # ").next().unwrap_or_default());
        let commands = lines.flat_map(|line| line.split("&&")).map(str::trim);
        let of_ours = commands.filter(|command| command.starts_with("strongroom "));
        of_ours
            .map(|command| command.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect())
            .collect()
    }

    fn check_examples(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in examples(&help) {
            let parsed = Cli::try_parse_from(&example);
            assert!(parsed.is_ok(), "{}: {}", example.join(" "), parsed.err().unwrap());
        }
        command.get_subcommands().for_each(check_examples);
    }

    #[test]
    fn every_example_of_a_help_text_is_understood() {
        check_examples(&Cli::command());
    }

    #[test]
    fn every_action_on_keys_has_an_example_and_says_what_its_arguments_are() {
        let cli = Cli::command();
        let keys = cli.find_subcommand("keys").unwrap();
        for action in keys.get_subcommands() {
            let name = action.get_name();
            let help = action.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples(&help).iter().any(|words| words[1..3] == ["keys", name]), "{name} has no example");
            for argument in action.get_arguments() {
                assert!(argument.get_help().is_some(), "{name}: {} has no description", argument.get_id());
            }
        }
    }
}
