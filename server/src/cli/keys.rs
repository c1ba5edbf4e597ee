//! `strongroom keys`: the life of master keys, and of what is wrapped under them.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use strongroom_hsm::Alias;

use super::admin_args::AdminArgs;
use super::{Failure, keys_report};
use crate::admin::Command;
use crate::catalog::SqliteCatalog;
use crate::life::{self, MasterKeyName, Progress, RewrapOptions, VerifyOptions};
use crate::{log, start};

/// Show, rotate and end master keys; move, check, back up and destroy wrapped keys.
///
/// A master key is named by its ALIAS, or one version of it by ALIAS/VERSION. Commands go to the server that runs on the
/// data folder, or, where none runs, open the store themselves.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Every version of every master key, and how many wrapped keys lie under it.
    List,
    /// Make the first version of a new alias.
    Create { alias: Alias },
    /// Make a new version that wraps from now on; or say how often that happens by itself.
    Rotate {
        alias: Alias,
        /// From now on, make a new version by itself when the current one is so old; 0: never.
        #[arg(long, value_name = "DAYS")]
        every: Option<u32>,
    },
    /// Take up a version that the token holds and the keyring does not know.
    Adopt { name: MasterKeyName },
    /// No use of a version until it is enabled again: what lies under it cannot be read meanwhile.
    Disable { name: MasterKeyName },
    /// Let a disabled version be used again.
    Enable { name: MasterKeyName },
    /// Start the waiting period of an old version under which nothing lies.
    ScheduleDestruction {
        name: MasterKeyName,
        /// The waiting period.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3_650))]
        days: u32,
    },
    /// Keep a version after all.
    CancelDestruction { name: MasterKeyName },
    /// Destroy a version whose waiting period is over, on the token, for good.
    Destroy {
        name: MasterKeyName,
        #[command(flatten)]
        sure: Sure,
    },
    /// Move every wrapped key of an alias to its current version, while the server works.
    Rewrap {
        alias: Alias,
        /// At most so many keys a second.
        #[arg(long, value_name = "RATE")]
        per_second: Option<NonZeroU32>,
    },
    /// Unwrap every wrapped key, or a sample, and say which cannot be.
    Verify {
        /// Only every so many-th.
        #[arg(long, value_name = "N")]
        sample: Option<NonZeroU32>,
    },
    /// What becomes unreadable if a master key, or one version of it, is lost.
    Impact { name: MasterKeyName },
    /// What the running server's cache of data keys holds, and how often it spared the HSM.
    Cache,
    /// Copy the keyring to a new file, while the server works.
    Backup { file: PathBuf },
    /// Put a copy in the place of a keyring that is gone; no server may run. What was erased since stays erased.
    Restore { file: PathBuf },
    /// Destroy the key of one object, or all keys of a bucket, for good: nobody reads them any more.
    Invalidate {
        bucket: String,
        key: Option<String>,
        #[command(flatten)]
        sure: Sure,
    },
}

/// For what cannot be taken back.
#[derive(Args)]
struct Sure {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  strongroom keys list
  strongroom keys list --json --data /srv/strongroom
  strongroom keys rotate default && strongroom keys rewrap default
  strongroom keys rotate default --every 90
  strongroom keys impact default/1
  strongroom keys backup /mnt/safe/keyring-2026-11-25.sqlite
  strongroom keys invalidate bucket path/of/an/object";

impl Keys {
    /// Does it.
    pub(super) fn run(self) -> Result<(), Failure> {
        log::start(&log::Directives::warnings())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let report = runtime.block_on(self.perform())?;
        let text = match self.json {
            true => format!("{report}\n"),
            false => keys_report::text(&self.action_name(), &report),
        };
        // Whoever closed standard output does not want to read it.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
        for warning in self.warnings(&report) {
            let _ = writeln!(std::io::stderr(), "strongroom: {warning}");
        }
        let is_whole = matches!(self.action, Action::Restore { .. }) || is_whole(&report);
        if is_whole { Ok(()) } else { Err(Failure { line: "not all keys could be used".to_owned(), code: 1 }) }
    }

    async fn perform(&self) -> Result<Value, Failure> {
        if let Action::Restore { file } = &self.action {
            let config = self.admin.config()?;
            let _alone = start::lock(&config.places.data)?;
            let catalog = SqliteCatalog::open(&config.places.catalog)?;
            let restored = life::restore(&std::path::absolute(file)?, &config.places.keyring, &catalog).await?;
            let mut report = serde_json::to_value(restored)?;
            // An HSM that cannot be asked now keeps no keyring from being restored.
            report["not_held"] = serde_json::to_value(start::versions_not_held(&config).await.ok())?;
            return Ok(report);
        }
        let command = self.command()?;
        let bar = ProgressBar::hidden();
        let on_progress = |now: Progress| {
            if bar.is_hidden() && std::io::stderr().is_terminal() {
                bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
                let look = "{bar:40} {human_pos} of {human_len} keys, {per_sec}, {eta} left";
                bar.set_style(ProgressStyle::with_template(look).unwrap_or_else(|_| ProgressStyle::default_bar()));
            }
            bar.set_length(now.total);
            bar.set_position(now.done);
        };
        let done = self.admin.reach().await?.perform(command, &on_progress).await;
        bar.finish_and_clear();
        Ok(done?)
    }

    fn command(&self) -> Result<Command, Failure> {
        Ok(match &self.action {
            Action::List => Command::ListKeys,
            Action::Create { alias } => Command::CreateKey { alias: alias.clone() },
            Action::Rotate { alias, every: None } => Command::RotateKey { alias: alias.clone() },
            Action::Rotate { alias, every: Some(days) } => {
                Command::SetRotation { alias: alias.clone(), days: NonZeroU32::new(*days) }
            }
            Action::Adopt { name } => Command::AdoptKey { name: name.clone() },
            Action::Disable { name } => Command::DisableKey { name: name.clone() },
            Action::Enable { name } => Command::EnableKey { name: name.clone() },
            Action::ScheduleDestruction { name, days } => {
                Command::ScheduleDestruction { name: name.clone(), days: *days }
            }
            Action::CancelDestruction { name } => Command::CancelDestruction { name: name.clone() },
            Action::Destroy { name, sure } => {
                sure.or_ask(&format!("Destroy master key {name} on the token, for good?"))?;
                Command::DestroyKey { name: name.clone() }
            }
            Action::Rewrap { alias, per_second } => {
                Command::Rewrap { alias: alias.clone(), options: RewrapOptions { per_second: *per_second } }
            }
            Action::Verify { sample } => Command::VerifyKeys { options: VerifyOptions { sample: *sample } },
            Action::Impact { name } => Command::Impact { name: name.clone() },
            Action::Cache => Command::CacheStatus,
            Action::Backup { file } => Command::BackUpKeyring { to: std::path::absolute(file)? },
            Action::Restore { .. } => return Err(Failure::usage("a keyring is restored without a server")),
            Action::Invalidate { bucket, key, sure } => {
                let what = match key {
                    Some(key) => format!("the key of object {key} in bucket {bucket}"),
                    None => format!("ALL keys of bucket {bucket}"),
                };
                sure.or_ask(&format!("Destroy {what}, for good? Copies of the keyring made before still have it."))?;
                Command::Invalidate { bucket: bucket.clone(), key: key.clone() }
            }
        })
    }

    /// What whoever gave the command should know beside its report.
    fn warnings(&self, report: &Value) -> Vec<String> {
        match &self.action {
            Action::Restore { .. } => keys_report::losses(report),
            Action::ScheduleDestruction { name, .. } => vec![format!(
                "copies of the keyring made before now may hold keys under {name}: replace them by younger ones before \
                 it is destroyed"
            )],
            Action::Destroy { name, .. } => vec![format!(
                "copies of the keyring made before {name} was scheduled may hold keys under it, which nobody can read \
                 any more: replace them by younger ones"
            )],
            _ => Vec::new(),
        }
    }

    fn action_name(&self) -> keys_report::Kind {
        match &self.action {
            Action::List => keys_report::Kind::List,
            Action::Rewrap { .. } => keys_report::Kind::Rewrap,
            Action::Verify { .. } => keys_report::Kind::Verify,
            Action::Impact { .. } => keys_report::Kind::Impact,
            _ => keys_report::Kind::Plain,
        }
    }
}

/// Whether every key that a report is about could be used.
fn is_whole(report: &Value) -> bool {
    let none = |field: &str| report[field].as_u64().unwrap_or(0) == 0;
    none("failed") && none("missing") && report["unreadable"].as_array().is_none_or(Vec::is_empty)
}

impl Sure {
    fn or_ask(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage("this cannot be taken back: give --yes, or answer at a terminal"));
        }
        let _ = write!(std::io::stderr(), "{question} [type yes] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() == "yes" { Ok(()) } else { Err(Failure { line: "nothing was done".to_owned(), code: 1 }) }
    }
}
