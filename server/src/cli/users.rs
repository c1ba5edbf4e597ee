//! `strongroom users`: who may sign requests, with which access keys, under which policies.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;
use zeroize::Zeroizing;

use super::admin_args::AdminArgs;
use super::{Failure, users_report};
use crate::admin::{Command, UserCommand};
use crate::credentials::AccessKey;
use crate::log;
use crate::users::Name;

/// Make, show and delete users; make, disable and delete their access keys; put and delete their policies.
///
/// A new user may do nothing: policies in the AWS language say what is allowed. The user `owner` owns the store. Commands
/// go to the server that runs on the data folder, or, where none runs, open the store themselves.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Users {
    #[command(subcommand)]
    action: Action,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Subcommand)]
enum Action {
    /// Make a user, who may do nothing yet.
    Create { user: Name },
    /// Every user.
    List,
    /// One user, with access keys and names of policies.
    Show { user: Name },
    /// Delete a user with all access keys and policies: they sign and allow nothing from then on.
    Delete { user: Name },
    /// What a user signs requests with.
    #[command(subcommand)]
    Keys(KeyAction),
    /// What a user may do.
    #[command(subcommand)]
    Policy(PolicyAction),
}

#[derive(Subcommand)]
enum KeyAction {
    /// Make an access key. Its secret is shown now and never again.
    Create {
        user: Name,
        /// Write it to a new file that only you can read, in the format of AWS credentials, and do not show it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// The access keys of a user.
    List { user: Name },
    /// Delete an access key: it signs nothing from then on.
    Delete { user: Name, access_key: String },
    /// Have an access key sign nothing until it is enabled again.
    Disable { user: Name, access_key: String },
    /// Take that back.
    Enable { user: Name, access_key: String },
}

#[derive(Subcommand)]
enum PolicyAction {
    /// Give a user a policy, in the place of one of the same name.
    Put {
        user: Name,
        policy: Name,
        /// The JSON document; absent or -: from standard input.
        file: Option<PathBuf>,
    },
    /// A policy, as it was put.
    Get { user: Name, policy: Name },
    /// The names of a user's policies.
    List { user: Name },
    /// Take a policy from a user.
    Delete { user: Name, policy: Name },
}

const EXAMPLES: &str = "\
Examples:
  strongroom users create alice
  strongroom users keys create alice --out alice.credentials
  strongroom users policy put alice read-photos read-photos.json
  strongroom users show alice --json
  strongroom users keys disable alice AKEXAMPLE
  strongroom users delete alice

A policy that lets its user read one bucket:
  {\"Version\": \"2012-10-17\", \"Statement\": [{
    \"Effect\": \"Allow\",
    \"Action\": [\"s3:GetObject\", \"s3:ListBucket\"],
    \"Resource\": [\"arn:aws:s3:::photos\", \"arn:aws:s3:::photos/*\"]}]}";

/// Longer than a policy may be: the server says how long that is.
const DOCUMENT_LEN_MAX: u64 = 48 << 10;

impl Users {
    /// Does it.
    pub(super) fn run(self) -> Result<(), Failure> {
        log::start(&log::Directives::warnings())?;
        let command = self.action.command()?;
        let kind = users_report::Kind::of(&command);
        let out = match &self.action {
            Action::Keys(KeyAction::Create { out: Some(path), .. }) => Some(NewFile::make(path)?),
            _ => None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut report = runtime.block_on(self.perform(command))?;
        if let Some(file) = out {
            file.fill(&mut report)?;
        }
        let text = Zeroizing::new(match self.json {
            true => format!("{report}\n"),
            false => users_report::text(kind, &report),
        });
        io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }

    async fn perform(&self, command: UserCommand) -> Result<Value, Failure> {
        Ok(self.admin.reach().await?.perform(Command::Users(command), &|_| {}).await?)
    }
}

impl Action {
    fn command(&self) -> Result<UserCommand, Failure> {
        Ok(match self {
            Self::List => UserCommand::List,
            Self::Create { user } => UserCommand::Create { user: user.clone() },
            Self::Show { user } => UserCommand::Show { user: user.clone() },
            Self::Delete { user } => UserCommand::Delete { user: user.clone() },
            Self::Keys(action) => action.command(),
            Self::Policy(action) => action.command()?,
        })
    }
}

impl KeyAction {
    fn command(&self) -> UserCommand {
        let enable = |user: &Name, access_key: &String, enabled| UserCommand::EnableKey {
            user: user.clone(),
            access_key: access_key.clone(),
            enabled,
        };
        match self {
            Self::Create { user, .. } => UserCommand::CreateKey { user: user.clone() },
            Self::List { user } => UserCommand::ListKeys { user: user.clone() },
            Self::Delete { user, access_key } => {
                UserCommand::DeleteKey { user: user.clone(), access_key: access_key.clone() }
            }
            Self::Disable { user, access_key } => enable(user, access_key, false),
            Self::Enable { user, access_key } => enable(user, access_key, true),
        }
    }
}

impl PolicyAction {
    fn command(&self) -> Result<UserCommand, Failure> {
        Ok(match self {
            Self::Put { user, policy, file } => {
                UserCommand::PutPolicy { user: user.clone(), policy: policy.clone(), document: read(file.as_deref())? }
            }
            Self::Get { user, policy } => UserCommand::GetPolicy { user: user.clone(), policy: policy.clone() },
            Self::List { user } => UserCommand::ListPolicies { user: user.clone() },
            Self::Delete { user, policy } => UserCommand::DeletePolicy { user: user.clone(), policy: policy.clone() },
        })
    }
}

fn read(file: Option<&Path>) -> Result<String, Failure> {
    let unreadable = |error| Failure { line: format!("cannot read the policy: {error}"), code: 1 };
    let source: Box<dyn io::Read> = match file {
        Some(path) if path != Path::new("-") => Box::new(std::fs::File::open(path).map_err(unreadable)?),
        _ => Box::new(io::stdin().lock()),
    };
    let mut document = String::new();
    let len = source.take(DOCUMENT_LEN_MAX + 1).read_to_string(&mut document).map_err(unreadable)?;
    if len as u64 > DOCUMENT_LEN_MAX {
        return Err(Failure { line: "the policy is longer than any policy may be".to_owned(), code: 1 });
    }
    Ok(document)
}

/// A file for a secret: made before the access key, so that no secret is lost for want of a place.
struct NewFile {
    file: std::fs::File,
    path: PathBuf,
    is_filled: bool,
}

impl NewFile {
    fn make(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file =
            file.map_err(|error| Failure { line: format!("cannot make {}: {error}", path.display()), code: 1 })?;
        Ok(Self { file, path: path.to_owned(), is_filled: false })
    }

    /// Moves the secret out of the report.
    fn fill(mut self, report: &mut Value) -> Result<(), Failure> {
        let Some(Value::String(secret)) = report.as_object_mut().and_then(|report| report.remove("secret")) else {
            return Err(Failure { line: "the server made no secret".to_owned(), code: 1 });
        };
        let key = AccessKey { id: report["access_key"].as_str().unwrap_or_default().to_owned(), secret: secret.into() };
        self.file.write_all(key.to_file_text().as_bytes())?;
        self.file.sync_all()?;
        self.is_filled = true;
        report["file"] = self.path.display().to_string().into();
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_filled {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
