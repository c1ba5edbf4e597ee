//! The session that works, and the handles found in it.
//!
//! A session is dropped after any error (some modules leave the operation open in it), and its handles with it: they
//! are found again, judged again, and their canaries opened again, in the next one.

use super::failure::{Failure, describe, lost};
use super::mechanism::{self, CallError};
use super::object::{self, Found};
use crate::canary;
use crate::error::KeyError;
use crate::provider::{KnownKey, MasterKeyId};
use crate::rung::Rung;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use cryptoki::context::Pkcs11;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use std::collections::HashMap;
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
            CallError::Random => Self::Call("the operating system gave no random bytes".to_owned()),
            CallError::Shape => Self::Call("the token's answer has a length that AES-GCM cannot give".to_owned()),
        }
    }
}

#[derive(Clone, Copy)]
struct Handle {
    object: ObjectHandle,
    /// Its canary has opened in this session: it is the very key that the keyring means.
    proven: bool,
}

/// One session, logged in by the anchor, with what was found in it.
pub(super) struct Generation {
    module: Pkcs11,
    slot: Slot,
    session: Session,
    handles: HashMap<MasterKeyId, Handle>,
}

impl Generation {
    pub(super) fn open(module: &Pkcs11, slot: Slot) -> Result<Self, Failure> {
        let session = module.open_ro_session(slot).map_err(|error| lost(&error))?;
        Ok(Self { module: module.clone(), slot, session, handles: HashMap::new() })
    }

    /// Encrypts, decrypts again and compares. Never under a key whose canary has not opened: somebody who may write
    /// to the token could have put a key of his own under that id.
    pub(super) fn wrap(&mut self, known: &KnownKey, key: &[u8; 32], context: &[u8; 32]) -> Result<Vec<u8>, Trouble> {
        let handle = self.handle(known)?;
        if !handle.proven {
            return Err(Trouble::Final(KeyError::Misconfigured(format!(
                "the canary of master key {} does not open, so nothing is wrapped under it: the keyring row is damaged, \
                 or the token holds another key under this id",
                known.id
            ))));
        }
        let rung = Rung::AesGcm;
        let ciphertext = mechanism::encrypt(&self.session, rung, handle.object, key, context)?;
        let opened = mechanism::decrypt(&self.session, rung, handle.object, &ciphertext, context)?;
        verify_slices_are_equal(opened.as_slice(), key).map_err(|_| {
            Trouble::Final(KeyError::Misconfigured(
                "the token unwraps to another key than it wrapped: do not use this module".to_owned(),
            ))
        })?;
        Ok(ciphertext)
    }

    pub(super) fn unwrap(
        &mut self,
        known: &KnownKey,
        rung: Rung,
        ciphertext: &[u8],
        context: &[u8; 32],
    ) -> Result<Zeroizing<[u8; 32]>, Trouble> {
        let handle = self.handle(known)?;
        Ok(mechanism::decrypt(&self.session, rung, handle.object, ciphertext, context)?)
    }

    /// Whether the canary opens to what it must hold.
    pub(super) fn canary_opens(&mut self, known: &KnownKey) -> Result<(), Trouble> {
        let handle = self.handle(known)?;
        if handle.proven && open_canary(&self.session, handle.object, known).is_ok() {
            return Ok(());
        }
        Err(Trouble::Call(format!("the canary of master key {} does not open", known.id)))
    }

    /// Whether the token encrypts and decrypts under this key at all: then a canary that does not open is damaged.
    pub(super) fn round_trips(&mut self, known: &KnownKey) -> Result<(), Trouble> {
        let handle = self.handle(known)?;
        let context = canary::context(&known.id);
        let ciphertext = mechanism::encrypt(&self.session, Rung::AesGcm, handle.object, canary::VALUE, &context)?;
        mechanism::decrypt(&self.session, Rung::AesGcm, handle.object, &ciphertext, &context)?;
        Ok(())
    }

    fn handle(&mut self, known: &KnownKey) -> Result<Handle, Trouble> {
        if let Some(handle) = self.handles.get(&known.id) {
            return Ok(*handle);
        }
        let object = match object::find(&self.session, &known.id).map_err(CallError::Module)? {
            Found::Key(object) => object,
            Found::Absent => return Err(Trouble::Absent),
            Found::Refused(why) => return Err(Trouble::Final(KeyError::Misconfigured(why))),
        };
        let proven = open_canary(&self.session, object, known).is_ok();
        if !proven {
            // The failed call may have left its operation open; handles outlive a session, the anchor keeps the login.
            self.session = self.module.open_ro_session(self.slot).map_err(CallError::Module)?;
        }
        let handle = Handle { object, proven };
        self.handles.insert(known.id, handle);
        Ok(handle)
    }
}

fn open_canary(session: &Session, object: ObjectHandle, known: &KnownKey) -> Result<(), CallError> {
    let aad = canary::context(&known.id);
    let opened = mechanism::decrypt(session, known.canary.rung, object, &known.canary.ciphertext, &aad)?;
    verify_slices_are_equal(opened.as_slice(), canary::VALUE).map_err(|_| CallError::Shape)
}
