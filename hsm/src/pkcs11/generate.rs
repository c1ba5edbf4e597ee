//! New master keys on a token: an AES key, or an RSA key pair and its signer, made so that they cannot leave it.
//!
//! What the token made is read back; what could leave it is destroyed, by handle, and so is a master key that turns out
//! not to wrap.

use super::failure::{Failure, describe, lost};
use super::mechanism::Master;
use super::oaep::RsaMaster;
use super::object::{self, Found, label, signer_id, why_it_could_leave};
use crate::provider::{Alias, MasterKeyId, Version};
use crate::rung::Rung;
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// Bits of RSA master keys: 128 bits of strength (SP 800-57 part 1).
const RSA_BITS: u64 = 3072;

/// A master key just made, and every object that it consists of.
pub(super) struct Made {
    pub(super) master: Master,
    objects: Vec<ObjectHandle>,
}

impl Made {
    /// Takes it from the token again, and says how that went.
    pub(super) fn destroy(&self, session: &Session) -> String {
        destroy_all(session, &self.objects)
    }
}

/// Makes a key for this rung on the token.
pub(super) fn make(
    session: &Session,
    rung: Rung,
    alias: &Alias,
    version: Version,
    id: &MasterKeyId,
) -> Result<Made, Failure> {
    let label = label(alias, version, id);
    match rung {
        Rung::AesGcm | Rung::AesKeyWrap => {
            let handle = aes(session, true, &label, id).map_err(|error| lost(&error))?;
            check(session, id, &[handle], &[handle])?;
            Ok(Made { master: Master::Aes(handle), objects: vec![handle] })
        }
        Rung::RsaOaep => {
            let (public, private) = rsa(session, Use::Wrap, true, &label, id).map_err(|error| lost(&error))?;
            let mut objects = vec![public, private];
            let signing = rsa(session, Use::Sign, true, &format!("{label}/sign"), &signer_id(id));
            let (verifier, signer) = signing.map_err(|error| {
                destroy_all(session, &objects);
                lost(&error)
            })?;
            objects.extend([verifier, signer]);
            check(session, id, &[private, signer], &objects)?;
            match object::find(session, id, rung, false).map_err(|error| lost(&error))? {
                Found::Key(master) => Ok(Made { master, objects }),
                Found::Absent => Err(Failure::misconfigured(format!(
                    "the token made master key {id} but does not find it by id; {}",
                    destroy_all(session, &objects)
                ))),
                Found::Refused(why) => {
                    Err(Failure::misconfigured(format!("{why}; {}", destroy_all(session, &objects))))
                }
            }
        }
    }
}

/// An AES-256 key that encrypts and decrypts inside the token and does nothing else.
pub(super) fn aes(session: &Session, stays: bool, label: &str, id: &MasterKeyId) -> Result<ObjectHandle, Error> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32.into()),
        Attribute::Token(stays),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        // So that CKA_ENCRYPT can be taken from a version that only unwraps.
        Attribute::Modifiable(true),
        Attribute::Id(id.as_bytes().to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    session.generate_key(&Mechanism::AesKeyGen, &template)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Wrap,
    Sign,
}

/// Two RSA key pairs as session objects: gone with the session.
pub(super) fn throw_away_rsa(session: &Session) -> Result<RsaMaster, String> {
    let id = MasterKeyId::new([0x5a; 16]);
    let made = |usage| rsa(session, usage, false, "strongroom/throw-away", &id).map_err(|error| describe(&error));
    let (public, private) = made(Use::Wrap)?;
    let (_, signer) = made(Use::Sign)?;
    let verifier = object::rsa_components(session, signer).map_err(|error| describe(&error))?;
    let verifier = verifier.ok_or("the token does not tell the modulus of its own key")?;
    Ok(RsaMaster { id, public, private, signer, verifier })
}

fn rsa(
    session: &Session,
    usage: Use,
    stays: bool,
    label: &str,
    id: &MasterKeyId,
) -> Result<(ObjectHandle, ObjectHandle), Error> {
    let both =
        [Attribute::Token(stays), Attribute::Id(id.as_bytes().to_vec()), Attribute::Label(label.as_bytes().to_vec())];
    let public = [
        Attribute::ModulusBits(RSA_BITS.into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
        Attribute::Private(false),
        Attribute::Encrypt(usage == Use::Wrap),
        Attribute::Verify(usage == Use::Sign),
        Attribute::Wrap(false),
        Attribute::Modifiable(true),
    ];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Decrypt(usage == Use::Wrap),
        Attribute::Sign(usage == Use::Sign),
        Attribute::Unwrap(false),
    ];
    let public: Vec<Attribute> = both.iter().chain(&public).cloned().collect();
    let private: Vec<Attribute> = both.iter().chain(&private).cloned().collect();
    session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public, &private)
}

fn check(
    session: &Session,
    id: &MasterKeyId,
    secret: &[ObjectHandle],
    objects: &[ObjectHandle],
) -> Result<(), Failure> {
    for handle in secret {
        let why = why_it_could_leave(session, *handle).map_err(|error| lost(&error))?;
        if let Some(why) = why {
            let left = destroy_all(session, objects);
            return Err(Failure::misconfigured(format!("the token made master key {id}, which {why}; {left}")));
        }
    }
    Ok(())
}

fn destroy_all(session: &Session, objects: &[ObjectHandle]) -> String {
    let failed: Vec<String> =
        objects.iter().filter_map(|one| session.destroy_object(*one).err()).map(|error| describe(&error)).collect();
    if failed.is_empty() {
        "it was destroyed".to_owned()
    } else {
        format!("destroying it failed ({}): remove it by hand", failed.join(", "))
    }
}
