//! Rungs: the whole call patterns by which a token wraps. Each wrapped key records its own.
//!
//! A number here lies in keyrings: it is never given another meaning and never used again. Which rung wraps is a matter
//! of order and of what the token was seen to do; every rung unwraps for ever, so a new order strands no key.

use serde::{Deserialize, Serialize};

/// One way of wrapping a key inside a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Rung {
    /// AES-256-GCM by C_Encrypt (PKCS#11 v2.40, CKM_AES_GCM; NIST SP 800-38D), the SHA-256 of the context as AAD,
    /// a 128-bit tag. The IV is the caller's or the token's: its length and place are recorded.
    AesGcm = 1,
    /// RFC 3394 by C_Encrypt (CKM_AES_KEY_WRAP) of 64 bytes: the key, then the SHA-256 of the context. No IV, nothing
    /// to count.
    AesKeyWrap = 2,
    /// RSA-OAEP (RFC 8017; SHA-256, MGF1 with SHA-256, no label) of 64 bytes: the key, then the SHA-256 of the context;
    /// and, since anyone with the public key can make one, a signature by a second key pair of the token.
    RsaOaep = 3,
}

impl Rung {
    /// Every rung, in the order in which they are tried unless another is configured.
    pub const ALL: [Self; 3] = [Self::AesKeyWrap, Self::AesGcm, Self::RsaOaep];

    /// Whether a key may wrap only so often (2^32 times for random IVs, SP 800-38D), so that its wraps are counted.
    pub fn is_counted(self) -> bool {
        match self {
            Self::AesGcm => true,
            Self::AesKeyWrap | Self::RsaOaep => false,
        }
    }

    /// Its name in settings and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aes-gcm",
            Self::AesKeyWrap => "aes-key-wrap",
            Self::RsaOaep => "rsa-oaep",
        }
    }

    /// The rung of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.name() == name)
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A rung that this version does not know: upgrade this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("rung {0} is not known to this version: upgrade this node")]
pub struct UnknownRung(pub u8);

impl TryFrom<u8> for Rung {
    type Error = UnknownRung;

    fn try_from(number: u8) -> Result<Self, UnknownRung> {
        Self::ALL.into_iter().find(|rung| *rung as u8 == number).ok_or(UnknownRung(number))
    }
}
