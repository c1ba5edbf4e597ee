//! What a supervisor is told: which program is the worker, which module and token, and its limits.

use crate::pkcs11::{OpenToken, PinSource, TokenSelector};
use crate::provider::Alias;
use crate::rung::Rung;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The program whose `main` calls [`run_worker`](super::run_worker), and the arguments that make it do so.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// Path of the program.
    pub program: PathBuf,
    /// Its arguments; never a secret.
    pub args: Vec<OsString>,
}

/// One PKCS#11 module and one token in it.
#[derive(Debug, Clone)]
pub struct ModuleConfig {
    /// The shared object.
    pub module: PathBuf,
    /// Which of its tokens.
    pub token: TokenSelector,
    /// Where the worker finds the PIN.
    pub pin: PinSource,
    /// The aliases whose master keys lie there; any other is refused. None named: all.
    pub aliases: Vec<Alias>,
    /// Variables that the module reads, set in the worker over what it inherits.
    pub environment: Vec<(String, OsString)>,
    /// Serial of the token that holds the master keys, as [`Supervisor::token_serial`](crate::Supervisor::token_serial)
    /// told it when they were made. Another token under the same label is then refused by name.
    pub expected_serial: Option<String>,
    /// Where a refused PIN is remembered across restarts, so that no restart loop locks a token. Holds no PIN.
    pub refusal_file: Option<PathBuf>,
    /// Use master keys that could leave the token, too: those that are extractable or not sensitive, or were once.
    pub allow_extractable_master_keys: bool,
    /// The rungs that may wrap, best first. Those that a key was wrapped by unwrap it whatever stands here.
    pub rungs: Vec<Rung>,
    /// Bounds on workers, waiting callers and time.
    pub limits: Limits,
}

impl ModuleConfig {
    /// Whether master keys of this alias lie on this token.
    pub(crate) fn takes(&self, alias: &Alias) -> bool {
        self.aliases.is_empty() || self.aliases.contains(alias)
    }

    /// For every alias, no environment of its own, every rung, and the default limits.
    pub fn new(module: impl Into<PathBuf>, token: TokenSelector, pin: PinSource) -> Self {
        Self {
            module: module.into(),
            token,
            pin,
            aliases: Vec::new(),
            environment: Vec::new(),
            expected_serial: None,
            refusal_file: None,
            allow_extractable_master_keys: false,
            rungs: Rung::ALL.to_vec(),
            limits: Limits::default(),
        }
    }

    /// What a worker is told.
    pub(crate) fn open_token(&self) -> OpenToken {
        OpenToken {
            module: self.module.clone(),
            token: self.token.clone(),
            pin: self.pin.clone(),
            serial: self.expected_serial.clone(),
            refused: None,
            may_be_extractable: self.allow_extractable_master_keys,
            rungs: self.rungs.clone(),
            patterns: None,
        }
    }
}

/// Bounds on workers, waiting callers and time.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Worker processes; each is inside the module with one call at a time. Default 2.
    pub workers: usize,
    /// Callers that may wait; one more is told [`Away`](crate::KeyError::Away) at once. Default 1,024.
    pub waiting: usize,
    /// A worker that has not answered a call for so long is killed. Default 10 s.
    pub deadline: Duration,
    /// A worker that opens its token and has got no answer from it for so long is killed: short, so that an HSM that is
    /// back is seen soon. Default 4 s.
    pub open_deadline: Duration,
    /// A worker idle for so long opens a canary, to notice a lost HSM before a request does. Default 2 s.
    pub probe_every: Duration,
    /// Longest pause between attempts to reach a lost HSM. Default 1 s.
    pub retry_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            workers: 2,
            waiting: 1024,
            deadline: Duration::from_secs(10),
            open_deadline: Duration::from_secs(4),
            probe_every: Duration::from_secs(2),
            retry_every: Duration::from_secs(1),
        }
    }
}

/// Whether the worker gets this variable of the server's unasked: what modules and the loader need.
pub(super) fn may_inherit(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "CREDENTIALS_DIRECTORY",
        "HOME",
        "KRYOPTIC_CONF",
        "LANG",
        "P11_KIT_SERVER_ADDRESS",
        "PATH",
        "SOFTHSM2_CONF",
        "TMPDIR",
        "TZ",
    ];
    NAMES.contains(&name) || name.starts_with("TPM2_PKCS11_") || name.starts_with("LC_")
}
