//! `strongroom seal`: a file, without a server, under the master keys of a store.
//!
//! The HSM wraps the new key before a byte is sealed. The wrapped key is durable under its name before the sealed file
//! gets its own; a sealed file that is replaced loses its key only after that. So whatever ends the command leaves
//! either the old sealed file or the new one, with its key, and never half of one.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use strongroom_engine::{
    Context, DataKey, Existing, HEADER_LEN, Header, KeyId, Kind, SealError, SealedFile, Target, seal_file,
};
use strongroom_hsm::{Alias, WrappedKey};

use super::Failure;
use super::file_job::{FileJob, report, watched, with_ending};
use super::key_use_args::AuditArgs;
use super::store_args::StoreArgs;
use crate::clock::{Clock as _, SystemClock};
use crate::file_keys::{FileKeys, FileKeysError, wrap_context};

/// Seal a file under the master keys of a store, with no server.
///
/// Makes FILE.sealed, and beside it FILE.sealed.key with its key, wrapped by the HSM. To open it again takes both, and
/// the token. FILE itself stays as it is.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Seal {
    /// File to seal.
    file: PathBuf,
    /// Sealed file to make [default: FILE.sealed].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where its wrapped key is kept [default: OUTPUT.key].
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Replace a sealed file of that name.
    #[arg(long, short)]
    force: bool,
    /// Print one JSON object when done.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    audit: AuditArgs,
}

const EXAMPLES: &str = "\
Examples:
  strongroom seal --dev letters.tar
  strongroom seal --data /srv/strongroom letters.tar --output /mnt/usb/letters.sealed
  strongroom seal --json --data /srv/strongroom --pkcs11-module /usr/lib/libvendor-pkcs11.so \\
      --token-label store --pin-file /etc/strongroom/pin letters.tar";

impl Seal {
    /// Seals the file.
    pub(super) fn run(self) -> Result<(), Failure> {
        let output = self.output.clone().unwrap_or_else(|| with_ending(&self.file, ".sealed"));
        let key_file = self.key_file.clone().unwrap_or_else(|| with_ending(&output, ".key"));
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        // Looked at before anything is asked of an HSM, or founded.
        File::open(&self.file).map_err(|source| SealError::Read { path: self.file.clone(), offset: 0, source })?;
        let target = Target::create(&output, existing)?;
        let job = FileJob::start(&self.store, &self.audit)?;
        let (id, key) = (KeyId::fresh(SystemClock.now_ms())?, DataKey::generate()?);
        let (alias, context) = (Alias::default_alias(), wrap_context(&id));
        let wrapped =
            job.ask(&self.file, |masters, subject| masters.wrap(&alias, &key, &context, (Kind::DataKey, id), subject))?;
        let context = Context::file(&id).digest();
        let sealed = watched(|watch| seal_file(&self.file, &target, &key, id, &context, watch))?;
        publish(target, &key_file, id, wrapped)?;
        self.tell(&output, &key_file, id, sealed);
        Ok(())
    }

    fn tell(&self, output: &Path, key_file: &Path, id: KeyId, sealed: SealedFile) {
        let (file, key) = (output.display(), key_file.display());
        let sentence = format!("sealed {} bytes as {file}; its wrapped key is in {key}: keep both", sealed.plain_len);
        let json = serde_json::json!({
            "sealed": file.to_string(),
            "key_file": key.to_string(),
            "key_id": id.to_string(),
            "plain_len": sealed.plain_len,
            "sealed_len": sealed.sealed_len,
        });
        report(self.json, &sentence, &json);
    }
}

/// Gives key and sealed file their names, in this order.
fn publish(target: Target, key_file: &Path, id: KeyId, wrapped: WrappedKey) -> Result<(), Failure> {
    let _alone = lock_folder(key_file)?;
    let replaced = key_id_of(target.path());
    let mut keys = FileKeys::read(key_file)?;
    keys.insert(id, wrapped);
    keys.write(key_file)?;
    if let Err(error) = target.keep() {
        keys.remove(id);
        keys.write(key_file)?;
        return Err(error.into());
    }
    if let Some(replaced) = replaced {
        keys.remove(replaced);
        keys.write(key_file)?;
    }
    Ok(())
}

/// Two commands that add their keys to one file take turns.
fn lock_folder(key_file: &Path) -> Result<File, FileKeysError> {
    let folder = key_file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let locked = File::open(folder).and_then(|folder| folder.lock().map(|()| folder));
    locked.map_err(|source| FileKeysError::Read { path: key_file.to_owned(), source })
}

/// The key that a sealed file names, if one is there.
fn key_id_of(path: &Path) -> Option<KeyId> {
    let mut header = [0; HEADER_LEN];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    Header::parse(&header).ok().map(|header| header.key_id())
}
