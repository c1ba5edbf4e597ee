//! The session that works, and the handles found in it.
//!
//! A session is dropped after any error (some modules leave the operation open in it), and its handles with it: they
//! are found again, judged again, and their canaries opened again, in the next one.

use super::door::Door;
use super::failure::{Failure, describe, lost};
use super::mechanism::{self, CallError, Master, Pattern};
use super::object::{self, Found};
use crate::canary;
use crate::error::KeyError;
use crate::provider::{KnownKey, MasterKeyId};
use crate::rung::Rung;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use cryptoki::session::Session;
use std::collections::HashMap;
use std::rc::Rc;
use zeroize::Zeroizing;

/// Why a piece of work in one session failed.
pub(super) enum Trouble {
    /// A call failed: the session is not to be used again, and the reason may lie in the token or in the bytes.
    Call(String),
    /// The key was not found in the token.
    Absent,
    /// Settled: for the caller.
    Final(KeyError),
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Module(error) => Self::Call(describe(&error)),
            other => Self::Call(other.describe()),
        }
    }
}

#[derive(Clone)]
struct Handle {
    master: Master,
    /// Its canary has opened in this session: it is the very key that the keyring means.
    proven: bool,
}

/// What a generation needs to know of its token.
#[derive(Clone)]
pub(super) struct Habits {
    /// The pattern by which AES keys wrap here, if one does.
    pub(super) aes: Option<Pattern>,
    pub(super) may_be_extractable: bool,
}

impl Habits {
    /// How a master key of this kind wraps.
    pub(super) fn pattern(&self, master: &Master) -> Option<Pattern> {
        match master {
            Master::Aes(_) => self.aes,
            Master::Rsa(_) => Some(Pattern::Oaep),
        }
    }
}

/// One session, logged in by the anchor, with what was found in it.
pub(super) struct Generation {
    door: Rc<Door>,
    habits: Habits,
    session: Rc<Session>,
    handles: HashMap<MasterKeyId, Handle>,
}

impl Generation {
    pub(super) fn open(door: Rc<Door>, habits: Habits) -> Result<Self, Failure> {
        let session = door.session().map_err(|error| lost(&error))?;
        Ok(Self { door, habits, session, handles: HashMap::new() })
    }

    /// Encrypts, decrypts again and compares. Never under a key whose canary has not opened: somebody who may write
    /// to the token could have put a key of his own under that id.
    pub(super) fn wrap(
        &mut self,
        known: &KnownKey,
        key: &[u8; 32],
        context: &[u8; 32],
    ) -> Result<(Rung, Vec<u8>), Trouble> {
        let handle = self.handle(known)?;
        if !handle.proven {
            return Err(Trouble::Final(KeyError::Misconfigured(format!(
                "the canary of master key {} does not open, so nothing is wrapped under it: the keyring row is damaged, \
                 or the token holds another key under this id",
                known.id
            ))));
        }
        let pattern = self.pattern(&handle.master)?;
        let sealed = mechanism::encrypt(&self.session, pattern, &handle.master, key, context);
        let sealed = sealed.map_err(|error| {
            if error.is_function_not_permitted() {
                Trouble::Final(KeyError::Superseded { alias: known.alias.clone() })
            } else {
                error.into()
            }
        })?;
        let opened = mechanism::decrypt(&self.session, pattern.rung(), &handle.master, &sealed, context)?;
        verify_slices_are_equal(opened.as_slice(), key).map_err(|_| {
            Trouble::Final(KeyError::Misconfigured(
                "the token unwraps to another key than it wrapped: do not use this module".to_owned(),
            ))
        })?;
        Ok((pattern.rung(), sealed))
    }

    pub(super) fn unwrap(
        &mut self,
        known: &KnownKey,
        rung: Rung,
        ciphertext: &[u8],
        context: &[u8; 32],
    ) -> Result<Zeroizing<[u8; 32]>, Trouble> {
        let handle = self.handle(known)?;
        Ok(mechanism::decrypt(&self.session, rung, &handle.master, ciphertext, context)?)
    }

    /// Whether the canary opens to what it must hold.
    pub(super) fn canary_opens(&mut self, known: &KnownKey) -> Result<(), Trouble> {
        let handle = self.handle(known)?;
        if handle.proven && open_canary(&self.session, &handle.master, known).is_ok() {
            return Ok(());
        }
        Err(Trouble::Call(format!("the canary of master key {} does not open", known.id)))
    }

    /// Whether the token opens anything under this key at all: then a canary that does not open is damaged.
    pub(super) fn round_trips(&mut self, known: &KnownKey) -> Result<(), Trouble> {
        let handle = self.handle(known)?;
        let context = canary::context(&known.id);
        let pattern = self.pattern(&handle.master)?;
        let sealed = mechanism::encrypt(&self.session, pattern, &handle.master, canary::VALUE, &context)?;
        mechanism::decrypt(&self.session, pattern.rung(), &handle.master, &sealed, &context)?;
        Ok(())
    }

    fn pattern(&self, master: &Master) -> Result<Pattern, Trouble> {
        self.habits.pattern(master).ok_or_else(|| {
            Trouble::Final(KeyError::Misconfigured(
                "the token does none of the rungs that are configured for AES master keys: run strongroom hsm doctor"
                    .to_owned(),
            ))
        })
    }

    fn handle(&mut self, known: &KnownKey) -> Result<Handle, Trouble> {
        if let Some(handle) = self.handles.get(&known.id) {
            return Ok(handle.clone());
        }
        let found = object::find(&self.session, &known.id, known.canary.rung, self.habits.may_be_extractable);
        let master = match found.map_err(CallError::Module)? {
            Found::Key(master) => master,
            Found::Absent => return Err(Trouble::Absent),
            Found::Refused(why) => return Err(Trouble::Final(KeyError::Misconfigured(why))),
        };
        let proven = open_canary(&self.session, &master, known).is_ok();
        if !proven {
            // The failed call may have left its operation open; handles outlive a session, the anchor keeps the login.
            self.session = self.door.session().map_err(CallError::Module)?;
        }
        let handle = Handle { master, proven };
        self.handles.insert(known.id, handle.clone());
        Ok(handle)
    }
}

fn open_canary(session: &Session, master: &Master, known: &KnownKey) -> Result<(), CallError> {
    let context = canary::context(&known.id);
    let opened = mechanism::decrypt(session, known.canary.rung, master, &known.canary.ciphertext, &context)?;
    verify_slices_are_equal(opened.as_slice(), canary::VALUE).map_err(|_| CallError::Shape)
}
