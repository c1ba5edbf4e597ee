//! Rungs: the whole call patterns by which a token wraps. Each wrapped key records its own.
//!
//! A number here lies in keyrings: it is never given another meaning and never used again.

/// One way of wrapping a key inside a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rung {
    /// AES-256-GCM by C_Encrypt (PKCS#11 v2.40, CKM_AES_GCM; NIST SP 800-38D), the SHA-256 of the context as AAD,
    /// a random 96-bit IV made by the caller, a 128-bit tag.
    AesGcm = 1,
}

/// A rung that this version does not know: upgrade this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rung {0} is not known to this version: upgrade this node")]
pub struct UnknownRung(pub u8);

impl TryFrom<u8> for Rung {
    type Error = UnknownRung;

    fn try_from(number: u8) -> Result<Self, UnknownRung> {
        match number {
            1 => Ok(Self::AesGcm),
            other => Err(UnknownRung(other)),
        }
    }
}
