//! RSA-OAEP in a token, and the signature that makes up for what OAEP lacks.
//!
//! Anyone with the public key can make a ciphertext that decrypts, so a second key pair of the token signs the CKA_ID, the
//! ciphertext and the context (RFC 8017 RSASSA-PKCS1-v1_5 with SHA-256). The verifying key is read from the token's private
//! key, never from a keyring. Rung bytes: kind of signature (1; 1), length of the ciphertext (2), ciphertext, signature.

use super::mechanism::{CallError, KEY_LEN};
use crate::provider::MasterKeyId;
use aws_lc_rs::digest;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use zeroize::Zeroizing;

const SHA256_RSA_PKCS: u8 = 1;

/// What stands before a SHA-256 in the DER of DigestInfo (RFC 8017, 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// Modulus and public exponent, big-endian, without zeros in front.
pub(super) type RsaPublic = (Vec<u8>, Vec<u8>);

/// Two key pairs of the token: one that wraps, one that signs what was wrapped.
#[derive(Clone)]
pub(super) struct RsaMaster {
    pub(super) id: MasterKeyId,
    pub(super) public: ObjectHandle,
    pub(super) private: ObjectHandle,
    pub(super) signer: ObjectHandle,
    /// Of the signer: modulus and public exponent, as its private key on the token tells them.
    pub(super) verifier: RsaPublic,
}

pub(super) fn encrypt(
    session: &Session,
    master: &RsaMaster,
    key: &[u8; KEY_LEN],
    context: &[u8; 32],
) -> Result<Vec<u8>, CallError> {
    let mut plain = Zeroizing::new([0; 64]);
    plain[..32].copy_from_slice(key);
    plain[32..].copy_from_slice(context);
    let ciphertext = session.encrypt(&oaep(), master.public, plain.as_slice())?;
    let len = u16::try_from(ciphertext.len()).map_err(|_| CallError::Shape)?;
    let signature = sign(session, master.signer, &signed(&master.id, &ciphertext, context))?;
    verify(master, &ciphertext, &signature, context)?;
    Ok([&[SHA256_RSA_PKCS], len.to_be_bytes().as_slice(), &ciphertext, &signature].concat())
}

/// The signature first: nothing that the token did not make is decrypted.
pub(super) fn decrypt(
    session: &Session,
    master: &RsaMaster,
    bytes: &[u8],
    context: &[u8; 32],
) -> Result<Zeroizing<Vec<u8>>, CallError> {
    let (ciphertext, signature) = split(bytes).ok_or(CallError::Shape)?;
    verify(master, ciphertext, signature, context)?;
    let opened = Zeroizing::new(session.decrypt(&oaep(), master.private, ciphertext)?);
    super::mechanism::key_of_64(&opened, context)
}

pub(super) fn is_well_formed(bytes: &[u8]) -> bool {
    split(bytes).is_some()
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([kind, high, low], rest) = bytes.split_first_chunk::<3>()?;
    let (ciphertext, signature) = rest.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
    let known = *kind == SHA256_RSA_PKCS && !ciphertext.is_empty() && !signature.is_empty();
    known.then_some((ciphertext, signature))
}

/// By CKM_SHA256_RSA_PKCS, or where a token has no such thing by CKM_RSA_PKCS over the same DigestInfo: one signature.
fn sign(session: &Session, signer: ObjectHandle, message: &[u8]) -> Result<Vec<u8>, Error> {
    match session.sign(&Mechanism::Sha256RsaPkcs, signer, message) {
        Err(Error::Pkcs11(RvError::MechanismInvalid, _)) => {
            let hash = digest::digest(&digest::SHA256, message);
            session.sign(&Mechanism::RsaPkcs, signer, &[SHA256_DIGEST_INFO.as_slice(), hash.as_ref()].concat())
        }
        result => result,
    }
}

fn verify(master: &RsaMaster, ciphertext: &[u8], signature: &[u8], context: &[u8; 32]) -> Result<(), CallError> {
    let (n, e) = &master.verifier;
    let key = PublicKeyComponents { n: n.as_slice(), e: e.as_slice() };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, &signed(&master.id, ciphertext, context), signature)
        .map_err(|_| CallError::Shape)
}

/// CKA_ID, ciphertext, context: of fixed length but for the one in the middle, so no two read alike.
fn signed(id: &MasterKeyId, ciphertext: &[u8], context: &[u8; 32]) -> Vec<u8> {
    [id.as_bytes().as_slice(), ciphertext, context].concat()
}

fn oaep() -> Mechanism<'static> {
    Mechanism::RsaPkcsOaep(PkcsOaepParams::new(
        MechanismType::SHA256,
        PkcsMgfType::MGF1_SHA256,
        PkcsOaepSource::empty(),
    ))
}
