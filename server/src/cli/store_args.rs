//! The options that say where a store and its master keys are: the same for every command that needs them.

use std::path::PathBuf;

use clap::Args;
use strongroom_hsm::PinSource;

use super::Failure;
use crate::config::{MastersConfig, Places, ServeConfig};

/// Where the keys are.
#[derive(Args)]
pub(super) struct StoreArgs {
    /// Make and use a SoftHSM token of our own: for development, not for secrets.
    #[arg(long, global = true, conflicts_with_all = ["pkcs11_module", "token_label", "pin_file", "pin_credential", "init"])]
    dev: bool,
    /// Folder for lock and credentials, and for all that has no path of its own.
    #[arg(long, global = true, value_name = "DIR", default_value = ".strongroom")]
    data: PathBuf,
    /// File of the keyring [default: DIR/keyring.sqlite].
    #[arg(long, global = true, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Folder in which the token of --dev lies, as `token` [default: DIR].
    #[arg(long, global = true, value_name = "FOLDER", conflicts_with = "pkcs11_module")]
    token: Option<PathBuf>,
    /// PKCS#11 module of the HSM, a shared object.
    #[arg(long, global = true, value_name = "FILE", requires = "token_label")]
    pkcs11_module: Option<PathBuf>,
    /// Label of the token that holds the master keys.
    #[arg(long, global = true, value_name = "LABEL", requires = "pkcs11_module")]
    token_label: Option<String>,
    /// File that holds the token's user PIN; only the worker process reads it.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "pin_credential")]
    pin_file: Option<PathBuf>,
    /// systemd credential that holds the PIN (LoadCredential=NAME:FILE).
    #[arg(long, global = true, value_name = "NAME")]
    pin_credential: Option<String>,
    /// Found a store, with its first master key and access key, where there is none.
    #[arg(long, global = true)]
    init: bool,
}

impl StoreArgs {
    /// The settings these options make.
    pub(super) fn config(&self) -> Result<ServeConfig, Failure> {
        let places = self.places()?;
        let masters = self.masters()?;
        Ok(ServeConfig { listen: String::new(), places, masters, may_found: self.dev || self.init })
    }

    /// As [`Self::config`], where the folder alone is enough if it holds a token of --dev.
    pub(super) fn config_of_existing(&self) -> Result<ServeConfig, Failure> {
        let places = self.places()?;
        if self.pkcs11_module.is_none() && places.token_parent.join("token").exists() {
            return Ok(ServeConfig { listen: String::new(), places, masters: MastersConfig::Dev, may_found: self.dev });
        }
        self.config()
    }

    fn places(&self) -> Result<Places, Failure> {
        let mut places = Places::below(&std::path::absolute(&self.data)?);
        for (given, place) in [(&self.keyring, &mut places.keyring), (&self.token, &mut places.token_parent)] {
            if let Some(path) = given {
                *place = std::path::absolute(path)?;
            }
        }
        Ok(places)
    }

    fn masters(&self) -> Result<MastersConfig, Failure> {
        if self.dev {
            return Ok(MastersConfig::Dev);
        }
        let (Some(module), Some(token_label)) = (&self.pkcs11_module, &self.token_label) else {
            return Err(Failure::usage("where are the master keys? give --dev, or --pkcs11-module and --token-label"));
        };
        let pin = match (&self.pin_file, &self.pin_credential) {
            (Some(path), _) => PinSource::File(std::path::absolute(path)?),
            (None, Some(name)) => PinSource::Credential(name.clone()),
            (None, None) => {
                return Err(Failure::usage("where is the token's PIN? give --pin-file or --pin-credential"));
            }
        };
        Ok(MastersConfig::Pkcs11 { module: std::path::absolute(module)?, token_label: token_label.clone(), pin })
    }
}
