//! What administrators ask of a store, and the two ways it is asked: a running server by its socket, or the store itself.
//!
//! A command and its events are JSON, one a line: the same over the socket and within one process. Each command leaves
//! an event that says who gave it and what became of it.

mod client;
mod socket;
mod users;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_hsm::Alias;

use crate::administrators::Roles;
use crate::audit::{Administration, AuditError, Who, on_behalf_of};
use crate::error::OpError;
use crate::life::{self, LifeError, MasterKeyName, OnProgress, Progress, RewrapOptions, VerifyOptions};
use crate::ops;
use crate::store::Store;
use crate::users::UserError;

pub use client::{Admin, AdminError};
pub use socket::AdminSocket;
pub use users::UserCommand;

/// A command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    /// Every version of every master key.
    ListKeys,
    /// All that is known of an alias, or of one version.
    DescribeKey {
        /// Which.
        name: MasterKeyName,
    },
    /// A new alias.
    CreateKey {
        /// Its name.
        alias: Alias,
    },
    /// A new version of an alias.
    RotateKey {
        /// Which.
        alias: Alias,
    },
    /// How often an alias is rotated by itself.
    SetRotation {
        /// Which.
        alias: Alias,
        /// Nothing: never, but for the wrap limit.
        days: Option<NonZeroU32>,
    },
    /// Takes up a version that only the token knows.
    AdoptKey {
        /// Which.
        name: MasterKeyName,
    },
    /// No use of a version until it is enabled.
    DisableKey {
        /// Which.
        name: MasterKeyName,
    },
    /// Takes that back.
    EnableKey {
        /// Which.
        name: MasterKeyName,
    },
    /// Starts the waiting period.
    ScheduleDestruction {
        /// Which.
        name: MasterKeyName,
        /// How long.
        days: u32,
    },
    /// Takes that back.
    CancelDestruction {
        /// Which.
        name: MasterKeyName,
    },
    /// Destroys a version whose waiting period is over.
    DestroyKey {
        /// Which.
        name: MasterKeyName,
    },
    /// Moves all wrapped keys of an alias to its current version.
    Rewrap {
        /// Which.
        alias: Alias,
        /// How.
        options: RewrapOptions,
    },
    /// Unwraps wrapped keys.
    VerifyKeys {
        /// Which.
        options: VerifyOptions,
    },
    /// What becomes unreadable without a master key.
    Impact {
        /// Which.
        name: MasterKeyName,
    },
    /// What became of lookups in the data-key cache.
    CacheStatus,
    /// Copies the keyring.
    BackUpKeyring {
        /// To a file that does not exist; an absolute path.
        to: PathBuf,
    },
    /// Destroys the key of an object, or all keys of a bucket.
    Invalidate {
        /// The bucket.
        bucket: String,
        /// The object; nothing: the bucket.
        key: Option<String>,
    },
    /// Stores what asks for no encryption in plaintext, or encrypts it again.
    SetBucketPlaintext {
        /// The bucket.
        bucket: String,
        /// Whether in plaintext.
        plaintext: bool,
    },
    /// About users.
    Users(UserCommand),
}

/// What is heard of a command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Event {
    /// It goes on.
    Progress(Progress),
    /// It is done.
    Done(Value),
    /// It is not done.
    Failed(String),
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// About master keys.
    #[error(transparent)]
    Life(#[from] LifeError),
    /// About users.
    #[error(transparent)]
    User(#[from] UserError),
    /// About buckets.
    #[error(transparent)]
    Bucket(#[from] OpError),
    /// Make room for the audit log: nobody would hear of the command.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Ask who may.
    #[error("{0}")]
    NotAllowed(String),
    /// It is simply given again.
    #[error("stopped in the middle: its caller hung up")]
    Stopped,
}

impl Command {
    /// Whether it may take hours, and leaves nothing half done wherever it ends.
    fn goes_over_all_keys(&self) -> bool {
        matches!(self, Self::Rewrap { .. } | Self::VerifyKeys { .. } | Self::Impact { .. })
    }

    /// What it takes; `None`: any role will do. What it says may take more.
    fn needs(&self) -> Option<Roles> {
        match self {
            Self::ListKeys
            | Self::DescribeKey { .. }
            | Self::CreateKey { .. }
            | Self::RotateKey { .. }
            | Self::SetRotation { .. }
            | Self::AdoptKey { .. }
            | Self::DisableKey { .. }
            | Self::EnableKey { .. }
            | Self::ScheduleDestruction { .. }
            | Self::CancelDestruction { .. }
            | Self::DestroyKey { .. }
            | Self::Rewrap { .. }
            | Self::VerifyKeys { .. }
            | Self::Impact { .. }
            | Self::CacheStatus
            | Self::BackUpKeyring { .. }
            | Self::Invalidate { .. } => Some(Roles::KEYS),
            Self::SetBucketPlaintext { .. } => Some(Roles::DATA),
            Self::Users(command) => command.needs(),
        }
    }
}

/// Who gives a command.
#[derive(Clone, Debug)]
pub(crate) struct Administrator {
    /// A user of this machine, or the server itself.
    pub(crate) who: Who,
    /// What that one administers.
    pub(crate) roles: Roles,
}

impl Administrator {
    /// Refuses what takes a role that this one has not.
    fn check(&self, command: &Command) -> Result<(), CommandError> {
        let Self { who, roles } = self;
        match command.needs() {
            Some(needed) if !roles.cover(needed) => Err(CommandError::NotAllowed(format!(
                "this takes an administrator of {needed}, and {who} administers {roles} here: \
                 see [administrators] in the server's configuration"
            ))),
            _ => Ok(()),
        }
    }
}

/// Does what a command says.
async fn perform(
    store: &Arc<Store>,
    command: Command,
    roles: Roles,
    on_progress: OnProgress<'_>,
) -> Result<Value, CommandError> {
    let rotated = |row: crate::keyring::MasterKeyRow| serde_json::json!({ "alias": row.alias, "version": row.version, "id": row.id });
    let done = match command {
        Command::ListKeys => report(&life::list(store).await?),
        Command::DescribeKey { name } => report(&life::describe(store, &name).await?),
        Command::CreateKey { alias } => rotated(life::create(store, &alias).await?),
        Command::RotateKey { alias } => rotated(life::rotate(store, &alias).await?),
        Command::SetRotation { alias, days } => {
            life::set_rotation(store, &alias, days.map(NonZeroU32::get)).await?;
            serde_json::json!({ "alias": alias, "rotation_days": days })
        }
        Command::AdoptKey { name } => rotated(life::adopt(store, &name).await?),
        Command::DisableKey { name } => rotated(life::disable(store, &name).await?),
        Command::EnableKey { name } => rotated(life::enable(store, &name).await?),
        Command::ScheduleDestruction { name, days } => rotated(life::schedule_destruction(store, &name, days).await?),
        Command::CancelDestruction { name } => rotated(life::cancel_destruction(store, &name).await?),
        Command::DestroyKey { name } => rotated(life::destroy(store, &name).await?),
        Command::Rewrap { alias, options } => report(&life::rewrap(store, &alias, options, on_progress).await?),
        Command::VerifyKeys { options } => report(&life::verify(store, options, on_progress).await?),
        Command::Impact { name } => report(&life::impact(store, &name, on_progress).await?),
        Command::CacheStatus => report(&store.keys.cache_status()),
        Command::BackUpKeyring { to } => {
            life::back_up(store, &to).await?;
            serde_json::json!({ "backup": to })
        }
        Command::SetBucketPlaintext { bucket, plaintext } => {
            ops::bucket::set_plaintext(store, &bucket, plaintext).await?;
            serde_json::json!({ "bucket": bucket, "encryption": if plaintext { "none" } else { "AES256" } })
        }
        Command::Users(command) => users::perform(store, command, roles).await?,
        Command::Invalidate { bucket, key } => report(&life::invalidate(store, &bucket, key.as_deref()).await?),
    };
    Ok(done)
}

/// Reports hold nothing that JSON cannot say.
fn report(what: &impl Serialize) -> Value {
    serde_json::to_value(what).unwrap_or(Value::Null)
}

/// Does a command on behalf of somebody, and leaves the event, for which there is a place before anything is done. One that
/// goes over all keys ends when `stop` comes.
pub(crate) async fn perform_for(
    store: &Arc<Store>,
    administrator: Administrator,
    command: Command,
    on_progress: OnProgress<'_>,
    stop: impl Future<Output = ()>,
) -> Result<Value, CommandError> {
    let roles = administrator.roles;
    let who = administrator.who.clone();
    let work = async {
        let event = Administration { role: roles.to_string(), command: command.clone() };
        let pending = store.audit.begin(event).await?;
        let outcome = match administrator.check(&command) {
            Ok(()) => {
                let may_stop = command.goes_over_all_keys();
                tokio::select! {
                    outcome = perform(store, command, roles, on_progress) => outcome,
                    () = stop, if may_stop => Err(CommandError::Stopped),
                }
            }
            Err(error) => Err(error),
        };
        pending.end(outcome.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned()));
        outcome
    };
    on_behalf_of(who, work).await
}
