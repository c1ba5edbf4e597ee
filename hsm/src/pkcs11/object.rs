//! Master keys as objects of a token: how one is found, judged, and named.
//!
//! A search always names the class (one module lists its mechanisms as objects). A key that could leave the token is
//! refused, whoever made it, unless a flag says otherwise. An attribute has three states: yes, no, and not told.

use super::mechanism::Master;
use super::oaep::{RsaMaster, RsaPublic};
use crate::provider::{Alias, MasterKeyId, Version};
use crate::rung::Rung;
use aws_lc_rs::digest;
use cryptoki::error::Error;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// What a search for a CKA_ID found.
pub(super) enum Found {
    /// Exactly one key, and it cannot leave the token, or that is allowed.
    Key(Master),
    /// No such key, with CKR_OK: on some modules that also means "token lost".
    Absent,
    /// It must not be used, and the text says why.
    Refused(String),
}

/// Looks for the key with this id, of the kind that `rung` needs.
pub(super) fn find(session: &Session, id: &MasterKeyId, rung: Rung, may_be_extractable: bool) -> Result<Found, Error> {
    match rung {
        Rung::AesGcm | Rung::AesKeyWrap => {
            let one = find_one(session, ObjectClass::SECRET_KEY, id)?;
            confined(session, id, one, may_be_extractable, |handle| Ok(Found::Key(Master::Aes(handle))))
        }
        Rung::RsaOaep => find_rsa(session, id, may_be_extractable),
    }
}

fn find_rsa(session: &Session, id: &MasterKeyId, may_be_extractable: bool) -> Result<Found, Error> {
    let private = find_one(session, ObjectClass::PRIVATE_KEY, id)?;
    confined(session, id, private, may_be_extractable, |private| {
        let signing_id = signer_id(id);
        let signer = find_one(session, ObjectClass::PRIVATE_KEY, &signing_id)?;
        confined(session, id, signer, may_be_extractable, |signer| {
            let public = match find_one(session, ObjectClass::PUBLIC_KEY, id)? {
                One::Key(public) => public,
                One::Absent => return Ok(Found::Absent),
                One::Refused(why) => return Ok(Found::Refused(why)),
            };
            // The public key is the private one's, not somebody's who may write public objects.
            if rsa_components(session, public)? != rsa_components(session, private)? {
                return Ok(Found::Refused(format!("public and private key of master key {id} are not one pair")));
            }
            let Some(verifier) = rsa_components(session, signer)? else {
                return Ok(Found::Refused(format!("the token does not tell the modulus of the signer of {id}")));
            };
            Ok(Found::Key(Master::Rsa(RsaMaster { id: *id, public, private, signer, verifier })))
        })
    })
}

enum One {
    Key(ObjectHandle),
    Absent,
    Refused(String),
}

fn find_one(session: &Session, class: ObjectClass, id: &MasterKeyId) -> Result<One, Error> {
    let template = [Attribute::Class(class), Attribute::Id(id.as_bytes().to_vec())];
    Ok(match session.find_objects(&template)?.as_slice() {
        [] => One::Absent,
        [only] => One::Key(*only),
        several => One::Refused(format!("{} keys on the token have CKA_ID {id}: remove all but one", several.len())),
    })
}

fn confined(
    session: &Session,
    id: &MasterKeyId,
    one: One,
    may_be_extractable: bool,
    then: impl FnOnce(ObjectHandle) -> Result<Found, Error>,
) -> Result<Found, Error> {
    match one {
        One::Absent => Ok(Found::Absent),
        One::Refused(why) => Ok(Found::Refused(why)),
        One::Key(handle) => match why_it_could_leave(session, handle)? {
            Some(why) if !may_be_extractable => Ok(Found::Refused(format!(
                "master key {id} {why}: make a new version and rewrap, or allow extractable master keys by name"
            ))),
            _ => then(handle),
        },
    }
}

/// CKA_ID of the key pair that signs for this master key: derived, so that it need not be kept, and never its own.
pub(super) fn signer_id(id: &MasterKeyId) -> MasterKeyId {
    let mut input = b"strongroom/signer/1".to_vec();
    input.extend_from_slice(id.as_bytes());
    let hash = digest::digest(&digest::SHA256, &input);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    MasterKeyId::new(bytes)
}

/// Modulus and public exponent, if the token tells them.
pub(super) fn rsa_components(session: &Session, key: ObjectHandle) -> Result<Option<RsaPublic>, Error> {
    let mut modulus = None;
    let mut exponent = None;
    for attribute in session.get_attributes(key, &[AttributeType::Modulus, AttributeType::PublicExponent])? {
        match attribute {
            Attribute::Modulus(bytes) => modulus = Some(without_zeros(bytes)),
            Attribute::PublicExponent(bytes) => exponent = Some(without_zeros(bytes)),
            _ => {}
        }
    }
    Ok(modulus.zip(exponent))
}

/// Some modules put zeros in front of a big integer, some do not.
fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    bytes
}

/// The label of a master key: for people, and for other nodes to find its alias and version.
pub(super) fn label(alias: &Alias, version: Version, id: &MasterKeyId) -> String {
    format!("{alias}/{version}/{id}")
}

/// Alias and version of a label that [`label`] made for this id.
pub(super) fn read_label(label: &[u8], id: &MasterKeyId) -> Option<(Alias, Version)> {
    let mut parts = std::str::from_utf8(label).ok()?.rsplitn(3, '/');
    let (last, version, alias) = (parts.next()?, parts.next()?, parts.next()?);
    let version = version.parse().ok().map(Version)?;
    (last == id.to_string()).then_some((Alias::new(alias).ok()?, version))
}

/// What a token tells of a yes-or-no attribute. Absent is not false.
pub(super) fn told(
    session: &Session,
    key: ObjectHandle,
    wanted: &[AttributeType],
) -> Result<Vec<(AttributeType, Option<bool>)>, Error> {
    let attributes = session.get_attributes(key, wanted)?;
    let value = |wanted: &AttributeType| {
        attributes.iter().find(|attribute| attribute.attribute_type() == *wanted).and_then(
            |attribute| match attribute {
                Attribute::Sensitive(value)
                | Attribute::Extractable(value)
                | Attribute::AlwaysSensitive(value)
                | Attribute::NeverExtractable(value)
                | Attribute::Encrypt(value)
                | Attribute::Decrypt(value)
                | Attribute::Local(value) => Some(*value),
                _ => None,
            },
        )
    };
    Ok(wanted.iter().map(|one| (*one, value(one))).collect())
}

/// The reason why a key is not confined to the token, if it is not.
pub(super) fn why_it_could_leave(session: &Session, key: ObjectHandle) -> Result<Option<&'static str>, Error> {
    let wanted = [
        AttributeType::Extractable,
        AttributeType::Sensitive,
        AttributeType::NeverExtractable,
        AttributeType::AlwaysSensitive,
    ];
    let told: Vec<Option<bool>> = told(session, key, &wanted)?.into_iter().map(|(_, value)| value).collect();
    let [extractable, sensitive, never_extractable, always_sensitive] = told.as_slice() else {
        return Ok(Some("may be extractable: the token does not tell"));
    };
    Ok(match (extractable, sensitive) {
        (Some(true), _) => Some("is extractable"),
        (_, Some(false)) => Some("is not sensitive"),
        (None, _) | (_, None) => Some("may be extractable: the token does not tell"),
        (Some(false), Some(true)) if *never_extractable == Some(false) => Some("was extractable once"),
        (Some(false), Some(true)) if *always_sensitive == Some(false) => Some("was not sensitive once"),
        (Some(false), Some(true)) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_back_also_when_the_alias_has_slashes() {
        let id = MasterKeyId::new([0xab; 16]);
        let alias = Alias::new("team/7/key").unwrap();
        let written = label(&alias, Version(12), &id);
        assert_eq!(read_label(written.as_bytes(), &id), Some((alias, Version(12))));
        assert_eq!(read_label(written.as_bytes(), &MasterKeyId::new([1; 16])), None, "another key's label");
        assert_eq!(read_label(b"somebody's key", &id), None);
    }
}
