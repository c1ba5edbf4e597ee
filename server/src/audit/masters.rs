//! Master keys whose every use leaves an event: the only way to them for everything that wraps or unwraps.

use std::sync::Arc;

use strongroom_engine::{ContextDigest, DataKey, KeyId, Kind};
use strongroom_hsm::{Alias, KeyError, MasterKeys, WrappedKey};

use super::{AuditLog, KeyUse, Operation};

/// What a key is for, in words that people know.
#[derive(Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Name of the bucket.
    pub bucket: Option<&'a str>,
    /// Key of the object, or path of the file.
    pub object: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// A bucket itself.
    pub fn bucket(name: &'a str) -> Self {
        Self { bucket: Some(name), object: None }
    }

    /// An object.
    pub fn object(bucket: &'a str, key: &'a str) -> Self {
        Self { bucket: Some(bucket), object: Some(key) }
    }
}

/// Master keys, audited.
#[derive(Clone)]
pub struct AuditedMasters {
    masters: Arc<dyn MasterKeys>,
    log: AuditLog,
}

impl AuditedMasters {
    /// Uses of `masters` leave their events in `log`.
    pub fn new(masters: Arc<dyn MasterKeys>, log: AuditLog) -> Self {
        Self { masters, log }
    }

    /// [`MasterKeys::wrap`], for the wrapped key `id`, which is a `kind`.
    ///
    /// # Errors
    /// The provider's; [`KeyError::Away`] if the audit log cannot be written.
    pub async fn wrap(
        &self,
        alias: &Alias,
        key: &DataKey,
        context: &ContextDigest,
        (kind, id): (Kind, KeyId),
        subject: Subject<'_>,
    ) -> Result<WrappedKey, KeyError> {
        let mut event = KeyUse::new(Operation::Wrap, kind, id, subject);
        event.alias = Some(alias.clone());
        let pending = self.log.begin(event).await?;
        let outcome = self.masters.wrap(alias, key, context).await;
        let used = outcome.as_ref().ok().map(|wrapped| (wrapped.master, wrapped.rung));
        // One that failed says which version would have been used.
        let master = used.map(|(master, _)| master).or_else(|| Some(self.masters.current(alias)?.0));
        pending.end(result(&outcome), |event| {
            event.version = master.and_then(|id| self.masters.name_of(&id)).map(|(_, version)| version);
            event.master_key = master;
            event.rung = used.map(|(_, rung)| rung);
        });
        outcome
    }

    /// [`MasterKeys::unwrap`], of the wrapped key `id`, which is a `kind`.
    ///
    /// # Errors
    /// The provider's; [`KeyError::Away`] if the audit log cannot be written.
    pub async fn unwrap(
        &self,
        wrapped: &WrappedKey,
        context: &ContextDigest,
        (kind, id): (Kind, KeyId),
        subject: Subject<'_>,
    ) -> Result<DataKey, KeyError> {
        let mut event = KeyUse::new(Operation::Unwrap, kind, id, subject);
        event.master_key = Some(wrapped.master);
        event.rung = Some(wrapped.rung);
        let pending = self.log.begin(event).await?;
        let outcome = self.masters.unwrap(wrapped, context).await;
        pending.end(result(&outcome), |event| {
            (event.alias, event.version) = self.masters.name_of(&wrapped.master).unzip();
        });
        outcome
    }

    /// Where the events go.
    pub fn log(&self) -> &AuditLog {
        &self.log
    }
}

fn result<T>(outcome: &Result<T, KeyError>) -> String {
    match outcome {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string(),
    }
}
