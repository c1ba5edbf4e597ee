//! The options that say where a store and its master keys are: the same for every command that needs them.
//!
//! What the command line says comes before what the configuration file says. No option is a secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use strongroom_hsm::ProviderSettings;

use super::Failure;
use crate::config::{ConfigFile, MastersConfig, Places, ServeConfig};
use crate::log::Directives;
use crate::start;

/// Where everything lies when nobody says.
const DATA: &str = ".strongroom";

/// Where a server listens when nobody says.
const LISTEN: &str = "127.0.0.1:9000";

/// Where the keys are.
#[derive(Args)]
pub(super) struct StoreArgs {
    /// Configuration file (TOML): places, listen, new-buckets-take-sse-c, tls, log, key-cache, masters; see docs/hsm.md. Options given here come before it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Make and use a SoftHSM token of our own: for development, not for secrets.
    #[arg(long, global = true, conflicts_with_all = ["pkcs11_module", "token_label", "token_serial", "token_slot", "pin_file", "pin_credential", "keyfile", "init"])]
    dev: bool,
    /// Folder for lock and credentials, and for all that has no path of its own [default: .strongroom].
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the sealed streams [default: DIR/blobs].
    #[arg(long, global = true, value_name = "FOLDER")]
    blobs: Option<PathBuf>,
    /// File of the catalog [default: DIR/catalog.sqlite].
    #[arg(long, global = true, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// File of the keyring [default: DIR/keyring.sqlite].
    #[arg(long, global = true, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Folder in which the token of --dev lies, as `token` [default: DIR].
    #[arg(long, global = true, value_name = "FOLDER", conflicts_with = "pkcs11_module")]
    token: Option<PathBuf>,
    /// Socket by which a running server is administered: where others than its own user can reach it, if they are to
    /// [default: DIR/admin.sock].
    #[arg(long, global = true, value_name = "FILE")]
    admin_socket: Option<PathBuf>,
    /// PKCS#11 module of the HSM, a shared object.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "keyfile")]
    pkcs11_module: Option<PathBuf>,
    /// Label of the token that holds the master keys.
    #[arg(long, global = true, value_name = "LABEL", requires = "pkcs11_module", conflicts_with_all = ["token_serial", "token_slot"])]
    token_label: Option<String>,
    /// Serial number of the token: where labels repeat.
    #[arg(long, global = true, value_name = "SERIAL", requires = "pkcs11_module", conflicts_with = "token_slot")]
    token_serial: Option<String>,
    /// Slot number of the token; some modules give it another at each start.
    #[arg(long, global = true, value_name = "NUMBER", requires = "pkcs11_module", alias = "slot")]
    token_slot: Option<u64>,
    /// File that holds the token's user PIN; only the worker process reads it.
    #[arg(long, global = true, value_name = "FILE", requires = "pkcs11_module", conflicts_with = "pin_credential")]
    pin_file: Option<PathBuf>,
    /// systemd credential that holds the PIN (LoadCredential=NAME:FILE).
    #[arg(long, global = true, value_name = "NAME", requires = "pkcs11_module")]
    pin_credential: Option<String>,
    /// File that holds the master keys under a passphrase: no HSM, for laptops and tests.
    #[arg(long, global = true, value_name = "FILE", requires = "passphrase_file")]
    keyfile: Option<PathBuf>,
    /// File that holds the passphrase of --keyfile.
    #[arg(long, global = true, value_name = "FILE", requires = "keyfile")]
    passphrase_file: Option<PathBuf>,
    /// Found a store, with its first master key and access key, where there is none.
    #[arg(long, global = true)]
    init: bool,
    /// Take another token than the one the master keys were made on, if it holds them: they were moved to new hardware.
    #[arg(long, global = true)]
    accept_moved_token: bool,
}

/// What may be left out.
enum Need {
    /// Nothing: a server must be told where its master keys are.
    Masters,
    /// A token of --dev in the folder is enough.
    MastersOrDevToken,
    /// A running server knows.
    Places,
}

impl StoreArgs {
    /// The settings these options make, and what the file says of the log.
    pub(super) fn config(&self) -> Result<(ServeConfig, Option<Directives>), Failure> {
        let file = self.file()?;
        Ok((self.config_as(&file, &Need::Masters)?, file.log))
    }

    /// As [`Self::config`], where the folder alone is enough if it holds a token of --dev.
    pub(super) fn config_of_existing(&self) -> Result<ServeConfig, Failure> {
        self.config_as(&self.file()?, &Need::MastersOrDevToken)
    }

    /// As [`Self::config_of_existing`], for a command that a running server does, which knows where its master keys are.
    pub(super) fn config_beside_server(&self) -> Result<ServeConfig, Failure> {
        self.config_as(&self.file()?, &Need::Places)
    }

    fn file(&self) -> Result<ConfigFile, Failure> {
        Ok(self.config.as_deref().map(ConfigFile::read).transpose()?.unwrap_or_default())
    }

    fn config_as(&self, file: &ConfigFile, need: &Need) -> Result<ServeConfig, Failure> {
        let places = self.places(file)?;
        let masters = match (self.masters()?, need) {
            (Some(told), _) => told,
            (None, _) if !file.masters.is_empty() => MastersConfig::Providers(file.masters.clone()),
            (None, Need::MastersOrDevToken | Need::Places) if places.token_parent.join("token").exists() => {
                MastersConfig::Dev
            }
            (None, Need::Places) => MastersConfig::NotTold,
            (None, Need::Masters | Need::MastersOrDevToken) => return Err(Failure::usage(start::NOT_TOLD)),
        };
        let mut administrators = file.administrators.clone();
        administrators.one_administrator |= self.dev;
        Ok(ServeConfig {
            listen: file.listen.clone().unwrap_or_else(|| LISTEN.to_owned()),
            tls: file.tls.clone(),
            trusted_proxies: file.trusted_proxies.clone(),
            places,
            masters,
            use_of_keys: file.use_of_keys(),
            may_found: self.dev || self.init,
            administrators,
            accept_moved_token: self.accept_moved_token,
        })
    }

    fn places(&self, file: &ConfigFile) -> Result<Places, Failure> {
        let data = self.data.as_deref().or(file.data()).unwrap_or(Path::new(DATA));
        let mut places = Places::below(&std::path::absolute(data)?);
        file.place(&mut places);
        let given = [
            (&self.blobs, &mut places.blobs),
            (&self.catalog, &mut places.catalog),
            (&self.keyring, &mut places.keyring),
            (&self.token, &mut places.token_parent),
            (&self.admin_socket, &mut places.admin_socket),
        ];
        for (given, place) in given {
            if let Some(path) = given {
                *place = std::path::absolute(path)?;
            }
        }
        Ok(places)
    }

    /// Those of the command line, if it names any.
    fn masters(&self) -> Result<Option<MastersConfig>, Failure> {
        let slot = self.token_slot.map(|slot| slot.to_string());
        let told = if self.dev {
            return Ok(Some(MastersConfig::Dev));
        } else if let Some(module) = &self.pkcs11_module {
            if self.token_label.is_none() && self.token_serial.is_none() && slot.is_none() {
                return Err(Failure::usage("which token? give --token-label, --token-serial or --token-slot"));
            }
            if self.pin_file.is_none() && self.pin_credential.is_none() {
                return Err(Failure::usage("where is the token's PIN? give --pin-file or --pin-credential"));
            }
            settings(
                "pkcs11",
                [
                    ("module", path_text(Some(module))?),
                    ("label", self.token_label.clone()),
                    ("serial", self.token_serial.clone()),
                    ("slot", slot),
                    ("pin-file", path_text(self.pin_file.as_deref())?),
                    ("pin-credential", self.pin_credential.clone()),
                ],
            )
        } else if let Some(file) = &self.keyfile {
            let (file, passphrase) = (path_text(Some(file))?, path_text(self.passphrase_file.as_deref())?);
            settings("keyfile", [("file", file), ("passphrase-file", passphrase)])
        } else {
            return Ok(None);
        };
        Ok(Some(MastersConfig::Providers(vec![told])))
    }
}

/// The only provider, for every alias.
fn settings<const N: usize>(kind: &str, options: [(&str, Option<String>); N]) -> ProviderSettings {
    let given = options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    ProviderSettings {
        name: kind.to_owned(),
        kind: kind.to_owned(),
        aliases: Vec::new(),
        options: given.collect::<BTreeMap<_, _>>(),
    }
}

fn path_text(path: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    match std::path::absolute(path)?.to_str() {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Failure::usage(format!("the path {} is no UTF-8", path.display()))),
    }
}
