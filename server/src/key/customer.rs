//! Keys that customers hold (SSE-C): one wraps a data key and leaves with its request.
//!
//! It is never stored, logged or remembered. What is stored is a data key sealed under it, and a salted fingerprint, in
//! a sealed record, that tells a wrong key from damage.

use strongroom_engine::{Context, ContextDigest, DataKey, Kind, open_small, seal_small};

use crate::catalog::encryption::{Encryption, Fingerprint};
use crate::error::OpError;
use crate::keyring::Wrapped;

/// Separates the wraps of a customer's key from any other use of it.
const WRAP_LABEL: &str = "strongroom/customer-key/1";
/// And its fingerprints.
const FINGERPRINT_LABEL: &str = "strongroom/customer-fingerprint/1";

/// A key that came with a request. No Debug, Clone, Serialize or `==`.
pub struct CustomerKey(DataKey);

impl CustomerKey {
    /// Copies a key into locked memory and wipes the source.
    pub fn from_bytes(bytes: &mut [u8; 32]) -> Self {
        Self(DataKey::from_bytes(bytes))
    }

    /// Whether a request that brings this key, or none, may read what is encrypted so.
    ///
    /// # Errors
    /// [`OpError::CustomerKeyMissing`], [`OpError::CustomerKeyUnwanted`], [`OpError::WrongCustomerKey`].
    pub fn check(key: Option<&Self>, encryption: &Encryption) -> Result<(), OpError> {
        match (key, encryption) {
            (None, Encryption::SseC { .. }) => Err(OpError::CustomerKeyMissing),
            (Some(key), Encryption::SseC { fingerprint }) if key.is(fingerprint) => Ok(()),
            (Some(_), Encryption::SseC { .. }) => Err(OpError::WrongCustomerKey),
            (Some(_), _) => Err(OpError::CustomerKeyUnwanted),
            (None, _) => Ok(()),
        }
    }

    /// A new fingerprint of this key.
    ///
    /// # Errors
    /// The random source failed.
    pub fn fingerprint(&self) -> Result<Fingerprint, OpError> {
        Ok(Fingerprint(seal_small(&self.0, FINGERPRINT_LABEL, &no_context(), &[])?))
    }

    fn is(&self, fingerprint: &Fingerprint) -> bool {
        open_small(&self.0, FINGERPRINT_LABEL, &no_context(), &fingerprint.0).is_ok()
    }

    pub(super) fn wrap(&self, key: &DataKey, context: &ContextDigest) -> Result<Wrapped, OpError> {
        Ok(Wrapped::ByCustomerKey { sealed: seal_small(&self.0, WRAP_LABEL, context, key.expose())? })
    }

    /// The key was found right by its fingerprint, so what does not open is damaged.
    pub(super) fn unwrap(&self, context: &ContextDigest, sealed: &[u8]) -> Result<DataKey, OpError> {
        let altered = || OpError::damaged("a data key under a customer's key was altered, or belongs elsewhere");
        let mut plain = open_small(&self.0, WRAP_LABEL, context, sealed).map_err(|_| altered())?;
        let bytes: &mut [u8; 32] = plain.as_mut_slice().try_into().map_err(|_| altered())?;
        Ok(DataKey::from_bytes(bytes))
    }
}

/// A fingerprint is bound by the record that it lies in.
fn no_context() -> ContextDigest {
    Context::new(Kind::Configuration).digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer(byte: u8) -> CustomerKey {
        CustomerKey::from_bytes(&mut [byte; 32])
    }

    #[test]
    fn a_fingerprint_knows_its_key_and_is_another_each_time() {
        let fingerprint = customer(1).fingerprint().unwrap();
        assert!(customer(1).is(&fingerprint));
        assert!(!customer(2).is(&fingerprint));
        assert_ne!(fingerprint, customer(1).fingerprint().unwrap());
    }

    #[test]
    fn a_data_key_opens_under_its_customers_key_and_in_its_place_only() {
        let context = |write_id: &[u8]| Context { write_id, ..Context::new(Kind::DataKey) }.digest();
        let Wrapped::ByCustomerKey { sealed } =
            customer(1).wrap(&DataKey::from_bytes(&mut [9; 32]), &context(b"w")).unwrap()
        else {
            panic!("by the customer's key")
        };
        assert_eq!(customer(1).unwrap(&context(b"w"), &sealed).unwrap().expose(), &[9; 32]);
        assert!(customer(2).unwrap(&context(b"w"), &sealed).is_err());
        assert!(customer(1).unwrap(&context(b"x"), &sealed).is_err());
    }

    #[test]
    fn each_mismatch_of_key_and_object_has_its_own_answer() {
        let sealed = Encryption::SseC { fingerprint: customer(1).fingerprint().unwrap() };
        let other = Encryption::SseS3 { bucket_key: false };
        assert!(CustomerKey::check(Some(&customer(1)), &sealed).is_ok());
        assert!(CustomerKey::check(None, &other).is_ok());
        assert!(matches!(CustomerKey::check(None, &sealed), Err(OpError::CustomerKeyMissing)));
        assert!(matches!(CustomerKey::check(Some(&customer(2)), &sealed), Err(OpError::WrongCustomerKey)));
        assert!(matches!(CustomerKey::check(Some(&customer(1)), &other), Err(OpError::CustomerKeyUnwanted)));
    }
}
