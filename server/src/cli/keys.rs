//! `strongroom keys`: the life of master keys, and of what is wrapped under them.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::admin_args::AdminArgs;
use super::keys_action::Action;
use super::{Failure, keys_report};
use crate::catalog::SqliteCatalog;
use crate::life::{self, Progress};
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

const EXAMPLES: &str = "\
Examples:
  strongroom keys list
  strongroom keys list --json --data /srv/strongroom
  strongroom keys describe default/1
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
        let report = self.printed(runtime.block_on(self.perform())?);
        let text = match self.json {
            true => format!("{report}\n"),
            false => keys_report::text(self.action.report(), &report),
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
        let command = self.action.command()?;
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

    /// What goes to standard output: of a list its keys, since what is missing from it goes to standard error.
    fn printed(&self, mut report: Value) -> Value {
        if !matches!(self.action, Action::List | Action::Describe { .. }) {
            return report;
        }
        for why in report["missing"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let _ = writeln!(std::io::stderr(), "strongroom: keys that only this HSM knows are not shown: {why}");
        }
        report["keys"].take()
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
}

/// Whether every key that a report is about could be used.
fn is_whole(report: &Value) -> bool {
    let none = |field: &str| report[field].as_u64().unwrap_or(0) == 0;
    none("failed") && none("missing") && report["unreadable"].as_array().is_none_or(Vec::is_empty)
}
