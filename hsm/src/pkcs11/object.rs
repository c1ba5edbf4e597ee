//! Master keys as objects of a token: how one is found, made and judged.
//!
//! A search always names the class (one module lists its mechanisms as objects). A key that could leave the token is
//! refused, whoever made it. An attribute has three states: yes, no, and not told.

use super::failure::{Failure, describe, lost};
use crate::provider::{Alias, MasterKeyId, Version};
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// What a token said of a yes-or-no attribute. Absent is not false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
    Nothing,
}

/// What a search for a CKA_ID found.
pub(super) enum Found {
    /// Exactly one key, and it cannot leave the token.
    Key(ObjectHandle),
    /// No such key, with CKR_OK: on some modules that also means "token lost".
    Absent,
    /// It must not be used, and the text says why.
    Refused(String),
}

/// Looks for the key with this id.
pub(super) fn find(session: &Session, id: &MasterKeyId) -> Result<Found, Error> {
    let template = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Id(id.as_bytes().to_vec())];
    match session.find_objects(&template)?.as_slice() {
        [] => Ok(Found::Absent),
        [only] => Ok(match why_it_could_leave(session, *only)? {
            None => Found::Key(*only),
            Some(why) => Found::Refused(format!("master key {id} {why}: make a new version and rewrap")),
        }),
        several => {
            Ok(Found::Refused(format!("{} keys on the token have CKA_ID {id}: remove all but one", several.len())))
        }
    }
}

/// Makes an AES-256 key that encrypts and decrypts inside the token and does nothing else. What the token made is
/// read back; a key that could leave it is destroyed, by handle.
pub(super) fn make(session: &Session, alias: &Alias, version: Version, id: &MasterKeyId) -> Result<(), Failure> {
    let template = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::ValueLen(32.into()),
        Attribute::Token(true),
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
        Attribute::Label(format!("{alias}/{version}/{id}").into_bytes()),
    ];
    let handle = session.generate_key(&Mechanism::AesKeyGen, &template).map_err(|error| lost(&error))?;
    let why = why_it_could_leave(session, handle).map_err(|error| lost(&error))?;
    let Some(why) = why else { return Ok(()) };
    let left = match session.destroy_object(handle) {
        Ok(()) => "it was destroyed".to_owned(),
        Err(error) => format!("destroying it failed ({}): remove it by hand", describe(&error)),
    };
    Err(Failure::misconfigured(format!("the token made master key {id}, which {why}; {left}")))
}

/// The reason why a key is not confined to the token, if it is not.
fn why_it_could_leave(session: &Session, key: ObjectHandle) -> Result<Option<&'static str>, Error> {
    let wanted = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::AlwaysSensitive,
        AttributeType::NeverExtractable,
    ];
    let attributes = session.get_attributes(key, &wanted)?;
    let told = |pick: fn(&Attribute) -> Option<bool>| match attributes.iter().find_map(pick) {
        Some(true) => Told::Yes,
        Some(false) => Told::No,
        None => Told::Nothing,
    };
    let sensitive = told(|a| if let Attribute::Sensitive(v) = a { Some(*v) } else { None });
    let extractable = told(|a| if let Attribute::Extractable(v) = a { Some(*v) } else { None });
    let always_sensitive = told(|a| if let Attribute::AlwaysSensitive(v) = a { Some(*v) } else { None });
    let never_extractable = told(|a| if let Attribute::NeverExtractable(v) = a { Some(*v) } else { None });
    Ok(match (extractable, sensitive) {
        (Told::Yes, _) => Some("is extractable"),
        (_, Told::No) => Some("is not sensitive"),
        (Told::Nothing, _) | (_, Told::Nothing) => Some("may be extractable: the token does not tell"),
        (Told::No, Told::Yes) if never_extractable == Told::No => Some("was extractable once"),
        (Told::No, Told::Yes) if always_sensitive == Told::No => Some("was not sensitive once"),
        (Told::No, Told::Yes) => None,
    })
}
