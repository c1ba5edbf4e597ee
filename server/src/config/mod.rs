//! What a server is told before it starts: addresses, places, where its master keys are.
//!
//! No field is a secret: the PIN stays in a file or a systemd credential, which only the worker process opens.

mod file;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use strongroom_hsm::ProviderSettings;

use crate::http::{Proxy, TlsFiles};
use crate::key::KeyUseConfig;

pub use file::{ConfigError, ConfigFile};

/// The label of the token that `--dev` makes.
pub const DEV_TOKEN_LABEL: &str = "strongroom";

/// Settings of `strongroom serve`.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// `host:port`.
    pub listen: String,
    /// The certificate; nothing: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Proxies whose word on their clients is believed.
    pub trusted_proxies: Vec<Proxy>,
    /// Where everything lies.
    pub places: Places,
    /// Where the master keys are.
    pub masters: MastersConfig,
    /// How keys are used, and where that is told.
    pub use_of_keys: KeyUseConfig,
    /// Whether a store may be founded where there is none.
    pub may_found: bool,
    /// Who administers it while it runs.
    pub administrators: AdministratorsConfig,
    /// Whether the master keys may be found on another token than the one they were made on; it is remembered instead.
    pub accept_moved_token: bool,
}

/// Who administers a running server, of the users of its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdministratorsConfig {
    /// Of keys; nothing is told: nobody.
    pub keys: Option<Vec<LocalUser>>,
    /// Of data; nothing is told: the user that the server runs as.
    pub data: Option<Vec<LocalUser>>,
    /// Whether one person may administer both; where nothing is told, the user that the server runs as does.
    pub one_administrator: bool,
}

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum LocalUser {
    /// By number.
    Uid(u32),
    /// By name.
    Name(String),
}

/// Where the elements of a store lie; each may be on a file system of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Lock, credentials, and what has no place of its own.
    pub data: PathBuf,
    /// Sealed streams.
    pub blobs: PathBuf,
    /// The catalog, a file.
    pub catalog: PathBuf,
    /// The keyring, a file.
    pub keyring: PathBuf,
    /// The folder that holds a development token, as `token`.
    pub token_parent: PathBuf,
    /// The socket that administrators of a running server use.
    pub admin_socket: PathBuf,
}

impl Places {
    /// Everything below `data`.
    pub fn below(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            blobs: data.join("blobs"),
            catalog: data.join("catalog.sqlite"),
            keyring: data.join("keyring.sqlite"),
            token_parent: data.to_owned(),
            admin_socket: data.join("admin.sock"),
        }
    }
}

/// Where the master keys are.
#[derive(Clone, Debug)]
pub enum MastersConfig {
    /// In a SoftHSM token of our own making: for development.
    Dev,
    /// Where an administrator has put them.
    Providers(Vec<ProviderSettings>),
    /// Nobody said: enough for a command that a running server does.
    NotTold,
}

#[cfg(test)]
mod tests {
    use strongroom_hsm::ModuleConfig;

    use super::*;

    /// Each Markdown file that shows settings, and what is between its marks of TOML.
    fn documented() -> Vec<(PathBuf, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let markdown =
            pages.chain([root.join("README.md")]).filter(|path| path.extension().is_some_and(|end| end == "md"));
        let mut blocks = Vec::new();
        for path in markdown {
            let text = std::fs::read_to_string(&path).unwrap();
            let opened = text.split("```toml\n").skip(1);
            blocks.extend(opened.map(|rest| (path.clone(), rest.split("```").next().unwrap().to_owned())));
        }
        blocks
    }

    #[test]
    fn every_configuration_in_the_documentation_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("strongroom.toml");
        let blocks = documented();
        assert!(blocks.len() >= 3, "README, hsm.md and users.md each show one");
        for (page, block) in blocks {
            std::fs::write(&path, &block).unwrap();
            let file = ConfigFile::read(&path).unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()));
            for settings in file.masters.iter().filter(|settings| settings.kind == "pkcs11") {
                ModuleConfig::of(settings).unwrap_or_else(|error| panic!("{}: {error}\n{block}", page.display()));
            }
        }
    }
}
