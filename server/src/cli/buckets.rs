//! `strongroom buckets`: what is set for a bucket and S3 has no call for.

use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};

use super::Failure;
use super::admin_args::AdminArgs;
use crate::admin::Command;
use crate::log;

/// Show and set what an administrator of data decides for a bucket.
///
/// Commands go to the server that runs on the data folder, or, where none runs, open the store themselves.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Buckets {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Whether writes that ask for no encryption get one. What is stored already stays as it is.
    Encryption {
        bucket: String,
        /// Every other default is set over S3, by PutBucketEncryption.
        wanted: Wanted,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    /// They are stored in plaintext, readable by whoever reads the blobs, and answered without a word of encryption.
    None,
    /// They are encrypted under the default master key.
    #[value(name = "AES256", alias = "aes256")]
    Aes256,
}

const EXAMPLES: &str = "\
Examples:
  strongroom buckets encryption public-downloads none
  strongroom buckets encryption public-downloads AES256";

impl Buckets {
    /// Does it, and prints what was done as JSON.
    pub(super) fn run(self) -> Result<(), Failure> {
        log::start(&log::Directives::warnings())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let Action::Encryption { bucket, wanted } = self.action;
        let command = Command::SetBucketPlaintext { bucket, plaintext: matches!(wanted, Wanted::None) };
        let done = runtime.block_on(async {
            let admin = self.admin.reach().await?;
            Ok::<_, Failure>(admin.perform(command, &|_| {}).await?)
        })?;
        // Whoever closed standard output does not want to read it.
        let _ = writeln!(std::io::stdout().lock(), "{done}");
        Ok(())
    }
}
