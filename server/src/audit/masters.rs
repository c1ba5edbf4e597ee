//! Master keys whose every use leaves an event: the only way to them for everything that wraps or unwraps.

use std::sync::Arc;

use strongroom_engine::{ContextDigest, DataKey, KeyId, Kind};
use strongroom_hsm::{Alias, KeyError, MasterKeys, WrappedKey};

use super::{AuditError, AuditLog, KeyUse, Operation};

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

/// Why a master key was not used, or to no end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UseError {
    /// As the HSM says.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It was not asked, since nobody would have heard of it.
    #[error(transparent)]
    Audit(#[from] AuditError),
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
    /// The provider's; [`UseError::Audit`] if the audit log cannot be written.
    pub async fn wrap(
        &self,
        alias: &Alias,
        key: &DataKey,
        context: &ContextDigest,
        (kind, id): (Kind, KeyId),
        subject: Subject<'_>,
    ) -> Result<WrappedKey, UseError> {
        let mut event = KeyUse::new(Operation::Wrap, kind, id, subject);
        event.alias = Some(alias.clone());
        let pending = self.log.begin(event).await?;
        let outcome = self.masters.wrap(alias, key, context).await;
        pending.end_use(result(&outcome), |event| self.tell_wrapped(event, alias, outcome.as_ref().ok()));
        Ok(outcome?)
    }

    /// [`MasterKeys::unwrap`], of the wrapped key `id`, which is a `kind`.
    ///
    /// # Errors
    /// The provider's; [`UseError::Audit`] if the audit log cannot be written.
    pub async fn unwrap(
        &self,
        wrapped: &WrappedKey,
        context: &ContextDigest,
        (kind, id): (Kind, KeyId),
        subject: Subject<'_>,
    ) -> Result<DataKey, UseError> {
        let mut event = KeyUse::new(Operation::Unwrap, kind, id, subject);
        event.master_key = Some(wrapped.master);
        event.rung = Some(wrapped.rung);
        let pending = self.log.begin(event).await?;
        let outcome = self.masters.unwrap(wrapped, context).await;
        pending.end_use(result(&outcome), |event| {
            (event.alias, event.version) = self.masters.name_of(&wrapped.master).unzip();
        });
        Ok(outcome?)
    }

    /// [`MasterKeys::rewrap`], of the wrapped key `id`, which is a `kind`: two uses, two events.
    ///
    /// # Errors
    /// The provider's; [`UseError::Audit`] if the audit log cannot be written.
    pub async fn rewrap(
        &self,
        alias: &Alias,
        wrapped: &WrappedKey,
        context: &ContextDigest,
        (kind, id): (Kind, KeyId),
        subject: Subject<'_>,
    ) -> Result<WrappedKey, UseError> {
        let mut unwrap = KeyUse::new(Operation::Unwrap, kind, id, subject);
        unwrap.master_key = Some(wrapped.master);
        unwrap.rung = Some(wrapped.rung);
        let mut wrap = KeyUse::new(Operation::Wrap, kind, id, subject);
        wrap.alias = Some(alias.clone());
        let (unwrap, wrap) = (self.log.begin(unwrap).await?, self.log.begin(wrap).await?);
        let outcome = self.masters.rewrap(alias, wrapped, context).await;
        unwrap.end_use(result(&outcome), |event| {
            (event.alias, event.version) = self.masters.name_of(&wrapped.master).unzip();
        });
        wrap.end_use(result(&outcome), |event| self.tell_wrapped(event, alias, outcome.as_ref().ok()));
        Ok(outcome?)
    }

    /// Under which version a key was wrapped; of one that failed, under which it would have been.
    fn tell_wrapped(&self, event: &mut KeyUse, alias: &Alias, wrapped: Option<&WrappedKey>) {
        let master = wrapped.map(|wrapped| wrapped.master).or_else(|| Some(self.masters.current(alias)?.0));
        event.version = master.and_then(|id| self.masters.name_of(&id)).map(|(_, version)| version);
        event.master_key = master;
        event.rung = wrapped.map(|wrapped| wrapped.rung);
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
