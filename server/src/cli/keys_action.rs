//! What `strongroom keys` can be asked: each action with its help and an example, and the command that it gives.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use strongroom_hsm::Alias;

use super::Failure;
use super::keys_report::Kind;
use crate::admin::Command;
use crate::life::{MasterKeyName, RewrapOptions, VerifyOptions};

#[derive(Subcommand)]
pub(super) enum Action {
    /// Every version of every master key, and how many wrapped keys lie under it.
    ///
    /// WRAPS are those that processes have set aside: at least as many as were made.
    #[command(after_help = "Example:\n  strongroom keys list --json")]
    List,
    /// All that is known of an alias, or of one version of it.
    #[command(
        after_help = "Examples:\n  strongroom keys describe default\n  strongroom keys describe default/1 --json"
    )]
    Describe {
        /// ALIAS for all its versions, or ALIAS/VERSION.
        name: MasterKeyName,
    },
    /// Make the first version of a new alias.
    #[command(after_help = "Example:\n  strongroom keys create payroll")]
    Create {
        /// Its name: A-Z, a-z, 0-9, slash, underscore, hyphen.
        alias: Alias,
    },
    /// Make a new version that wraps from now on; or say how often that happens by itself.
    #[command(after_help = "Examples:\n  strongroom keys rotate default\n  strongroom keys rotate default --every 90")]
    Rotate {
        /// The master key.
        alias: Alias,
        /// From now on, make a new version by itself when the current one is so old; 0: never.
        #[arg(long, value_name = "DAYS")]
        every: Option<u32>,
    },
    /// Take up a version that the token holds and the keyring does not know.
    #[command(after_help = "Example:\n  strongroom keys adopt default/3")]
    Adopt {
        /// ALIAS/VERSION; ALIAS for the latest such version.
        name: MasterKeyName,
    },
    /// No use of a version until it is enabled again: what lies under it cannot be read meanwhile.
    #[command(after_help = "Example:\n  strongroom keys disable default/1")]
    Disable {
        /// ALIAS/VERSION; ALIAS for the current version.
        name: MasterKeyName,
    },
    /// Let a disabled version be used again.
    #[command(after_help = "Example:\n  strongroom keys enable default/1")]
    Enable {
        /// ALIAS/VERSION; ALIAS for the current version.
        name: MasterKeyName,
    },
    /// Start the waiting period of an old version under which nothing lies.
    #[command(after_help = "Example:\n  strongroom keys schedule-destruction default/1 --days 90")]
    ScheduleDestruction {
        /// ALIAS/VERSION.
        name: MasterKeyName,
        /// The waiting period.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3_650))]
        days: u32,
    },
    /// Keep a version after all.
    #[command(after_help = "Example:\n  strongroom keys cancel-destruction default/1")]
    CancelDestruction {
        /// ALIAS/VERSION.
        name: MasterKeyName,
    },
    /// Destroy a version whose waiting period is over, on the token, for good.
    #[command(after_help = "Example:\n  strongroom keys destroy default/1")]
    Destroy {
        /// ALIAS/VERSION.
        name: MasterKeyName,
        #[command(flatten)]
        sure: Sure,
    },
    /// Move every wrapped key of an alias to its current version, while the server works.
    #[command(after_help = "Example:\n  strongroom keys rewrap default --per-second 500")]
    Rewrap {
        /// The master key.
        alias: Alias,
        /// At most so many keys a second.
        #[arg(long, value_name = "RATE")]
        per_second: Option<NonZeroU32>,
    },
    /// Unwrap every wrapped key, or a sample, and say which cannot be.
    #[command(after_help = "Example:\n  strongroom keys verify --sample 100")]
    Verify {
        /// Only every so many-th.
        #[arg(long, value_name = "N")]
        sample: Option<NonZeroU32>,
    },
    /// What becomes unreadable if a master key, or one version of it, is lost.
    #[command(after_help = "Example:\n  strongroom keys impact default/1")]
    Impact {
        /// ALIAS for all its versions, or ALIAS/VERSION.
        name: MasterKeyName,
    },
    /// What the running server's cache of data keys holds, and how often it spared the HSM.
    #[command(after_help = "Example:\n  strongroom keys cache --data /srv/strongroom")]
    Cache,
    /// Copy the keyring to a new file, while the server works.
    #[command(after_help = "Example:\n  strongroom keys backup /mnt/safe/keyring-2026-11-25.sqlite")]
    Backup {
        /// The copy; it must not exist. The server writes it.
        file: PathBuf,
    },
    /// Put a copy in the place of a keyring that is gone; no server may run. What was erased since stays erased.
    #[command(after_help = "Example:\n  strongroom keys restore /mnt/safe/keyring-2026-11-25.sqlite")]
    Restore {
        /// What `strongroom keys backup` has written.
        file: PathBuf,
    },
    /// Destroy the key of one object, or all keys of a bucket, for good: nobody reads them any more.
    #[command(
        after_help = "Examples:\n  strongroom keys invalidate photos 2026/beach.jpg\n  strongroom keys invalidate photos"
    )]
    Invalidate {
        /// Name of the bucket.
        bucket: String,
        /// Key of the object; without, all keys of the bucket are destroyed.
        key: Option<String>,
        #[command(flatten)]
        sure: Sure,
    },
}

/// For what cannot be taken back.
#[derive(Args)]
pub(super) struct Sure {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Action {
    /// What is asked of the store; asks back where it cannot be taken back.
    pub(super) fn command(&self) -> Result<Command, Failure> {
        Ok(match self {
            Self::List => Command::ListKeys,
            Self::Describe { name } => Command::DescribeKey { name: name.clone() },
            Self::Create { alias } => Command::CreateKey { alias: alias.clone() },
            Self::Rotate { alias, every: None } => Command::RotateKey { alias: alias.clone() },
            Self::Rotate { alias, every: Some(days) } => {
                Command::SetRotation { alias: alias.clone(), days: NonZeroU32::new(*days) }
            }
            Self::Adopt { name } => Command::AdoptKey { name: name.clone() },
            Self::Disable { name } => Command::DisableKey { name: name.clone() },
            Self::Enable { name } => Command::EnableKey { name: name.clone() },
            Self::ScheduleDestruction { name, days } => {
                Command::ScheduleDestruction { name: name.clone(), days: *days }
            }
            Self::CancelDestruction { name } => Command::CancelDestruction { name: name.clone() },
            Self::Destroy { name, sure } => {
                sure.or_ask(&format!("Destroy master key {name} on the token, for good?"))?;
                Command::DestroyKey { name: name.clone() }
            }
            Self::Rewrap { alias, per_second } => {
                Command::Rewrap { alias: alias.clone(), options: RewrapOptions { per_second: *per_second } }
            }
            Self::Verify { sample } => Command::VerifyKeys { options: VerifyOptions { sample: *sample } },
            Self::Impact { name } => Command::Impact { name: name.clone() },
            Self::Cache => Command::CacheStatus,
            Self::Backup { file } => Command::BackUpKeyring { to: std::path::absolute(file)? },
            Self::Restore { .. } => return Err(Failure::usage("a keyring is restored without a server")),
            Self::Invalidate { bucket, key, sure } => {
                let what = match key {
                    Some(key) => format!("the key of object {key} in bucket {bucket}"),
                    None => format!("ALL keys of bucket {bucket}"),
                };
                sure.or_ask(&format!("Destroy {what}, for good? Copies of the keyring made before still have it."))?;
                Command::Invalidate { bucket: bucket.clone(), key: key.clone() }
            }
        })
    }

    /// What its report is about.
    pub(super) fn report(&self) -> Kind {
        match self {
            Self::List => Kind::List,
            Self::Describe { .. } => Kind::Describe,
            Self::Rewrap { .. } => Kind::Rewrap,
            Self::Verify { .. } => Kind::Verify,
            Self::Impact { .. } => Kind::Impact,
            _ => Kind::Plain,
        }
    }
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
