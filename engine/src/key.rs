//! Data keys and the ids that wrapped keys go by.
//!
//! A data key is made or read in locked memory and stays there; only `expose` shows it. A key id is public: it stands
//! in every header, so that a sealed stream by itself says which wrapped key it needs.

use std::{convert::Infallible, fmt, str::FromStr};

use zeroize::Zeroize;

use crate::{
    error::RandomFailed,
    id::{fill, fresh_id},
    secret::Secret,
};

/// The 32 bytes that one object version is sealed under, or another key that seals: catalog key, store key, bucket
/// key. No Debug, Clone, Serialize or `==`: it cannot be shown or copied by accident.
pub struct DataKey(Secret<32>);

impl DataKey {
    /// A fresh random key, filled in its final, locked place.
    ///
    /// # Errors
    /// [`RandomFailed`] when the system gives no random bytes.
    pub fn generate() -> Result<Self, RandomFailed> {
        Secret::fill_with(|bytes| fill(bytes)).map(Self)
    }

    /// A key that was unwrapped into a secret.
    pub fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Copies a key into locked memory and wipes the source.
    pub fn from_bytes(bytes: &mut [u8; 32]) -> Self {
        let copied = Self::copied_from(bytes);
        bytes.zeroize();
        copied
    }

    /// Copies a key into locked memory, straight from where it stands; whoever owns that wipes it.
    pub fn copied_from(bytes: &[u8; 32]) -> Self {
        let copied = Secret::fill_with(|secret| {
            secret.copy_from_slice(bytes);
            Ok::<_, Infallible>(())
        });
        match copied {
            Ok(secret) => Self(secret),
            Err(never) => match never {},
        }
    }

    /// The bytes, to wrap or to derive from. Search for `expose` to find every reader of a key.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }
}

/// The 16-byte name of a wrapped key. Shown and parsed as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// A new id that rises with `now_ms`, the Unix time in milliseconds.
    ///
    /// # Errors
    /// [`RandomFailed`] when the system gives no random bytes.
    pub fn fresh(now_ms: u64) -> Result<Self, RandomFailed> {
        fresh_id(now_ms).map(Self)
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as they stand in a header.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that should have been a key id.
#[derive(Debug, thiserror::Error)]
#[error("a key id is 32 lower-case hexadecimal digits")]
pub struct NotAKeyId;

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(NotAKeyId);
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// One text per id, so upper case is refused.
fn digit(digit: u8) -> Result<u8, NotAKeyId> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(NotAKeyId),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_id_reads_back_from_its_text(bytes: [u8; 16]) {
            let id = KeyId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
            prop_assert_eq!(format!("{id:?}"), id.to_string());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = text.parse::<KeyId>();
        }
    }

    #[test]
    fn text_that_is_no_key_id_is_refused() {
        for text in ["", "00", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcde", "g"] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
        assert!("é".repeat(16).parse::<KeyId>().is_err());
    }

    #[test]
    fn a_key_taken_from_bytes_wipes_them() {
        let mut bytes = [9; 32];
        let key = DataKey::from_bytes(&mut bytes);
        assert_eq!((bytes, *key.expose()), ([0; 32], [9; 32]));
    }

    #[test]
    fn two_generated_keys_differ() {
        assert_ne!(DataKey::generate().unwrap().expose(), DataKey::generate().unwrap().expose());
    }
}
