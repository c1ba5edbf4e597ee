//! What the threads of a pool share: the known keys, how each worker stands, and whose turn it is to log in.
//!
//! Workers open the token one at a time, so that a wrong PIN is tried by one of them only; a PIN that was refused is
//! not tried again before its file changes, also after a restart where a file to remember it in is configured.

use super::config::{ModuleConfig, WorkerCommand};
use super::process::Process;
use super::refusal;
use crate::error::KeyError;
use crate::pkcs11::{Failure, Pattern, RefusedPin};
use crate::provider::{Alias, KnownKey, KnownKeys, MasterKeyId, Version};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// How one worker stands.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its first start, or the successor of one that was ready: callers wait for it.
    Starting,
    /// Process id of a worker whose token is open.
    Ready(u32),
    /// It could not open the token, and tries again.
    Failed(KeyError),
}

pub(super) struct Pool {
    command: WorkerCommand,
    pub(super) config: ModuleConfig,
    known: RwLock<(KnownKeys, u64)>,
    standings: Mutex<Vec<Standing>>,
    /// Held while a worker opens the token.
    turn: Mutex<Turn>,
    /// Serial of the token that was opened last.
    serial: Mutex<Option<String>>,
}

/// What one worker that opened the token leaves to the next.
#[derive(Default)]
struct Turn {
    /// The PIN file that was refused last, and what was said.
    refused_file: Option<(PinStamp, KeyError)>,
    /// By which the PIN in it is known again.
    refused: Option<RefusedPin>,
    /// What this token was seen to do, and its serial.
    patterns: Option<(String, Vec<Pattern>)>,
}

impl Pool {
    pub(super) fn new(command: WorkerCommand, config: ModuleConfig, workers: usize) -> Self {
        let known = RwLock::new((KnownKeys::default(), 0));
        let standings = Mutex::new(vec![Standing::Starting; workers]);
        let mut turn = Turn::default();
        if let Some(file) = &config.refusal_file {
            turn.refused = refusal::read(file).unwrap_or_else(|error| {
                tracing::error!(%error, file = %file.display(), "cannot read which PIN was refused last");
                None
            });
        }
        Self { command, config, known, standings, turn: Mutex::new(turn), serial: Mutex::new(None) }
    }

    /// Serial of the token, once a worker has opened it.
    pub(super) fn serial(&self) -> Option<String> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget(&self, id: &MasterKeyId) {
        self.change(|known| known.forget(id));
    }

    fn change(&self, change: impl FnOnce(&mut KnownKeys)) {
        let mut held = self.known.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut held.0);
        held.1 += 1;
    }

    pub(super) fn register(&self, known: Vec<KnownKey>) {
        self.change(|held| held.register(known));
    }

    pub(super) fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)> {
        if !self.config.takes(alias) {
            return None;
        }
        let held = self.known.read().unwrap_or_else(PoisonError::into_inner);
        held.0.current(alias).map(|key| (key.id, key.version))
    }

    /// The key under which `alias` wraps now.
    pub(super) fn to_wrap(&self, alias: &Alias) -> Result<MasterKeyId, KeyError> {
        if !self.config.takes(alias) {
            return Err(KeyError::NoSuchAlias { alias: alias.clone() });
        }
        self.known.read().unwrap_or_else(PoisonError::into_inner).0.to_wrap(alias).map(|key| key.id)
    }

    /// Whether this key may unwrap.
    pub(super) fn may_unwrap(&self, id: &MasterKeyId) -> Result<(), KeyError> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).0.to_unwrap(id).map(drop)
    }

    pub(super) fn name_of(&self, id: &MasterKeyId) -> Option<(Alias, Version)> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).0.name_of(id)
    }

    /// All known keys and their generation, if that is another than the worker has.
    pub(super) fn known_since(&self, generation: u64) -> Option<(Vec<KnownKey>, u64)> {
        let held = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (held.1 != generation).then(|| (held.0.as_slice().to_vec(), held.1))
    }

    /// Sets how a worker stands, and says whether it stood otherwise.
    pub(super) fn set(&self, index: usize, standing: Standing) -> bool {
        match self.standings().get_mut(index) {
            Some(held) if *held != standing => {
                *held = standing;
                true
            }
            _ => false,
        }
    }

    /// Lets a call in if a worker is ready or about to be; else says at once what is wrong.
    pub(super) fn admit(&self) -> Result<(), KeyError> {
        let standings = self.standings();
        let failed = |standing: &Standing| match standing {
            Standing::Failed(error) => Some(error.clone()),
            Standing::Starting | Standing::Ready(_) => None,
        };
        match standings.iter().map(failed).collect::<Option<Vec<_>>>() {
            Some(errors) => Err(errors.into_iter().next().unwrap_or_else(|| KeyError::away("no worker"))),
            None => Ok(()),
        }
    }

    /// Nothing if a worker is ready.
    pub(super) fn trouble(&self) -> Option<KeyError> {
        let standings = self.standings();
        if standings.iter().any(|standing| matches!(standing, Standing::Ready(_))) {
            return None;
        }
        drop(standings);
        Some(self.admit().err().unwrap_or_else(|| KeyError::away("the HSM worker is starting")))
    }

    pub(super) fn worker_ids(&self) -> Vec<u32> {
        let id = |standing: &Standing| if let Standing::Ready(id) = standing { Some(*id) } else { None };
        self.standings().iter().filter_map(id).collect()
    }

    /// A worker whose token is open, and the generation of known keys it was told.
    pub(super) fn open_worker(&self, index: usize) -> Result<(Process, u64), KeyError> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken before the worker reads the file, so that a change in between is not missed.
        let stamp = PinStamp::of(&self.config);
        if let Some((refused, error)) = &turn.refused_file
            && *refused == stamp
        {
            return Err(error.clone());
        }
        let (known, generation) = self.known_since(u64::MAX).unwrap_or_default();
        let mut token = self.config.open_token();
        token.refused = turn.refused.clone();
        // Tried once for each token; each wrap is opened and compared all the same.
        token.patterns = turn.patterns.as_ref().map(|(_, patterns)| patterns.clone());
        match Process::open(&self.command, &self.config, token, known) {
            Ok((process, opened)) => {
                turn.refused_file = None;
                if turn.refused.take().is_some() {
                    self.remember(None);
                }
                if turn.patterns.as_ref().is_some_and(|(serial, _)| *serial != opened.serial) {
                    turn.patterns = None;
                    return Err(KeyError::away("another token stands in place of the one before: its rungs are tried"));
                }
                // None are tried anew: what kept them from working may be over.
                let some = Some(opened.patterns).filter(|patterns| !patterns.is_empty());
                turn.patterns = some.map(|patterns| (opened.serial.clone(), patterns));
                *self.serial.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened.serial);
                note(index, &opened.notes);
                self.set(index, Standing::Ready(process.id()));
                Ok((process, generation))
            }
            Err(Failure::PinRefused { what, refused }) => {
                let error = KeyError::Misconfigured(what);
                if refused.is_some() && refused != turn.refused {
                    self.remember(refused.as_ref());
                    turn.refused = refused;
                }
                turn.refused_file = Some((stamp, error.clone()));
                Err(error)
            }
            Err(failure) => {
                turn.refused_file = None;
                Err(failure.into_error())
            }
        }
    }

    /// Keeps a refused PIN across restarts, or forgets it.
    fn remember(&self, refused: Option<&RefusedPin>) {
        let Some(file) = &self.config.refusal_file else { return };
        let kept = match refused {
            Some(refused) => refusal::write(file, refused),
            None => refusal::remove(file),
        };
        if let Err(error) = kept {
            tracing::error!(%error, file = %file.display(), "cannot keep which PIN was refused: do not restart in a loop");
        }
    }

    fn standings(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells an administrator what a worker noticed.
pub(super) fn note(worker: usize, notes: &[String]) {
    for note in notes {
        tracing::warn!(worker, "{note}");
    }
}

/// Tells whether a PIN file has changed without reading it: device, inode, length, time of last change.
#[derive(Clone, PartialEq, Eq)]
struct PinStamp(Option<(u64, u64, u64, i64, i64)>);

impl PinStamp {
    fn of(config: &ModuleConfig) -> Self {
        let metadata = config.pin.path().ok().and_then(|path| std::fs::metadata(path).ok());
        Self(metadata.map(|file| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec())))
    }
}
