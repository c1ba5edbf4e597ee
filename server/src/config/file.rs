//! The configuration file: TOML, every field known, or the line that is wrong.
//!
//! Holds paths and names, never a secret; still no message repeats a value, since a PIN in the wrong place is a PIN.
//! Paths are relative to the folder of the file. What the command line says comes before what stands here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use strongroom_hsm::{Alias, CacheLimits, ProviderKind, ProviderSettings};
use toml::{Spanned, Value};

use super::{AdministratorsConfig, LocalUser, Places};
use crate::http::{Proxy, TlsFiles};
use crate::key::KeyUseConfig;
use crate::log::Directives;

/// Why a configuration file is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Correct path or permissions.
    #[error("cannot read configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Correct the line.
    #[error("configuration {path}, line {line}: {what}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there, without its value.
        what: String,
    },
}

/// What a configuration file says.
#[derive(Debug, Default)]
pub struct ConfigFile {
    /// `host:port`.
    pub listen: Option<String>,
    /// What to log.
    pub log: Option<Directives>,
    /// The certificate.
    pub tls: Option<TlsFiles>,
    /// Proxies whose word on their clients is believed.
    pub trusted_proxies: Vec<Proxy>,
    /// Who administers.
    pub administrators: AdministratorsConfig,
    /// Where the master keys are.
    pub masters: Vec<ProviderSettings>,
    places: PlacesTable,
    key_cache: KeyCacheTable,
    new_buckets_take_sse_c: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    listen: Option<String>,
    log: Option<Spanned<String>>,
    #[serde(default, rename = "new-buckets-take-sse-c")]
    new_buckets_take_sse_c: bool,
    #[serde(default)]
    places: PlacesTable,
    #[serde(default, rename = "key-cache")]
    key_cache: KeyCacheTable,
    tls: Option<TlsTable>,
    #[serde(default, rename = "trusted-proxies")]
    trusted_proxies: Vec<Proxy>,
    #[serde(default)]
    administrators: AdministratorsTable,
    #[serde(default)]
    masters: Vec<Spanned<BTreeMap<String, Spanned<Value>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlacesTable {
    data: Option<PathBuf>,
    blobs: Option<PathBuf>,
    catalog: Option<PathBuf>,
    keyring: Option<PathBuf>,
    token: Option<PathBuf>,
    #[serde(rename = "audit-log")]
    audit_log: Option<PathBuf>,
    #[serde(rename = "admin-socket")]
    admin_socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct KeyCacheTable {
    entries: Option<usize>,
    seconds: Option<u64>,
    uses: Option<u64>,
    offline_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AdministratorsTable {
    keys: Option<Vec<LocalUser>>,
    data: Option<Vec<LocalUser>>,
    #[serde(default)]
    one_administrator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    cert: PathBuf,
    key: PathBuf,
}

impl ConfigFile {
    /// Reads it.
    ///
    /// # Errors
    /// [`ConfigError`], with the first line that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(failed)?;
        let text = std::fs::read_to_string(&absolute).map_err(failed)?;
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        Self::parse(&text, folder).map_err(|Wrong { at, what }| {
            let line = text.get(..at).unwrap_or(&text).matches('\n').count() + 1;
            ConfigError::Wrong { path: path.to_owned(), line, what }
        })
    }

    /// The folder that holds everything, if it is told.
    pub fn data(&self) -> Option<&Path> {
        self.places.data.as_deref()
    }

    /// Puts the places that are told into `places`.
    pub fn place(&self, places: &mut Places) {
        let PlacesTable { data: _, blobs, catalog, keyring, token, audit_log: _, admin_socket } = &self.places;
        let told = [
            (blobs, &mut places.blobs),
            (catalog, &mut places.catalog),
            (keyring, &mut places.keyring),
            (token, &mut places.token_parent),
            (admin_socket, &mut places.admin_socket),
        ];
        for (told, place) in told {
            if let Some(path) = told {
                place.clone_from(path);
            }
        }
    }

    /// How keys are used, as far as it is told.
    pub fn use_of_keys(&self) -> KeyUseConfig {
        let KeyCacheTable { entries, seconds, uses, offline_seconds } = self.key_cache;
        let usual = CacheLimits::default();
        let cache = CacheLimits {
            entries_max: entries.unwrap_or(usual.entries_max),
            lifetime: seconds.map_or(usual.lifetime, Duration::from_secs),
            uses_max: uses.unwrap_or(usual.uses_max),
            offline_lifetime: offline_seconds.map_or(usual.offline_lifetime, Duration::from_secs),
        };
        let audit_log = self.places.audit_log.clone();
        KeyUseConfig { audit_log, cache, new_buckets_take_sse_c: self.new_buckets_take_sse_c }
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, Wrong> {
        let document: Document = toml::from_str(text).map_err(|error| Wrong {
            at: error.span().map_or(0, |span| span.start),
            what: without_value(error.message()).replace('\n', " "),
        })?;
        let log = document.log.map(|log| {
            let at = log.span().start;
            log.into_inner().parse().map_err(|_| Wrong::new(at, "log is a level, or directives for parts"))
        });
        let mut places = document.places;
        let PlacesTable { data, blobs, catalog, keyring, token, audit_log, admin_socket } = &mut places;
        let paths = [data, blobs, catalog, keyring, token, audit_log, admin_socket];
        for path in paths.into_iter().flatten() {
            *path = folder.join(&*path);
        }
        let tls =
            document.tls.map(|TlsTable { cert, key }| TlsFiles { cert: folder.join(cert), key: folder.join(key) });
        let AdministratorsTable { keys, data, one_administrator } = document.administrators;
        let administrators = AdministratorsConfig { keys, data, one_administrator };
        let mut masters: Vec<ProviderSettings> = Vec::new();
        for table in document.masters {
            let at = table.span().start;
            let settings = provider(table.into_inner(), at, folder)?;
            if masters.iter().any(|other| other.name == settings.name) {
                return Err(Wrong::new(at, "two masters have this name"));
            }
            masters.push(settings);
        }
        let (listen, log, key_cache) = (document.listen, log.transpose()?, document.key_cache);
        let Document { new_buckets_take_sse_c, trusted_proxies, .. } = document;
        Ok(Self {
            listen,
            log,
            tls,
            trusted_proxies,
            administrators,
            masters,
            places,
            key_cache,
            new_buckets_take_sse_c,
        })
    }
}

/// Of a value of the wrong type, what was expected: the parser would repeat the value.
fn without_value(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if message.starts_with("invalid ") => format!("this is to be {expected}"),
        _ => message.to_owned(),
    }
}

/// Where in the text, and what.
struct Wrong {
    at: usize,
    what: String,
}

impl Wrong {
    fn new(at: usize, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

/// One of `[[masters]]`: `name`, `kind`, `aliases`, and the options of its kind.
fn provider(mut table: BTreeMap<String, Spanned<Value>>, at: usize, folder: &Path) -> Result<ProviderSettings, Wrong> {
    let mut text = |field: &str| match table.remove(field) {
        Some(value) => {
            let at = value.span().start;
            let is_text = |value: Value| value.as_str().map(str::to_owned);
            is_text(value.into_inner())
                .map(|text| (text, at))
                .ok_or_else(|| Wrong::new(at, format!("{field} is a text")))
        }
        None => Err(Wrong::new(at, format!("masters need a {field}"))),
    };
    let (name, name_at) = text("name")?;
    let (kind_name, kind_at) = text("kind")?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err(Wrong::new(name_at, "a name is of A-Z, a-z, 0-9, hyphen, underscore"));
    }
    let kind = ProviderKind::by_name(&kind_name)
        .ok_or_else(|| Wrong::new(kind_at, format!("unknown kind: there are {}", ProviderKind::names().join(", "))))?;
    let aliases = table.remove("aliases").map(aliases).transpose()?.unwrap_or_default();
    let mut options = BTreeMap::new();
    for (name, value) in table {
        let at = value.span().start;
        for (name, value) in leaves(name, value.into_inner()) {
            if !kind.knows(&name) {
                return Err(Wrong::new(at, format!("unknown field `{name}`: masters of kind {kind_name} have none")));
            }
            let text = as_text(value).ok_or_else(|| Wrong::new(at, format!("{name} is no text, number or flag")))?;
            let text = match kind.paths.contains(&name.as_str()) {
                true => folder.join(text).to_string_lossy().into_owned(),
                false => text,
            };
            options.insert(name, text);
        }
    }
    Ok(ProviderSettings { name, kind: kind_name, aliases, options })
}

fn aliases(value: Spanned<Value>) -> Result<Vec<Alias>, Wrong> {
    let at = value.span().start;
    let Value::Array(names) = value.into_inner() else { return Err(Wrong::new(at, "aliases is a list of texts")) };
    let alias = |name: Value| name.as_str().and_then(|name| Alias::new(name).ok());
    let aliases: Option<Vec<Alias>> = names.into_iter().map(alias).collect();
    aliases.ok_or_else(|| Wrong::new(at, strongroom_hsm::InvalidAlias.to_string()))
}

/// A table within is written with dots: `environment.NAME`.
fn leaves(name: String, value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Table(table) => table.into_iter().map(|(inner, value)| (format!("{name}.{inner}"), value)).collect(),
        value => vec![(name, value)],
    }
}

/// A list is written with commas.
fn as_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<String>> = values.into_iter().map(|one| one.as_str().map(str::to_owned)).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
listen = "127.0.0.1:9100"
log = "warn"
new-buckets-take-sse-c = true
trusted-proxies = ["10.0.0.7", "10.1.0.0/16"]
[places]
data = "/srv/strongroom"
keyring = "ring/keyring.sqlite"
audit-log = "audit.jsonl"

[key-cache]
entries = 0
offline-seconds = 86_400

[tls]
cert = "cert.pem"
key = "/k/key.pem"

[[masters]]
name = "hsm"
kind = "pkcs11"
aliases = ["default", "team/a"]
module = "/usr/lib/m.so"
label = "store"
pin-file = "pin"
rungs = ["rsa-oaep", "aes-gcm"]
workers = 3
allow-extractable-master-keys = true
environment.SOFTHSM2_CONF = "/c"

[[masters]]
name = "laptop"
kind = "keyfile"
aliases = ["other"]
file = "keys"
passphrase-file = "/p"
"#;

    fn parsed(text: &str) -> Result<ConfigFile, String> {
        ConfigFile::parse(text, Path::new("/etc/strongroom")).map_err(|wrong| {
            let line = text[..wrong.at].matches('\n').count() + 1;
            format!("{line}: {}", wrong.what)
        })
    }

    #[test]
    fn every_field_is_taken_and_paths_start_at_the_file() {
        let file = parsed(WHOLE).unwrap();
        assert_eq!(file.listen.as_deref(), Some("127.0.0.1:9100"));
        let mut places = Places::below(file.data().unwrap());
        file.place(&mut places);
        assert_eq!(places.keyring, Path::new("/etc/strongroom/ring/keyring.sqlite"));
        assert_eq!(places.blobs, Path::new("/srv/strongroom/blobs"));
        let KeyUseConfig { audit_log, cache, new_buckets_take_sse_c } = file.use_of_keys();
        assert!(new_buckets_take_sse_c);
        assert_eq!(audit_log.as_deref(), Some(Path::new("/etc/strongroom/audit.jsonl")));
        let told = CacheLimits { entries_max: 0, offline_lifetime: Duration::from_secs(86_400), ..Default::default() };
        assert_eq!(cache, told);
        assert_eq!(file.trusted_proxies, ["10.0.0.7", "10.1.0.0/16"].map(|text| text.parse().unwrap()));
        let tls = file.tls.as_ref().unwrap();
        assert_eq!(tls.cert, Path::new("/etc/strongroom/cert.pem"));
        assert_eq!(tls.key, Path::new("/k/key.pem"));
        let [hsm, laptop] = file.masters.as_slice() else { panic!("two") };
        assert_eq!(hsm.aliases, ["default", "team/a"].map(|name| Alias::new(name).unwrap()));
        for (option, value) in [
            ("pin-file", "/etc/strongroom/pin"),
            ("rungs", "rsa-oaep,aes-gcm"),
            ("workers", "3"),
            ("allow-extractable-master-keys", "true"),
            ("environment.SOFTHSM2_CONF", "/c"),
        ] {
            assert_eq!(hsm.options[option], value);
        }
        assert_eq!(laptop.options["file"], "/etc/strongroom/keys");
    }

    #[test]
    fn what_is_unknown_is_refused_with_its_line_and_without_its_value() {
        for (from, to) in [
            ("listen =", "lisen ="),
            ("[places]", "[place]"),
            ("keyring =", "keyrings ="),
            ("audit-log = \"audit.jsonl\"", "audit = \"secret-77\""),
            ("entries = 0", "entries = \"secret-77\""),
            ("offline-seconds", "offline-minutes"),
            ("kind = \"pkcs11\"", "kind = \"secret-77\""),
            ("workers = 3", "pin = \"secret-77\""),
            ("label = \"store\"", "label = {a = {b = 1}}"),
            ("\"default\", \"team/a\"", "\"secret 77\""),
            ("[[masters]]\nname = \"laptop\"", "[[masters]]\nname = \"hsm\""),
            ("file = \"keys\"", "file = \"secret-77"),
            ("key = \"/k/key.pem\"", "keys = \"secret-77\""),
            ("\"10.0.0.7\"", "\"secret-77\""),
            ("log = \"warn\"", "log = \"=secret-77=\""),
        ] {
            let line = WHOLE.split(from).next().unwrap().matches('\n').count() + 1;
            let error = parsed(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(&format!("{line}: ")), "{to}: {error}");
            assert!(!error.contains("77"), "{error}");
        }
    }
}
