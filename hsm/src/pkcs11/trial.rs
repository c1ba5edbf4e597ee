//! Which call patterns a token does, tried on a throw-away key: mechanism lists and CKR_OK are not believed.
//!
//! A pattern counts once it wrapped two keys, opened both to what they were, refused an altered byte and another context,
//! and, where the token makes the IV, made two. Nothing of it stays on the token: the key is a session object.

use super::door::Door;
use super::failure::{Failure, describe, lost};
use super::gcm::{self, IvWay};
use super::generate;
use super::mechanism::{self, CallError, Master, Pattern};
use crate::provider::MasterKeyId;
use crate::rung::Rung;
use cryptoki::session::Session;

/// What came of one pattern.
pub(crate) struct Trial {
    pub(crate) pattern: Pattern,
    /// Why it does not count.
    pub(crate) fault: Option<String>,
}

/// Tries every pattern of the AES rungs among `rungs`, in that order.
pub(super) fn aes_patterns(door: &Door, rungs: &[Rung]) -> Result<Vec<Trial>, Failure> {
    let mut trials = Vec::new();
    for pattern in rungs.iter().flat_map(|rung| candidates(*rung)) {
        let rung_is_done = |trial: &Trial| trial.fault.is_none() && trial.pattern.rung() == pattern.rung();
        if trials.iter().any(rung_is_done) {
            continue;
        }
        // A session of its own: some modules leave a failed operation open.
        let session = door.workshop().map_err(|error| lost(&error))?;
        let fault = match throw_away(&session) {
            Ok(master) => attempt(door, &session, pattern, &master).err(),
            Err(why) => Some(why),
        };
        trials.push(Trial { pattern, fault });
    }
    Ok(trials)
}

fn candidates(rung: Rung) -> Vec<Pattern> {
    match rung {
        Rung::AesKeyWrap => vec![Pattern::KeyWrap],
        Rung::AesGcm => IvWay::ALL.map(Pattern::Gcm).to_vec(),
        Rung::RsaOaep => Vec::new(),
    }
}

fn throw_away(session: &Session) -> Result<Master, String> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| "the operating system gave no random bytes".to_owned())?;
    generate::aes(session, false, "strongroom/throw-away", &MasterKeyId::new(id))
        .map(Master::Aes)
        .map_err(|error| describe(&error))
}

/// Two wraps, both opened, and what must be refused.
pub(super) fn attempt(door: &Door, session: &Session, pattern: Pattern, master: &Master) -> Result<(), String> {
    let (key, context) = ([0x5a; 32], [0xc3; 32]);
    let told = |error: CallError| error.describe();
    let one = mechanism::encrypt(session, pattern, master, &key, &context).map_err(told)?;
    let two = mechanism::encrypt(session, pattern, master, &key, &context).map_err(told)?;
    for bytes in [&one, &two] {
        let opened = mechanism::decrypt(session, pattern.rung(), master, bytes, &context).map_err(told)?;
        if *opened != key {
            return Err("unwraps to another key than it wrapped".to_owned());
        }
    }
    if let Pattern::Gcm(_) = pattern
        && gcm::iv(&one) == gcm::iv(&two)
    {
        return Err("the same IV twice".to_owned());
    }
    let mut altered = two;
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    let refused = |bytes: &[u8], context: &[u8; 32]| {
        let other = door.session().map_err(|error| describe(&error))?;
        Ok::<bool, String>(mechanism::decrypt(&other, pattern.rung(), master, bytes, context).is_err())
    };
    if !refused(&altered, &context)? {
        return Err("unwraps altered bytes".to_owned());
    }
    if !refused(&one, &[0; 32])? {
        return Err("unwraps for another context".to_owned());
    }
    Ok(())
}
