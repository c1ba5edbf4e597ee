//! What stands in a line of the audit log. Its fields are documented in docs/audit.md; scripts rest on their names.

use serde::Serialize;
use strongroom_engine::{KeyId, Kind};
use strongroom_hsm::{Alias, MasterKeyId, Rung, Version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Subject;
use super::who::Who;
use crate::admin::Command;

/// What a master key did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Wrapped a key, and unwrapped it again to compare.
    Wrap,
    /// Unwrapped a key.
    Unwrap,
}

/// One use of a master key.
#[derive(Serialize)]
pub struct KeyUse {
    operation: Operation,
    key_kind: &'static str,
    key_id: String,
    /// As far as this node knows the master key.
    pub(super) alias: Option<Alias>,
    pub(super) version: Option<Version>,
    pub(super) master_key: Option<MasterKeyId>,
    pub(super) rung: Option<Rung>,
    bucket: Option<String>,
    object: Option<String>,
}

impl KeyUse {
    /// Of the wrapped key `key_id`, which is a `kind`.
    pub fn new(operation: Operation, kind: Kind, key_id: KeyId, subject: Subject<'_>) -> Self {
        Self {
            operation,
            key_kind: kind_name(kind),
            key_id: key_id.to_string(),
            alias: None,
            version: None,
            master_key: None,
            rung: None,
            bucket: subject.bucket.map(str::to_owned),
            object: subject.object.map(str::to_owned),
        }
    }
}

/// A command of an administrator.
#[derive(Serialize)]
pub struct Administration {
    /// What whoever gave it administers.
    pub role: String,
    /// As it was given; no command holds a secret.
    pub command: Command,
}

/// A process began that may use master keys.
#[derive(Serialize)]
pub(crate) struct Start {
    /// Name and version.
    pub(super) program: &'static str,
}

/// The kinds of event.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub(crate) enum Event {
    KeyUse(KeyUse),
    Administration(Administration),
    Start(Start),
}

impl From<KeyUse> for Event {
    fn from(event: KeyUse) -> Self {
        Self::KeyUse(event)
    }
}

impl From<Administration> for Event {
    fn from(event: Administration) -> Self {
        Self::Administration(event)
    }
}

impl From<Start> for Event {
    fn from(event: Start) -> Self {
        Self::Start(event)
    }
}

/// One line: an event, when, on whose behalf, and what became of it.
#[derive(Serialize)]
pub(super) struct Line {
    time: String,
    #[serde(serialize_with = "as_text")]
    who: Who,
    #[serde(flatten)]
    event: Event,
    pub(super) result: String,
}

impl Line {
    pub(super) fn of(event: impl Into<Event>) -> Self {
        Self {
            // RFC 3339 takes every year until 9999.
            time: OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default(),
            who: Who::current(),
            event: event.into(),
            result: "unknown: the caller went away".to_owned(),
        }
    }

    /// Of the process that opens the log.
    pub(super) fn of_start() -> Self {
        let who = Who::uid(rustix::process::geteuid().as_raw());
        let program = concat!("strongroom ", env!("CARGO_PKG_VERSION"));
        Self { who, result: "done".to_owned(), ..Self::of(Start { program }) }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut KeyUse)) {
        if let Event::KeyUse(event) = &mut self.event {
            change(event);
        }
    }
}

fn as_text<S: serde::Serializer>(who: &Who, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(who.as_str())
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::DataKey => "data",
        Kind::BucketKey => "bucket",
        Kind::CatalogKey => "catalog",
        Kind::StoreKey => "store",
        _ => "other",
    }
}
