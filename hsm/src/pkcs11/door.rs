//! The way into a token: one anchor session, logged in and held for life, and sessions beside it.
//!
//! Closing the last session logs out, so the anchor is never dropped while others work and never logged out. Where the
//! token allows a single session, the anchor is also the one that works.

use super::failure::{Failure, describe, lost};
use super::module;
use super::pin::{self, PinSource, RefusedPin};
use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use std::cell::Cell;
use std::rc::Rc;

pub(super) struct Door {
    pub(super) module: Pkcs11,
    pub(super) slot: Slot,
    /// Whether an RSA key for one use alone was refused here, and one for both was made.
    pub(super) rsa_for_both_uses: Cell<bool>,
    anchor: Rc<Session>,
}

impl Door {
    /// Opens the anchor and logs in. Gives what an administrator should read, too.
    pub(super) fn open(
        module: Pkcs11,
        slot: Slot,
        info: &TokenInfo,
        pin: &PinSource,
        refused: Option<&RefusedPin>,
    ) -> Result<(Self, Vec<String>), Failure> {
        // Writable, so that a token of one session can make master keys in it.
        let anchor = module.open_rw_session(slot).or_else(|_| module.open_ro_session(slot));
        let anchor = anchor.map_err(|error| lost(&error))?;
        let mut notes = Vec::new();
        log_in(&anchor, info, pin, refused, &mut notes)?;
        let anchor = Rc::new(anchor);
        Ok((Self { module, slot, rsa_for_both_uses: Cell::new(false), anchor }, notes))
    }

    /// A session to work in; the anchor where the token allows no other.
    pub(super) fn session(&self) -> Result<Rc<Session>, Error> {
        self.or_anchor(self.module.open_ro_session(self.slot))
    }

    /// A session that may make, change and destroy objects.
    pub(super) fn writable(&self) -> Result<Rc<Session>, Error> {
        self.or_anchor(self.module.open_rw_session(self.slot))
    }

    /// A session to make throw-away keys in: a writable one where there is any, since one module makes key pairs in no
    /// other.
    pub(super) fn workshop(&self) -> Result<Rc<Session>, Error> {
        self.writable().or_else(|_| self.session())
    }

    fn or_anchor(&self, opened: Result<Session, Error>) -> Result<Rc<Session>, Error> {
        match opened {
            Ok(session) => Ok(Rc::new(session)),
            Err(Error::Pkcs11(RvError::SessionCount, _)) => Ok(self.anchor.clone()),
            Err(error) => Err(error),
        }
    }
}

/// Logs in once. A PIN that the token refuses is never tried again by itself: some tokens lock at the third.
fn log_in(
    anchor: &Session,
    info: &TokenInfo,
    source: &PinSource,
    refused: Option<&RefusedPin>,
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let token = module::name(info);
    // What the token says of itself is looked at again and again, which costs no try; what is in the file is not.
    if info.user_pin_locked() {
        let what = format!("token {token} has locked its user PIN: its security officer must set it anew");
        return Err(Failure::misconfigured(what));
    }
    if info.user_pin_final_try() {
        let why = "locks its user PIN at the next wrong one, so none is tried: log in once by another tool";
        return Err(Failure::misconfigured(format!("token {token} {why}")));
    }
    let (pin, note) = pin::read(source)?;
    notes.extend(note);
    match refused {
        Some(refused) if refused.is(&pin) => {
            let what =
                format!("token {token} has refused this PIN before, so it is not tried again: correct the PIN file");
            return Err(Failure::PinRefused { what, refused: Some(refused.clone()) });
        }
        // The count is low by the attempt of ours that is remembered, and the PIN is another now.
        Some(_) => {}
        None if info.user_pin_count_low() => {
            let why = "has seen wrong PINs lately, so none is tried: log in once by another tool";
            return Err(Failure::misconfigured(format!("token {token} {why}")));
        }
        None => {}
    }
    match anchor.login(UserType::User, Some(&pin)) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(error) if is_about_the_pin(&error) => Err(Failure::PinRefused {
            what: format!(
                "token {token} refuses the PIN ({}): correct the PIN file; it is tried again when the file changes",
                describe(&error)
            ),
            refused: RefusedPin::of(&pin),
        }),
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
