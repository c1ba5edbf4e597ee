//! Master keys in a PKCS#11 token, as the worker process uses them: one module, one token, one thread.
//!
//! The module is loaded once and never finalised while anything may be in it. A call that fails is repeated once in a
//! fresh session; what fails there too is judged by the canaries: see [`TokenKeys::judge`].

mod administer;
mod door;
mod examine;
mod failure;
mod gcm;
mod generate;
mod make;
mod measure;
mod mechanism;
mod module;
mod oaep;
mod object;
mod pin;
mod raw_info;
mod sessions;
mod trial;

pub(crate) use examine::examine;
pub(crate) use failure::Failure;
pub(crate) use make::make_token;
pub(crate) use mechanism::{Pattern, calls_begun};
pub use module::TokenSelector;
pub use pin::PinSource;
pub(crate) use pin::RefusedPin;

use crate::error::KeyError;
use crate::provider::{Alias, KnownKey, KnownKeys, MasterKeyId};
use crate::rung::Rung;
use crate::wrapped::WrappedKey;
use door::Door;
use sessions::{Generation, Habits, Trouble};
use std::collections::HashSet;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// For so long a process that has opened the token and answered no call has seen what the token held just now.
const YOUTH: Duration = Duration::from_secs(30);

/// Canaries are opened for so long when a worker starts; the others when their keys are used.
const LOOK_FOR_KNOWN: Duration = Duration::from_secs(1);

/// And so many, since a key that was used may take room in the module for the life of the process.
const LOOK_FOR_KNOWN_MAX: usize = 8;

/// Canaries of other keys that are asked, at most, whether the HSM is away.
const JUDGES_MAX: usize = 16;

/// A later version on the token is looked for again after this time, if a wrap needs to know.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What a worker is told of its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenToken {
    pub(crate) module: PathBuf,
    pub(crate) token: TokenSelector,
    pub(crate) pin: PinSource,
    /// The serial of the token that holds the known keys, if the caller remembers it: any other is refused.
    pub(crate) serial: Option<String>,
    /// The PIN that was refused last.
    pub(crate) refused: Option<RefusedPin>,
    pub(crate) may_be_extractable: bool,
    /// In order of preference.
    pub(crate) rungs: Vec<Rung>,
    /// The patterns that a worker before has seen this token do; none: try them.
    pub(crate) patterns: Option<Vec<Pattern>>,
}

/// What a worker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenedToken {
    pub(crate) serial: String,
    /// AES patterns that work, best first.
    pub(crate) patterns: Vec<Pattern>,
    /// What an administrator should read.
    pub(crate) notes: Vec<String>,
}

/// A token, logged in.
pub(crate) struct TokenKeys {
    door: Rc<Door>,
    token: String,
    rungs: Vec<Rung>,
    habits: Habits,
    known: KnownKeys,
    /// Known keys that were not there, or did not work, when this process was young.
    gone: HashSet<MasterKeyId>,
    /// Keys that this process heard of after it began: not seeing one of them says nothing about the token.
    learnt: HashSet<MasterKeyId>,
    /// When it opened the token, until the first call is answered.
    young: Option<Instant>,
    /// Aliases of which the token holds a later version than the keyring.
    outgrown: HashSet<Alias>,
    /// When that was looked at.
    looked: Instant,
    generation: Option<Generation>,
}

impl TokenKeys {
    /// Loads, finds, logs in, tries the rungs, and looks for the known keys.
    pub(crate) fn open(wanted: &OpenToken, known: Vec<KnownKey>) -> Result<(Self, OpenedToken), Failure> {
        let library = module::load(&wanted.module)?;
        let (slot, info) = module::find_token(&library, &wanted.module, &wanted.token)?;
        let token = module::name(&info);
        if let Some(serial) = wanted.serial.as_ref().filter(|serial| *serial != info.serial_number()) {
            return Err(Failure::misconfigured(format!(
                "this is token {token}, but the master keys lie on the token with serial {serial}: put that one back, or \
                 restore them to this one and start with --accept-moved-token"
            )));
        }
        let serial = info.serial_number().to_owned();
        let (door, mut notes) = Door::open(library, slot, &info, &wanted.pin, wanted.refused.as_ref())?;
        let patterns = match &wanted.patterns {
            Some(seen) => seen.clone(),
            None => working(trial::aes_patterns(&door, &wanted.rungs)?),
        };
        let habits = Habits { aes: patterns.first().copied(), may_be_extractable: wanted.may_be_extractable };
        let mut keys = Self {
            door: Rc::new(door),
            token,
            rungs: wanted.rungs.clone(),
            habits,
            known: KnownKeys::default(),
            gone: HashSet::new(),
            learnt: HashSet::new(),
            young: Some(Instant::now()),
            outgrown: HashSet::new(),
            looked: Instant::now(),
            generation: None,
        };
        keys.know(known, &mut notes);
        keys.learnt.clear();
        keys.look_for_known(&mut notes)?;
        keys.young = Some(Instant::now());
        Ok((keys, OpenedToken { serial, patterns, notes }))
    }

    /// To list what the token holds, and for nothing else.
    fn for_listing(door: Door, wanted: &OpenToken) -> Self {
        Self {
            door: Rc::new(door),
            token: String::new(),
            rungs: wanted.rungs.clone(),
            habits: Habits { aes: None, may_be_extractable: wanted.may_be_extractable },
            known: KnownKeys::default(),
            gone: HashSet::new(),
            learnt: HashSet::new(),
            young: Some(Instant::now()),
            outgrown: HashSet::new(),
            looked: Instant::now(),
            generation: None,
        }
    }

    /// Tells of keys that the keyring knows.
    pub(crate) fn know(&mut self, known: Vec<KnownKey>, notes: &mut Vec<String>) {
        // The caller tells of all of them: what is no longer among them is forgotten.
        let before = std::mem::take(&mut self.known);
        self.known.register(known);
        let new = self.known.as_slice().iter().map(|key| key.id).filter(|id| before.find(id).is_none());
        self.learnt.extend(new);
        // Canaries may be others now: proofs are made anew.
        self.generation = None;
        self.outgrown = self.look_for_later_versions(notes);
        self.looked = Instant::now();
    }

    /// Whether the token holds a later version; looked at again now and then, since it may have been destroyed.
    fn is_outgrown(&mut self, alias: &Alias) -> bool {
        if self.outgrown.contains(alias) && self.looked.elapsed() > LOOK_AGAIN {
            self.outgrown = self.look_for_later_versions(&mut Vec::new());
            self.looked = Instant::now();
        }
        self.outgrown.contains(alias)
    }

    pub(crate) fn wrap(
        &mut self,
        master: &MasterKeyId,
        key: &[u8; 32],
        context: &[u8; 32],
    ) -> Result<WrappedKey, Failure> {
        let known = self.find(master)?;
        if self.is_outgrown(&known.alias) {
            return Err(Failure::Call(KeyError::Superseded { alias: known.alias }));
        }
        let wrapped = match self.twice(&known, |generation| generation.wrap(&known, key, context)) {
            // The canary opens, and there were no bytes yet that could be at fault. Modules name this in several ways.
            Err(Failure::Call(KeyError::Refused)) if self.is_retired(master) => {
                Err(Failure::Call(KeyError::Superseded { alias: known.alias }))
            }
            Err(Failure::Call(KeyError::Refused)) => {
                let reason = format!("token {} decrypts but does not encrypt", self.token);
                Err(self.unless_a_successor_may(master, &reason, Failure::Call(KeyError::away(reason.clone()))))
            }
            other => other,
        };
        self.young = None;
        wrapped.map(|(rung, ciphertext)| WrappedKey { master: *master, rung, ciphertext })
    }

    pub(crate) fn unwrap(&mut self, wrapped: &WrappedKey, context: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let known = self.find(&wrapped.master)?;
        if !mechanism::is_well_formed(wrapped.rung, &wrapped.ciphertext) {
            return Err(Failure::Call(KeyError::Refused));
        }
        let key =
            self.twice(&known, |generation| generation.unwrap(&known, wrapped.rung, &wrapped.ciphertext, context));
        self.young = None;
        key
    }

    /// Opens a canary: fails only if none opens.
    pub(crate) fn probe(&mut self) -> Result<(), Failure> {
        let Some(known) = self.known.as_slice().first().cloned() else { return Ok(()) };
        match self.twice(&known, |generation| generation.canary_opens(&known)) {
            Err(Failure::Lost(reason)) => Err(Failure::Lost(reason)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn find(&self, id: &MasterKeyId) -> Result<KnownKey, Failure> {
        self.known.find(id).cloned().ok_or(Failure::Call(KeyError::UnknownMasterKey { id: *id }))
    }

    /// Does the work in the session at hand, and if that fails once more in a fresh one. Then the canaries judge.
    fn twice<T>(
        &mut self,
        known: &KnownKey,
        work: impl Fn(&mut Generation) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        let reused = self.generation.is_some();
        let mut trouble = match self.once(&work) {
            Ok(done) => return Ok(done),
            Err(trouble) => trouble,
        };
        if reused && !matches!(trouble, Trouble::Final(_)) {
            trouble = match self.once(&work) {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
        }
        let reason = match trouble {
            Trouble::Final(error) => return Err(Failure::Call(error)),
            Trouble::Call(reason) => reason,
            Trouble::Absent => "no key has this id".to_owned(),
        };
        let failure = self.judge(known, &reason);
        if failure == Failure::Call(KeyError::UnknownMasterKey { id: known.id }) {
            return Err(self.unless_a_successor_may(&known.id, &reason, failure));
        }
        Err(failure)
    }

    /// What a process that begins might do is left to one, once for each key: modules that share a token between processes
    /// do not always notice what another has made, and some run out of room for the keys that they have loaded.
    fn unless_a_successor_may(&mut self, id: &MasterKeyId, reason: &str, failure: Failure) -> Failure {
        if self.gone.contains(id) || (self.is_young() && !self.learnt.contains(id)) {
            self.gone.insert(*id);
            return failure;
        }
        Failure::Stale(format!("master key {id} does not work ({reason}), so a new worker tries it"))
    }

    /// Whether this process has just opened the token and answered nothing yet.
    fn is_young(&self) -> bool {
        self.young.is_some_and(|since| since.elapsed() <= YOUTH)
    }

    fn once<T>(&mut self, work: impl Fn(&mut Generation) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut generation = match self.generation.take() {
            Some(generation) => generation,
            None => Generation::open(self.door.clone(), self.habits.clone()).map_err(|failure| match failure {
                Failure::Call(error) => Trouble::Final(error),
                other => Trouble::Call(other.into_reason()),
            })?,
        };
        let result = work(&mut generation);
        if !matches!(result, Err(Trouble::Call(_) | Trouble::Absent)) {
            self.generation = Some(generation);
        }
        result
    }

    /// Away or tampered? Return values do not tell, the canaries do: the key's own opens, so these bytes are at
    /// fault; another version's opens, so this version is gone; none opens, so the HSM is away.
    fn judge(&mut self, known: &KnownKey, reason: &str) -> Failure {
        if self.once(|generation| generation.canary_opens(known)).is_ok() {
            return Failure::Call(KeyError::Refused);
        }
        let others = self.known_current_first().into_iter().filter(|key| key.id != known.id);
        let others: Vec<KnownKey> = others.take(JUDGES_MAX).collect();
        if others.iter().any(|other| self.once(|generation| generation.canary_opens(other)).is_ok()) {
            return Failure::Call(KeyError::UnknownMasterKey { id: known.id });
        }
        Failure::Lost(format!("token {}: {reason}, and no canary opens", self.token))
    }

    fn known_current_first(&self) -> Vec<KnownKey> {
        let mut known = self.known.as_slice().to_vec();
        known.sort_by_key(|key| (!key.current, std::cmp::Reverse(key.version)));
        known
    }

    /// Ready if one known key is there and works, or if none is known yet.
    fn look_for_known(&mut self, notes: &mut Vec<String>) -> Result<(), Failure> {
        let known = self.known_current_first();
        let mut usable = known.is_empty();
        let mut refused = None;
        let begun = Instant::now();
        for (looked, key) in known.iter().enumerate() {
            // A slow HSM with many versions must not keep its workers from starting.
            if usable && (looked >= LOOK_FOR_KNOWN_MAX || begun.elapsed() > LOOK_FOR_KNOWN) {
                break;
            }
            if self.once(|generation| generation.canary_opens(key)).is_ok() {
                usable = true;
                continue;
            }
            let name = format!("master key {}/{} ({})", key.alias, key.version, key.id);
            match self.once(|generation| generation.round_trips(key)) {
                Ok(()) => {
                    usable = true;
                    notes.push(format!(
                        "{name}: its canary does not open, so it does not wrap; restore its keyring row"
                    ));
                }
                Err(Trouble::Absent) => {
                    self.gone.insert(key.id);
                    notes.push(format!("{name} is not on token {}", self.token));
                }
                Err(Trouble::Call(reason)) => notes.push(format!("{name} does not work: {reason}")),
                Err(Trouble::Final(error)) => {
                    notes.push(error.to_string());
                    refused = Some(error);
                }
            }
        }
        match (usable, refused) {
            (true, _) => Ok(()),
            (false, Some(error)) => Err(Failure::Call(error)),
            (false, None) => Err(Failure::Lost(notes.join("; "))),
        }
    }
}

fn working(trials: Vec<trial::Trial>) -> Vec<Pattern> {
    trials.into_iter().filter(|trial| trial.fault.is_none()).map(|trial| trial.pattern).collect()
}
