//! New master keys on a token: an AES key, or an RSA key pair and its signer, made so that they cannot leave it.
//!
//! What the token made is read back; what could leave it is destroyed, by handle, and so is a master key that turns out
//! not to wrap.

use super::door::Door;
use super::failure::{Failure, describe, lost, patiently};
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
    door: &Door,
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
            let (public, private) = rsa(door, session, Use::Wrap, true, &label, id).map_err(|error| lost(&error))?;
            let mut objects = vec![public, private];
            let signing = rsa(door, session, Use::Sign, true, &format!("{label}/sign"), &signer_id(id));
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

/// Works with two RSA key pairs that are made for it: session objects, or where the token makes none, objects of the token
/// that are destroyed afterwards.
pub(super) fn with_throw_away_rsa<T>(
    door: &Door,
    session: &Session,
    work: impl FnOnce(RsaMaster) -> Result<T, String>,
) -> Result<T, String> {
    let id = MasterKeyId::new([0x5a; 16]);
    let make = |usage, stays| rsa(door, session, usage, stays, "strongroom/throw-away", &id);
    let told = |error: Error| describe(&error);
    let (stays, (public, private)) = match make(Use::Wrap, false) {
        Ok(pair) => (false, pair),
        Err(_) => (true, make(Use::Wrap, true).map_err(told)?),
    };
    let mut objects = vec![public, private];
    let result = make(Use::Sign, stays).map_err(told).and_then(|(public_signer, signer)| {
        objects.extend([public_signer, signer]);
        let verifier = object::rsa_components(session, signer).map_err(told)?;
        let verifier = verifier.ok_or("the token does not tell the modulus of its own key")?;
        work(RsaMaster { id, public, private, signer, verifier })
    });
    if stays {
        remove(session, &objects).map_err(|why| {
            format!("the token keeps keys with the label strongroom/throw-away ({why}): remove them by hand")
        })?;
    }
    result
}

/// For one use alone where the token makes such keys: one module makes an RSA key for both or not at all.
fn rsa(
    door: &Door,
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
        Attribute::Wrap(false),
        Attribute::Modifiable(true),
    ];
    let private =
        [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Unwrap(false)];
    let wraps = [Attribute::Encrypt(usage == Use::Wrap), Attribute::Decrypt(usage == Use::Wrap)];
    let signs = [Attribute::Verify(usage == Use::Sign), Attribute::Sign(usage == Use::Sign)];
    let make = |uses: &[&[Attribute; 2]]| {
        let of_half = |half: usize, rest: &[Attribute]| -> Vec<Attribute> {
            both.iter().chain(rest).chain(uses.iter().map(|pair| &pair[half])).cloned().collect()
        };
        session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &of_half(0, &public), &of_half(1, &private))
    };
    let known = &door.rsa_for_both_uses;
    if !known.get()
        && let Ok(pair) = make(&[&wraps, &signs])
    {
        return Ok(pair);
    }
    let pair = make(&[if usage == Use::Wrap { &wraps } else { &signs }])?;
    known.set(true);
    Ok(pair)
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
    match remove(session, objects) {
        Ok(()) => "it was destroyed".to_owned(),
        Err(why) => format!("destroying it failed ({why}): remove it by hand"),
    }
}

fn remove(session: &Session, objects: &[ObjectHandle]) -> Result<(), String> {
    let destroy = |one: &ObjectHandle| patiently(|| session.destroy_object(*one).map_err(|error| lost(&error)));
    let failed: Vec<String> = objects.iter().filter_map(|one| destroy(one).err()).map(Failure::into_reason).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
}
