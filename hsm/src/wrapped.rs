//! A wrapped key and its encoding, as it lies in a keyring.
//!
//! Version 1: format (1 byte, 1), rung (1), CKA_ID of the master key (16), then length (4) and the rung's own bytes.
//! These bytes are not secret. They are believed only after the token has authenticated them.

use crate::provider::MasterKeyId;
use crate::rung::{Rung, UnknownRung};
use crate::wire::{Malformed, Reader, Writer};

const FORMAT: u8 = 1;

/// More than any rung makes: RSA-8192 gives 1,024 bytes.
const CIPHERTEXT_LEN_MAX: usize = 4096;

/// A key encrypted by a master key, with the name of that key and the rung.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// CKA_ID of the master key that wrapped it.
    pub master: MasterKeyId,
    /// How it was wrapped.
    pub rung: Rung,
    /// The rung's own bytes. For [`Rung::AesGcm`]: IV place (1 byte; 1 = in front), IV length (1), tag length (1), IV,
    /// ciphertext, tag.
    pub ciphertext: Vec<u8>,
}

/// Why bytes are not a wrapped key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Cut short, too long, or altered.
    #[error("wrapped key is damaged: {0}")]
    Malformed(#[from] Malformed),
    /// Written by a later version.
    #[error("wrapped key has format {0}, which this version does not read: upgrade this node")]
    UnknownFormat(u8),
    /// Written by a later version.
    #[error(transparent)]
    UnknownRung(#[from] UnknownRung),
}

impl WrappedKey {
    /// The bytes to keep.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(22 + self.ciphertext.len());
        out.u8(FORMAT);
        out.u8(self.rung as u8);
        out.array(self.master.as_bytes());
        out.bytes(&self.ciphertext);
        out.finish().to_vec()
    }

    /// Reads what [`encode`](Self::encode) wrote; any other bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(bytes);
        let format = input.u8()?;
        if format != FORMAT {
            return Err(DecodeError::UnknownFormat(format));
        }
        let rung = Rung::try_from(input.u8()?)?;
        let master = MasterKeyId::new(input.array()?);
        let ciphertext = input.bytes()?;
        if ciphertext.len() > CIPHERTEXT_LEN_MAX {
            return Err(Malformed.into());
        }
        input.finish()?;
        Ok(Self { master, rung, ciphertext: ciphertext.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> WrappedKey {
        WrappedKey { master: MasterKeyId::new([7; 16]), rung: Rung::AesGcm, ciphertext: (0..63).collect() }
    }

    #[test]
    fn what_was_encoded_decodes_to_itself() {
        assert_eq!(WrappedKey::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn every_shortened_encoding_is_refused() {
        let whole = sample().encode();
        for len in 0..whole.len() {
            assert!(WrappedKey::decode(&whole[..len]).is_err(), "{len} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_byte_too_many_is_refused() {
        let mut bytes = sample().encode();
        bytes.push(0);
        assert_eq!(WrappedKey::decode(&bytes), Err(DecodeError::Malformed(Malformed)));
    }

    #[test]
    fn a_later_format_or_rung_is_refused_by_name() {
        let mut bytes = sample().encode();
        bytes[1] = 9;
        assert_eq!(WrappedKey::decode(&bytes), Err(DecodeError::UnknownRung(UnknownRung(9))));
        bytes[0] = 2;
        assert_eq!(WrappedKey::decode(&bytes), Err(DecodeError::UnknownFormat(2)));
    }

    #[test]
    fn a_length_that_lies_allocates_nothing_and_is_refused() {
        let mut bytes = sample().encode();
        bytes[18..22].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(WrappedKey::decode(&bytes).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_themselves_or_refused(bytes: Vec<u8>) {
            if let Ok(key) = WrappedKey::decode(&bytes) {
                assert_eq!(key.encode(), bytes);
            }
        }
    }
}
