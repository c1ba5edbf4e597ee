//! `strongroom open`: a sealed file, without a server.
//!
//! The header says which key it needs; the HSM unwraps it; nothing gets the output's name unless all of it is authentic.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use strongroom_engine::{Context, Existing, HEADER_LEN, Header, KeyId, Kind, OpenError, SealedSource, Target};

use super::Failure;
use super::file_job::{FileJob, report, watched, with_ending};
use super::key_use_args::AuditArgs;
use super::store_args::StoreArgs;
use crate::file_keys::{FileKeys, wrap_context};

/// Open a file that `strongroom seal` made, with no server.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Open {
    /// Sealed file to open.
    file: PathBuf,
    /// File to make [default: FILE without `.sealed`].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where its wrapped key is kept [default: FILE.key].
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Replace a file of that name.
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
  strongroom open --dev letters.tar.sealed
  strongroom open --data /srv/strongroom /mnt/usb/letters.sealed --output letters.tar
  strongroom open --json --data /srv/strongroom --pkcs11-module /usr/lib/libvendor-pkcs11.so \\
      --token-label store --pin-file /etc/strongroom/pin letters.tar.sealed";

impl Open {
    /// Opens the file.
    pub(super) fn run(self) -> Result<(), Failure> {
        let output = self.output()?;
        let key_file = self.key_file.clone().unwrap_or_else(|| with_ending(&self.file, ".key"));
        let id = key_id_of(&self.file)?;
        let keys = FileKeys::read(&key_file)?;
        let wrapped = keys.of(id, &key_file)?;
        let existing = if self.force { Existing::Replace } else { Existing::Refuse };
        let target = Target::create(&output, existing)?;
        let job = FileJob::start(&self.store, &self.audit)?;
        let context = wrap_context(&id);
        let key =
            job.ask(&self.file, |masters, subject| masters.unwrap(wrapped, &context, (Kind::DataKey, id), subject))?;
        let source = SealedSource::open(&self.file, &key, &Context::file(&id).digest())?;
        watched(|watch| source.open_to(&target, watch))?;
        target.keep()?;
        let (file, plain_len) = (output.display(), source.plain_len());
        let json = serde_json::json!({
            "opened": file.to_string(),
            "key_id": id.to_string(),
            "plain_len": plain_len,
        });
        report(self.json, &format!("opened {plain_len} bytes as {file}"), &json);
        Ok(())
    }

    fn output(&self) -> Result<PathBuf, Failure> {
        match &self.output {
            Some(output) => Ok(output.clone()),
            None if self.file.extension().is_some_and(|ending| ending == "sealed") => Ok(self.file.with_extension("")),
            None => Err(Failure::usage("what is the output called? give --output")),
        }
    }
}

/// The key that the sealed file names: not proven yet, but a wrong one opens nothing.
fn key_id_of(path: &Path) -> Result<KeyId, OpenError> {
    let mut header = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEADER_LEN as u64).read_to_end(&mut header));
    read.map_err(|source: io::Error| OpenError::Read { path: path.to_owned(), offset: 0, source })?;
    Ok(Header::parse(&header)?.key_id())
}
