//! A SoftHSM token for development, in `DIR/token`: what `--dev` makes on its first start.
//!
//! It is made in a folder `DIR/token.making-*` of its own and renamed when whole, so `DIR/token` is never half made and a
//! token that exists is never touched, also where the worker of a killed process still writes. The PINs are made and written by the worker process; the server never holds them. No HSM: whoever
//! reads the folder has the master key.

use crate::error::KeyError;
use crate::pkcs11::{PinSource, TokenSelector};
use crate::provider::Alias;
use crate::worker::{ModuleConfig, Request, WorkerCommand, ask_once};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where distributions put SoftHSM: Debian and Ubuntu, Arch, Fedora, built by hand.
const MODULES: [&str; 8] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib64/softhsm/libsofthsm2.so",
];

/// How the folders begin in which tokens are made.
const MAKING: &str = "token.making-";

const DEADLINE: Duration = Duration::from_secs(30);

/// A SoftHSM token in a folder of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevToken {
    /// The SoftHSM module found on this machine.
    pub module: PathBuf,
    /// For `SOFTHSM2_CONF`.
    pub config_file: PathBuf,
    /// The user PIN, mode 0600.
    pub pin_file: PathBuf,
    folder: PathBuf,
}

impl DevToken {
    /// The token in `dir/token`, if there is one. Its configuration is written anew where `dir` has moved.
    pub fn find(dir: &Path) -> Result<Option<Self>, KeyError> {
        let folder = std::path::absolute(dir.join("token")).map_err(|error| failed("find", dir, &error))?;
        if !folder.try_exists().map_err(|error| failed("find", &folder, &error))? {
            return Ok(None);
        }
        let config_file = folder.join("softhsm2.conf");
        write_config(&config_file, &folder.join("tokens")).map_err(|error| failed("write", &config_file, &error))?;
        Ok(Some(Self { module: find_module()?, config_file, pin_file: folder.join("pin"), folder }))
    }

    /// What a [`Supervisor`](crate::Supervisor) needs for it.
    pub fn module_config(&self, label: &str, aliases: Vec<Alias>) -> ModuleConfig {
        ModuleConfig {
            aliases,
            environment: environment(&self.config_file),
            ..ModuleConfig::new(
                self.module.clone(),
                TokenSelector::Label(label.to_owned()),
                PinSource::File(self.pin_file.clone()),
            )
        }
    }

    /// Forces the token's files and folders to disk, since SoftHSM does not. Call it after a master key was made and
    /// before anything is wrapped under it.
    pub fn sync(&self) -> Result<(), KeyError> {
        sync_tree(&self.folder).map_err(|error| failed("sync", &self.folder, &error))
    }
}

/// Makes a token with `label` in `dir/token`, unless there is one: then that is given, untouched.
///
/// Blocks for some 0.1 s. `dir` must exist. Whether a token *may* be made is the caller's to know: only where keyring
/// and catalog are absent, too.
pub fn make_softhsm_token(worker: &WorkerCommand, dir: &Path, label: &str) -> Result<DevToken, KeyError> {
    if let Some(token) = DevToken::find(dir)? {
        return Ok(token);
    }
    clear(dir);
    let mut name = [0; 8];
    getrandom::fill(&mut name)
        .map_err(|_| KeyError::Misconfigured("the operating system gave no random bytes".to_owned()))?;
    let making = dir.join(format!("{MAKING}{:016x}", u64::from_be_bytes(name)));
    let making = std::path::absolute(making).map_err(|error| failed("find", dir, &error))?;
    make_in(worker, &making, label)?;
    let token = dir.join("token");
    let publish = || {
        sync_tree(&making)?;
        fs::rename(&making, &token)?;
        File::open(dir)?.sync_all()
    };
    publish().map_err(|error| failed("make", &token, &error))?;
    DevToken::find(dir)?.ok_or_else(|| KeyError::Misconfigured(format!("{} went away while made", token.display())))
}

fn make_in(worker: &WorkerCommand, folder: &Path, label: &str) -> Result<(), KeyError> {
    let tokens = folder.join("tokens");
    let config_file = folder.join("softhsm2.conf");
    let lay_out = || {
        DirBuilder::new().mode(0o700).create(folder)?;
        DirBuilder::new().mode(0o700).create(&tokens)?;
        write_config(&config_file, &tokens)
    };
    lay_out().map_err(|error: io::Error| failed("make", folder, &error))?;
    let request = Request::MakeToken {
        module: find_module()?,
        label: label.to_owned(),
        pin_file: folder.join("pin"),
        so_pin_file: folder.join("so-pin"),
    };
    ask_once(worker, &environment(&config_file), DEADLINE, &request).map(drop)
}

/// What processes that were killed while making a token left behind. No key was ever wrapped under it. What a worker
/// that is still ending holds on to is left for the next time.
fn clear(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(MAKING.as_bytes())) {
        // Left behind, it is only litter: the token is made elsewhere.
        let _ = fs::remove_dir_all(entry.path());
    }
}

fn find_module() -> Result<PathBuf, KeyError> {
    MODULES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        KeyError::Misconfigured(
            "SoftHSM is not installed: install the package softhsm2 (Fedora, Arch: softhsm)".to_owned(),
        )
    })
}

fn environment(config_file: &Path) -> Vec<(String, OsString)> {
    vec![("SOFTHSM2_CONF".to_owned(), config_file.into())]
}

fn write_config(file: &Path, tokens: &Path) -> io::Result<()> {
    let content = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
        tokens.display()
    );
    if fs::read(file).is_ok_and(|held| held == content.as_bytes()) {
        return Ok(());
    }
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    out.write_all(content.as_bytes())?;
    out.sync_all()
}

/// Every file, then the folder that names it.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { sync_tree(&entry.path())? } else { File::open(entry.path())?.sync_all()? }
    }
    File::open(folder)?.sync_all()
}

fn failed(what: &str, path: &Path, error: &io::Error) -> KeyError {
    KeyError::Misconfigured(format!("cannot {what} {}: {error}", path.display()))
}
