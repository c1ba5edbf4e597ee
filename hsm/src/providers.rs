//! Several providers of master keys at once, each alias naming its own.
//!
//! What stands above sees one provider. A new kind is one file with a [`ProviderKind`] and one line in [`KINDS`].

use crate::error::KeyError;
use crate::provider::{
    Alias, CreatedKey, Health, Holdings, KnownKey, MasterKeyAdmin, MasterKeyId, MasterKeys, TokenKey, Version,
};
use crate::worker::WorkerCommand;
use crate::wrapped::WrappedKey;
use crate::{keyfile, worker};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use strongroom_engine::{ContextDigest, DataKey};

/// Every kind of provider.
const KINDS: &[ProviderKind] = &[worker::KIND, keyfile::KIND];

/// One kind of provider, and what a configuration may say of it.
pub struct ProviderKind {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Options that are paths.
    pub paths: &'static [&'static str],
    /// Every other option. One that ends in a dot stands for all that begin so.
    pub others: &'static [&'static str],
    pub(crate) start: StartFn,
}

impl ProviderKind {
    /// The kind of this name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The names of all.
    pub fn names() -> Vec<&'static str> {
        KINDS.iter().map(|kind| kind.name).collect()
    }

    /// Whether it has an option of this name.
    pub fn knows(&self, option: &str) -> bool {
        let is = |known: &&str| if known.ends_with('.') { option.starts_with(*known) } else { option == *known };
        self.paths.contains(&option) || self.others.iter().any(is)
    }
}

/// Makes a provider of its settings.
pub(crate) type StartFn = fn(&ProviderSettings, &Start) -> Result<Arc<dyn MasterKeyAdmin>, KeyError>;

/// One provider, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// For logs and status.
    pub name: String,
    /// `pkcs11` or `keyfile`.
    pub kind: String,
    /// Whose master keys lie there. No other provider may have one of them. None named: all that no other names.
    pub aliases: Vec<Alias>,
    /// What the kind asks for; see docs/hsm.md. One that it does not know is refused.
    pub options: BTreeMap<String, String>,
}

impl ProviderSettings {
    /// Whether the master keys of `alias` lie there, among `all` that are configured.
    pub fn takes(&self, alias: &Alias, all: &[Self]) -> bool {
        if self.aliases.is_empty() {
            !all.iter().any(|other| other.aliases.contains(alias))
        } else {
            self.aliases.contains(alias)
        }
    }
}

/// What every provider starts with.
pub(crate) struct Start {
    pub(crate) worker: WorkerCommand,
    pub(crate) known: Vec<KnownKey>,
}

/// One provider that stands for several.
pub struct Providers {
    all: Vec<(String, Arc<dyn MasterKeyAdmin>)>,
    by_alias: HashMap<Alias, usize>,
    /// Has every alias that is not named.
    rest: Option<usize>,
    /// Whose alias a known key has.
    by_id: RwLock<HashMap<MasterKeyId, usize>>,
}

impl Providers {
    /// Starts each. Returns at once, also while an HSM is away; a keyfile takes some tenths of a second.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for an unknown kind or option, an alias with two providers, or two without aliases.
    pub fn start(settings: &[ProviderSettings], worker: &WorkerCommand, known: &[KnownKey]) -> Result<Self, KeyError> {
        let mut started = Vec::new();
        for one in settings {
            let kind = ProviderKind::by_name(&one.kind).ok_or_else(|| {
                let (name, kind, kinds) = (&one.name, &one.kind, ProviderKind::names().join(", "));
                KeyError::Misconfigured(format!("provider {name} is of kind {kind}: there are {kinds}"))
            })?;
            let own = known.iter().filter(|key| one.takes(&key.alias, settings)).cloned().collect();
            let provider = (kind.start)(one, &Start { worker: worker.clone(), known: own })?;
            started.push((one.name.clone(), one.aliases.clone(), provider));
        }
        let providers = Self::of(started)?;
        providers.note(known);
        Ok(providers)
    }

    /// Of providers that run already: name, aliases, provider.
    ///
    /// # Errors
    /// [`KeyError::Misconfigured`] for an alias with two providers, or two without aliases.
    pub fn of(providers: Vec<(String, Vec<Alias>, Arc<dyn MasterKeyAdmin>)>) -> Result<Self, KeyError> {
        let mut by_alias: HashMap<Alias, usize> = HashMap::new();
        let mut rest: Option<usize> = None;
        let mut all: Vec<(String, Arc<dyn MasterKeyAdmin>)> = Vec::new();
        for (index, (name, aliases, provider)) in providers.into_iter().enumerate() {
            if aliases.is_empty()
                && let Some((other, _)) = rest.replace(index).and_then(|other| all.get(other))
            {
                return Err(KeyError::Misconfigured(format!("{other} and {name} both name no aliases: name them")));
            }
            for alias in aliases {
                if let Some(other) = by_alias.insert(alias.clone(), index).and_then(|other| all.get(other)) {
                    let other = &other.0;
                    return Err(KeyError::Misconfigured(format!(
                        "alias {alias} has two providers, {other} and {name}"
                    )));
                }
            }
            all.push((name, provider));
        }
        Ok(Self { all, by_alias, rest, by_id: RwLock::default() })
    }

    /// Name and health of each, for status pages.
    pub async fn healths(&self) -> Vec<(String, Health)> {
        let mut healths = Vec::new();
        for (name, provider) in &self.all {
            healths.push((name.clone(), provider.health().await));
        }
        healths
    }

    fn note(&self, known: &[KnownKey]) {
        let mut by_id = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        for key in known {
            if let Some(index) = self.index_of(&key.alias) {
                by_id.insert(key.id, index);
            }
        }
    }

    fn index_of(&self, alias: &Alias) -> Option<usize> {
        self.by_alias.get(alias).copied().or(self.rest)
    }

    fn of_alias(&self, alias: &Alias) -> Result<&Arc<dyn MasterKeyAdmin>, KeyError> {
        let index = self.index_of(alias).and_then(|index| self.all.get(index));
        index.map(|(_, provider)| provider).ok_or_else(|| KeyError::NoSuchAlias { alias: alias.clone() })
    }

    fn of_id(&self, id: &MasterKeyId) -> Result<&Arc<dyn MasterKeyAdmin>, KeyError> {
        let index = self.by_id.read().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        let provider = index.and_then(|index| self.all.get(index));
        provider.map(|(_, provider)| provider).ok_or(KeyError::UnknownMasterKey { id: *id })
    }
}

#[async_trait]
impl MasterKeys for Providers {
    async fn wrap(&self, alias: &Alias, key: &DataKey, context: &ContextDigest) -> Result<WrappedKey, KeyError> {
        self.of_alias(alias)?.wrap(alias, key, context).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &ContextDigest) -> Result<DataKey, KeyError> {
        self.of_id(&wrapped.master)?.unwrap(wrapped, context).await
    }

    async fn rewrap(
        &self,
        alias: &Alias,
        wrapped: &WrappedKey,
        context: &ContextDigest,
    ) -> Result<WrappedKey, KeyError> {
        let (from, to) = (self.of_id(&wrapped.master)?, self.of_alias(alias)?);
        if Arc::ptr_eq(from, to) {
            return to.rewrap(alias, wrapped, context).await;
        }
        to.wrap(alias, &from.unwrap(wrapped, context).await?, context).await
    }

    /// Ready if all are.
    async fn health(&self) -> Health {
        let mut reasons = Vec::new();
        for (name, health) in self.healths().await {
            if let Health::Degraded { reason } = health {
                reasons.push(format!("{name}: {reason}"));
            }
        }
        if reasons.is_empty() { Health::Ready } else { Health::Degraded { reason: reasons.join("; ") } }
    }

    fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)> {
        self.of_alias(alias).ok()?.current(alias)
    }

    fn name_of(&self, id: &MasterKeyId) -> Option<(Alias, Version)> {
        self.of_id(id).ok()?.name_of(id)
    }
}

#[async_trait]
impl MasterKeyAdmin for Providers {
    async fn create_master_key(&self, alias: &Alias, version: Version) -> Result<CreatedKey, KeyError> {
        self.of_alias(alias)?.create_master_key(alias, version).await
    }

    /// Each provider hears of its own aliases. Keys of an alias that has none are not to be reached, and said so.
    fn register(&self, known: Vec<KnownKey>) {
        self.note(&known);
        let mut shares: Vec<Vec<KnownKey>> = self.all.iter().map(|_| Vec::new()).collect();
        for key in known {
            match self.index_of(&key.alias).and_then(|index| shares.get_mut(index)) {
                Some(share) => share.push(key),
                None => tracing::error!(alias = %key.alias, "no provider is configured for an alias of the keyring"),
            }
        }
        for ((_, provider), share) in self.all.iter().zip(shares).filter(|(_, share)| !share.is_empty()) {
            provider.register(share);
        }
    }

    fn forget(&self, id: &MasterKeyId) {
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.all.iter().for_each(|(_, provider)| provider.forget(id));
    }

    async fn list_master_keys(&self) -> Result<Vec<TokenKey>, KeyError> {
        let mut keys = Vec::new();
        for (_, provider) in &self.all {
            keys.extend(provider.list_master_keys().await?);
        }
        Ok(keys)
    }

    async fn holdings(&self) -> Holdings {
        let mut all = Holdings::default();
        for (name, provider) in &self.all {
            let own = provider.holdings().await;
            all.keys.extend(own.keys);
            all.missing.extend(own.missing.into_iter().map(|why| format!("{name}: {why}")));
        }
        all
    }

    async fn list_versions(&self, alias: &Alias) -> Result<Vec<TokenKey>, KeyError> {
        self.of_alias(alias)?.list_versions(alias).await
    }

    /// Asks each, since the keyring does not know the key yet; that another is away does not matter where one has it.
    async fn adopt_master_key(&self, id: &MasterKeyId) -> Result<CreatedKey, KeyError> {
        let mut failure = KeyError::UnknownMasterKey { id: *id };
        for (_, provider) in &self.all {
            match provider.adopt_master_key(id).await {
                Ok(adopted) => return Ok(adopted),
                Err(KeyError::UnknownMasterKey { .. }) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn retire_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        self.of_id(id)?.retire_master_key(id).await
    }

    async fn reinstate_master_key(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        self.of_id(id)?.reinstate_master_key(id).await
    }

    async fn destroy_master_key(&self, alias: &Alias, version: Version, id: &MasterKeyId) -> Result<(), KeyError> {
        self.of_alias(alias)?.destroy_master_key(alias, version, id).await
    }

    fn serial_of(&self, alias: &Alias) -> Option<String> {
        self.of_alias(alias).ok()?.serial_of(alias)
    }

    fn provider_of(&self, alias: &Alias) -> Option<String> {
        self.index_of(alias).and_then(|index| self.all.get(index)).map(|(name, _)| name.clone())
    }
}

/// The options of one provider, taken one by one; what is left at the end nobody knows.
pub(crate) struct Options<'a> {
    provider: &'a str,
    left: BTreeMap<&'a str, &'a str>,
}

impl<'a> Options<'a> {
    pub(crate) fn of(settings: &'a ProviderSettings) -> Self {
        let left = settings.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { provider: &settings.name, left }
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        self.left.remove(name)
    }

    pub(crate) fn path(&mut self, name: &str) -> Result<PathBuf, KeyError> {
        let value = self.text(name);
        value.map(PathBuf::from).ok_or_else(|| self.wrong(&format!("needs the option {name}")))
    }

    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, KeyError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| self.wrong(&format!("has {value:?} for the option {name}")))
    }

    /// False where it is not told.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, KeyError> {
        Ok(self.parsed(name)?.unwrap_or(false))
    }

    /// Those that begin so, with the rest of their names.
    pub(crate) fn beginning(&mut self, prefix: &str) -> Vec<(String, String)> {
        let names: Vec<&str> = self.left.keys().copied().filter(|name| name.starts_with(prefix)).collect();
        let pair = |name: &str| Some((name.strip_prefix(prefix)?.to_owned(), self.left.remove(name)?.to_owned()));
        names.into_iter().filter_map(pair).collect()
    }

    pub(crate) fn wrong(&self, what: &str) -> KeyError {
        KeyError::Misconfigured(format!("provider {} {what}", self.provider))
    }

    pub(crate) fn end(self) -> Result<(), KeyError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.wrong(&format!("knows no option {name}"))),
        }
    }
}
