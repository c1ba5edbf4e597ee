//! Master keys in a PKCS#11 token, as the worker process uses them: one module, one token, one thread.
//!
//! The module is loaded once and never finalised while anything may be in it. One anchor session is logged in and held
//! for life (closing the last session logs out). A call that fails is repeated once in a fresh session; what fails
//! there too is judged by the canaries: see [`TokenKeys::judge`].

mod failure;
mod make;
mod mechanism;
mod module;
mod object;
mod pin;
mod sessions;

pub(crate) use failure::Failure;
pub(crate) use make::make_token;
pub use module::TokenSelector;
pub use pin::PinSource;

use crate::canary;
use crate::error::KeyError;
use crate::provider::{Alias, CreatedKey, KnownKey, KnownKeys, MasterKeyId, Version};
use crate::rung::Rung;
use crate::wrapped::WrappedKey;
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use failure::{describe, lost};
use sessions::{Generation, Trouble};
use std::path::Path;
use zeroize::Zeroizing;

/// A token, logged in.
pub(crate) struct TokenKeys {
    module: Pkcs11,
    slot: Slot,
    token: String,
    known: KnownKeys,
    generation: Option<Generation>,
    /// Never used, never logged out: it keeps the login of all the others.
    _anchor: Session,
}

impl TokenKeys {
    /// Loads, finds, logs in, and looks for the known keys. Gives what an administrator should read, too.
    pub(crate) fn open(
        module: &Path,
        token: &TokenSelector,
        pin: &PinSource,
        known: Vec<KnownKey>,
    ) -> Result<(Self, Vec<String>), Failure> {
        let module = module::load(module)?;
        let (slot, info) = module::find_token(&module, token)?;
        let anchor = module.open_ro_session(slot).map_err(|error| lost(&error))?;
        let mut notes = Vec::new();
        log_in(&anchor, &info, pin, &mut notes)?;
        let mut keys = Self {
            module,
            slot,
            token: module::name(&info),
            known: KnownKeys::default(),
            generation: None,
            _anchor: anchor,
        };
        keys.know(known);
        keys.look_for_known(&mut notes)?;
        Ok((keys, notes))
    }

    /// Tells of keys that the keyring knows.
    pub(crate) fn know(&mut self, known: Vec<KnownKey>) {
        self.known.register(known);
        // Canaries may be others now: proofs are made anew.
        self.generation = None;
    }

    pub(crate) fn wrap(
        &mut self,
        master: &MasterKeyId,
        key: &[u8; 32],
        context: &[u8; 32],
    ) -> Result<WrappedKey, Failure> {
        let known = self.find(master)?;
        let wrapped = self.twice(&known, |generation| generation.wrap(&known, key, context));
        let ciphertext = wrapped.map_err(|failure| match failure {
            // The canary opens, and there were no bytes yet that could be at fault.
            Failure::Call(KeyError::Refused) => {
                Failure::Call(KeyError::away(format!("token {} decrypts but does not encrypt", self.token)))
            }
            other => other,
        })?;
        Ok(WrappedKey { master: *master, rung: Rung::AesGcm, ciphertext })
    }

    pub(crate) fn unwrap(&mut self, wrapped: &WrappedKey, context: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, Failure> {
        let known = self.find(&wrapped.master)?;
        if !mechanism::is_well_formed(wrapped.rung, &wrapped.ciphertext) {
            return Err(Failure::Call(KeyError::Refused));
        }
        self.twice(&known, |generation| generation.unwrap(&known, wrapped.rung, &wrapped.ciphertext, context))
    }

    /// Opens a canary: fails only if none opens.
    pub(crate) fn probe(&mut self) -> Result<(), Failure> {
        let Some(known) = self.known.as_slice().first().cloned() else { return Ok(()) };
        match self.twice(&known, |generation| generation.canary_opens(&known)) {
            Err(Failure::Lost(reason)) => Err(Failure::Lost(reason)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes a key and its canary. It does not wrap before the keyring knows it.
    pub(crate) fn create(&mut self, alias: Alias, version: Version) -> Result<CreatedKey, Failure> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| Failure::misconfigured("the operating system gave no random bytes"))?;
        let id = MasterKeyId::new(bytes);
        let session = self.module.open_rw_session(self.slot).map_err(|error| lost(&error))?;
        object::make(&session, &alias, version, &id)?;
        let canary = self.make_canary(&session, &id)?;
        let created = CreatedKey { id, version, alias, canary };
        // Found by its id, judged, canary opened: the way that every later use takes.
        let known = created.clone().into_known(false);
        self.twice(&known, |generation| generation.canary_opens(&known))?;
        self.generation = None;
        Ok(created)
    }

    fn make_canary(&self, session: &Session, id: &MasterKeyId) -> Result<WrappedKey, Failure> {
        let handle = match object::find(session, id).map_err(|error| lost(&error))? {
            object::Found::Key(handle) => handle,
            object::Found::Refused(why) => return Err(Failure::misconfigured(why)),
            object::Found::Absent => {
                return Err(Failure::misconfigured(format!(
                    "the token made master key {id} but does not find it by id"
                )));
            }
        };
        let ciphertext = mechanism::encrypt(session, Rung::AesGcm, handle, canary::VALUE, &canary::context(id))
            .map_err(|error| match Trouble::from(error) {
                Trouble::Call(reason) => {
                    Failure::misconfigured(format!("token {} does not do AES-GCM with AAD: {reason}", self.token))
                }
                Trouble::Absent => Failure::Call(KeyError::UnknownMasterKey { id: *id }),
                Trouble::Final(error) => Failure::Call(error),
            })?;
        Ok(WrappedKey { master: *id, rung: Rung::AesGcm, ciphertext })
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
        match trouble {
            Trouble::Final(error) => Err(Failure::Call(error)),
            Trouble::Call(reason) => Err(self.judge(known, &reason)),
            Trouble::Absent => Err(self.judge(known, "no key has this id")),
        }
    }

    fn once<T>(&mut self, work: impl Fn(&mut Generation) -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut generation = match self.generation.take() {
            Some(generation) => generation,
            None => Generation::open(&self.module, self.slot).map_err(|failure| match failure {
                Failure::Lost(reason) | Failure::PinRefused(reason) => Trouble::Call(reason),
                Failure::Call(error) => Trouble::Final(error),
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
        let others: Vec<KnownKey> = self.known.as_slice().iter().filter(|key| key.id != known.id).cloned().collect();
        if others.iter().any(|other| self.once(|generation| generation.canary_opens(other)).is_ok()) {
            return Failure::Call(KeyError::UnknownMasterKey { id: known.id });
        }
        Failure::Lost(format!("token {}: {reason}, and no canary opens", self.token))
    }

    /// Ready if one known key is there and works, or if none is known yet.
    fn look_for_known(&mut self, notes: &mut Vec<String>) -> Result<(), Failure> {
        let known = self.known.as_slice().to_vec();
        let mut usable = known.is_empty();
        let mut refused = None;
        for key in &known {
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
                Err(Trouble::Absent) => notes.push(format!("{name} is not on token {}", self.token)),
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

/// Logs in once. A PIN that the token refuses is never tried again by itself: some tokens lock at the third.
fn log_in(anchor: &Session, info: &TokenInfo, source: &PinSource, notes: &mut Vec<String>) -> Result<(), Failure> {
    let token = module::name(info);
    if info.user_pin_locked() {
        return Err(Failure::PinRefused(format!(
            "token {token} has locked its user PIN: its security officer must set it anew"
        )));
    }
    if info.user_pin_final_try() {
        return Err(Failure::PinRefused(format!(
            "token {token} locks its user PIN at the next wrong one, so none is tried: log in once by another tool"
        )));
    }
    let (pin, note) = pin::read(source)?;
    notes.extend(note);
    match anchor.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) if is_about_the_pin(&error) => Err(Failure::PinRefused(format!(
            "token {token} refuses the PIN ({}): correct the PIN file; it is tried again when the file changes",
            describe(&error)
        ))),
        Err(error) => Err(lost(&error)),
    }
}

fn is_about_the_pin(error: &Error) -> bool {
    use RvError::{PinExpired, PinIncorrect, PinInvalid, PinLenRange, PinLocked, UserPinNotInitialized};
    matches!(
        error,
        Error::Pkcs11(PinIncorrect | PinInvalid | PinLenRange | PinExpired | PinLocked | UserPinNotInitialized, _)
    )
}
