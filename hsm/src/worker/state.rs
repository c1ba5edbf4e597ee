//! What the threads of a pool share: the known keys, how each worker stands, and whose turn it is to log in.
//!
//! Workers open the token one at a time, so that a wrong PIN is tried by one of them only; a PIN that was refused is
//! not tried again before its file changes.

use super::config::{ModuleConfig, WorkerCommand};
use super::process::Process;
use crate::error::KeyError;
use crate::pkcs11::Failure;
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
    /// Held while a worker opens the token: the PIN file that was refused last, and what was said.
    turn: Mutex<Option<(PinStamp, KeyError)>>,
}

impl Pool {
    pub(super) fn new(command: WorkerCommand, config: ModuleConfig, workers: usize) -> Self {
        let known = RwLock::new((KnownKeys::default(), 0));
        let standings = Mutex::new(vec![Standing::Starting; workers]);
        Self { command, config, known, standings, turn: Mutex::new(None) }
    }

    pub(super) fn register(&self, known: Vec<KnownKey>) {
        let mut held = self.known.write().unwrap_or_else(PoisonError::into_inner);
        held.0.register(known);
        held.1 += 1;
    }

    pub(super) fn current(&self, alias: &Alias) -> Option<(MasterKeyId, Version)> {
        if !self.config.aliases.contains(alias) {
            return None;
        }
        let held = self.known.read().unwrap_or_else(PoisonError::into_inner);
        held.0.current(alias).map(|key| (key.id, key.version))
    }

    pub(super) fn knows(&self, id: &MasterKeyId) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).0.find(id).is_some()
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
        if let Some((refused, error)) = &*turn
            && *refused == stamp
        {
            return Err(error.clone());
        }
        let (known, generation) = self.known_since(u64::MAX).unwrap_or_default();
        match Process::open(&self.command, &self.config, known) {
            Ok((process, notes)) => {
                *turn = None;
                for note in notes {
                    tracing::warn!(worker = index, "{note}");
                }
                self.set(index, Standing::Ready(process.id()));
                Ok((process, generation))
            }
            Err(failure) => {
                let pin_refused = matches!(failure, Failure::PinRefused(_));
                let error = failure.into_error();
                *turn = pin_refused.then(|| (stamp, error.clone()));
                Err(error)
            }
        }
    }

    fn standings(&self) -> MutexGuard<'_, Vec<Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
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
