//! From settings to an open store: locks the folder, finds or founds what belongs to it, and opens it.
//!
//! A first start goes token, access key written down, master key, keyring, catalog, access key in the catalog, and its
//! file gets its name. Each step is durable before the next, and each is skipped where it was done: a start that was
//! killed anywhere goes on. Nothing is made because something else is missing: a token only where there is neither token
//! nor keyring nor catalog, neither database where the other is there and the first start was complete.

mod masters;
mod presence;
mod serials;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_hsm::{Alias, KeyError, ModuleConfig, ProviderSettings, Version};

use crate::audit::{AuditError, AuditLog, AuditedMasters};
use crate::blob::FolderStore;
use crate::catalog::{Catalog, SqliteCatalog};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Places, ServeConfig};
use crate::credentials::{AccessKey, CredentialsFile};
use crate::error::{BlobError, CatalogError, KeyringError, OpError};
use crate::keyring::{Keyring, KeyringAdmin as _, MasterKeyRow, SqliteKeyring};
use crate::life::MasterKeyName;
use crate::store::{Store, StoreParts};
use masters::{Found, Masters};
use presence::Presence;
use serials::Serials;

pub(crate) use masters::{NOT_TOLD, worker_command};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Stop the other one, or name another folder.
    #[error("another strongroom has {0} open: stop it, or give --data another folder")]
    Locked(PathBuf),
    /// Correct permissions or disk.
    #[error("cannot {what} {path}: {source}")]
    Folder {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Correct the path, or found a store on purpose.
    #[error("there is no store at {0}: correct the paths, or found one with --init")]
    NoStore(PathBuf),
    /// Restore it from a backup.
    #[error("the keyring {keyring} is gone or empty while the catalog {catalog} is there: restore it from a backup")]
    KeyringGone {
        /// Where it should be.
        keyring: PathBuf,
        /// What is there.
        catalog: PathBuf,
    },
    /// Restore it from a backup.
    #[error("the catalog {catalog} is gone or empty while the keyring {keyring} is there: restore it from a backup")]
    CatalogGone {
        /// Where it should be.
        catalog: PathBuf,
        /// What is there.
        keyring: PathBuf,
    },
    /// Restore both, or take what is left of the old store away.
    #[error("catalog and keyring are gone from a store that has lived in {0}: restore both from a backup")]
    BothGone(PathBuf),
    /// As the HSM says.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Make room for the audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// As the catalog says.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// As the keyring says.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// As the blob store says.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// As the store says.
    #[error(transparent)]
    Store(#[from] OpError),
}

/// A store that is open, and locked for as long as this lives.
pub struct Opened {
    /// The store.
    pub store: Arc<Store>,
    /// Where its owner finds the first access key.
    pub credentials: CredentialsFile,
    _presence: Presence,
    _lock: File,
}

/// Opens the store that the settings name, or founds it where that may be.
///
/// # Errors
/// [`StartError`], in one line that says what to do. An HSM that is away is no error: requests say so until it is back.
pub async fn open(config: &ServeConfig) -> Result<Opened, StartError> {
    let places = &config.places;
    make_folders(places)?;
    let lock = lock(&places.data)?;
    let credentials = CredentialsFile::in_folder(&places.data);
    let existing = Existing::look(places, &credentials).await?;
    let is_first_start = existing.check(config)?;
    let audit = open_audit_log(config)?;
    if !existing.catalog {
        // Nothing is made on a token that nobody would hear of.
        audit.check()?;
    }
    let found = masters::find(config, is_first_start)?;
    if is_first_start && !existing.pending_key {
        let key = AccessKey::generate().map_err(OpError::from)?;
        credentials.write_pending(&key).map_err(folder("write to", &places.data))?;
    }
    let keyring = SqliteKeyring::open(&places.keyring)?;
    let masters = Masters::start(found, &masters::known(&keyring).await?)?;
    let parts = StoreParts {
        catalog: Arc::new(SqliteCatalog::open(&places.catalog)?),
        keyring: Arc::new(keyring),
        blobs: Arc::new(FolderStore::open(places.blobs.clone())?),
        masters: masters.keys,
        force_token: masters.force_token,
        audit,
        clock: Arc::new(SystemClock),
        new_buckets_take_sse_c: config.use_of_keys.new_buckets_take_sse_c,
        owner_uses_keys: config.administrators.one_administrator,
    };
    if !existing.catalog {
        let master = match parts.keyring.master_keys().await?.into_iter().next() {
            Some(made_before) => made_before,
            None => first_master_key(&parts).await?,
        };
        Serials::remember(&places.keyring, &master.alias, parts.masters.serial_of(&master.alias))?;
        Store::found(&parts, master).await?;
    }
    let (presence, ended) = Presence::enter(&places.catalog, parts.catalog.as_ref()).await?;
    let store = Store::open(parts, config.use_of_keys.cache, ended).await?;
    store.run_beside(serials::keep(Arc::downgrade(&store), places.keyring.clone()));
    add_pending_key(&store, &credentials).await?;
    Ok(Opened { store, credentials, _presence: presence, _lock: lock })
}

/// The master keys of the store that the settings name, for a command that needs nothing else of it: a server may have
/// the store open meanwhile. Founds the store where there is none and that may be.
///
/// # Errors
/// As for [`open`].
pub async fn open_masters(config: &ServeConfig) -> Result<AuditedMasters, StartError> {
    let path = &config.places.keyring;
    if !(exists(path)? && SqliteKeyring::open(path)?.identity().await?.is_some()) {
        if !config.may_found {
            return Err(StartError::NoStore(config.places.data.clone()));
        }
        open(config).await?.store.close().await?;
    }
    let known = masters::known(&SqliteKeyring::open(path)?).await?;
    let masters = Masters::start(masters::find(config, false)?, &known)?.keys;
    Ok(AuditedMasters::new(masters, open_audit_log(config)?))
}

/// Versions under which the keyring has keys and which the HSM does not hold, for a command that opens no store.
///
/// # Errors
/// The keyring's; [`StartError::Key`] where the HSM is not told or away.
pub async fn versions_not_held(config: &ServeConfig) -> Result<Vec<MasterKeyName>, StartError> {
    let keyring = SqliteKeyring::open(&config.places.keyring)?;
    // Told of none: an HSM that holds none of those it is told of is taken for one that is away.
    let masters = Masters::start(masters::find(config, false)?, &[])?.keys;
    let tally = keyring.tally().await?;
    let mut not_held = Vec::new();
    for row in keyring.master_keys().await? {
        let is_used = tally.iter().any(|tally| tally.parent == row.id && tally.count > 0);
        if is_used && masters.list_versions(&row.alias).await?.iter().all(|key| key.id != row.id) {
            not_held.push(MasterKeyName { alias: row.alias, version: Some(row.version) });
        }
    }
    Ok(not_held)
}

/// The token of a provider, to look at it: the one that `name` says, or the only one.
///
/// # Errors
/// [`StartError::Key`] if there is none, or several.
pub fn module_config(config: &ServeConfig, name: Option<&str>) -> Result<ModuleConfig, StartError> {
    let all = match masters::find(config, false)? {
        Found::Providers(all) => all,
        Found::Dev(_, settings) => vec![settings],
        Found::Gone(reason) => return Err(KeyError::Misconfigured(reason).into()),
    };
    let is_meant = |one: &&ProviderSettings| name.is_none_or(|name| one.name == name);
    let is_token = |one: &&ProviderSettings| name.is_some() || one.kind == "pkcs11";
    let meant: Vec<&ProviderSettings> = all.iter().filter(is_meant).filter(is_token).collect();
    let names = || all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    match meant.as_slice() {
        [only] => Ok(ModuleConfig::of(only)?),
        [] => {
            let why = match name {
                Some(name) => format!("no provider has the name {name}: there are {}", names()),
                None => format!("no HSM is configured: the master keys lie in files ({})", names()),
            };
            Err(KeyError::Misconfigured(why).into())
        }
        _ => Err(KeyError::Misconfigured(format!("which HSM? give --provider: there are {}", names())).into()),
    }
}

fn open_audit_log(config: &ServeConfig) -> Result<AuditLog, StartError> {
    let path = config.use_of_keys.audit_log.clone().unwrap_or_else(|| config.places.data.join("audit.log"));
    AuditLog::open(&path).map_err(folder("write to", &path))
}

fn folder(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Folder { what, path, source }
}

/// The data folder, and the folders that hold what lies elsewhere.
fn make_folders(places: &Places) -> Result<(), StartError> {
    let parents = [places.blobs.parent(), places.catalog.parent(), places.keyring.parent()].into_iter().flatten();
    for path in [places.data.as_path(), &places.token_parent].into_iter().chain(parents) {
        if !path.as_os_str().is_empty() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(folder("make", path))?;
        }
    }
    Ok(())
}

/// Locks a data folder, so that no server and no other command opens the store in it, until the file is dropped.
///
/// # Errors
/// [`StartError::Locked`].
pub fn lock(data: &Path) -> Result<File, StartError> {
    let path = data.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(folder("write to", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(folder("lock", &path)(error)),
    }
}

/// What earlier starts have left. A database that was made and not filled is none.
struct Existing {
    keyring: bool,
    catalog: bool,
    /// Written down before a keyring is founded, gone when the first start is complete.
    pending_key: bool,
    /// Credentials or blobs: a first start was complete here once.
    has_lived: bool,
}

impl Existing {
    async fn look(places: &Places, credentials: &CredentialsFile) -> Result<Self, StartError> {
        let pending_key = credentials.pending().map_err(folder("read", &places.data))?.is_some();
        let keyring = exists(&places.keyring)? && SqliteKeyring::open(&places.keyring)?.identity().await?.is_some();
        let catalog = exists(&places.catalog)? && SqliteCatalog::open(&places.catalog)?.store().await?.is_some();
        let has_lived = exists(&credentials.path())? || holds_something(&places.blobs)?;
        Ok(Self { keyring, catalog, pending_key, has_lived })
    }

    /// Whether this is a first start, from its beginning; refuses where something is lost.
    fn check(&self, config: &ServeConfig) -> Result<bool, StartError> {
        let places = &config.places;
        let (keyring, catalog) = (places.keyring.clone(), places.catalog.clone());
        match (self.keyring, self.catalog) {
            (true, true) => Ok(false),
            (true, false) if self.pending_key => Ok(false),
            (true, false) => Err(StartError::CatalogGone { catalog, keyring }),
            (false, true) => Err(StartError::KeyringGone { keyring, catalog }),
            (false, false) if self.has_lived => Err(StartError::BothGone(places.data.clone())),
            (false, false) if config.may_found => Ok(true),
            (false, false) => Err(StartError::NoStore(places.data.clone())),
        }
    }
}

fn holds_something(path: &Path) -> Result<bool, StartError> {
    match std::fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(folder("read", path)(error)),
    }
}

fn exists(path: &Path) -> Result<bool, StartError> {
    path.try_exists().map_err(folder("read", path))
}

/// Made on the token, durable there, and known to the provider before anything is wrapped under it.
async fn first_master_key(parts: &StoreParts) -> Result<MasterKeyRow, StartError> {
    let alias = Alias::default_alias();
    if !parts.masters.list_versions(&alias).await?.is_empty() {
        tracing::warn!(%alias, "the token holds master keys of this alias already: another store's, or what a start that \
                                failed has left; this store makes its own and leaves them alone");
    }
    let created = parts.masters.create_master_key(&alias, Version(1)).await?;
    (parts.force_token)()?;
    let known = created.into_known(true);
    parts.masters.register(vec![known.clone()]);
    Ok(crate::life::row(known, SystemClock.now_ms()))
}

/// Finishes what a first start wrote down.
async fn add_pending_key(store: &Store, credentials: &CredentialsFile) -> Result<(), StartError> {
    let path = credentials.path();
    let Some(key) = credentials.pending().map_err(folder("read", &path))? else { return Ok(()) };
    match store.users.found(key).await {
        Ok(()) => {}
        Err(OpError::Unavailable(reason)) => {
            tracing::warn!(reason, "the first access key is added at the next start: the HSM is away");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    credentials.publish().map_err(folder("write", &path))
}
