//! AES-256-CBC of many lanes at once: which instructions, and the one door to each of them.
//!
//! A lane is one message of its own: the chain in CBC is what makes one lane slow, so blocks of many go through the
//! cipher side by side. Whatever path is taken, `portable` is the definition of what it must compute. Nothing here knows
//! padding, tags or streams, but for `vaes512`, which hashes in the same loop.

#[cfg(target_arch = "x86_64")]
mod aesni;
mod lanes;
pub(crate) mod path;
mod portable;
#[cfg(target_arch = "x86_64")]
mod round_keys;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(target_arch = "x86_64")]
mod vaes256;
#[cfg(target_arch = "x86_64")]
pub(crate) mod vaes512;

use aes::{Aes256, cipher::KeyInit};

pub(crate) use self::path::CpuPath;
use self::path::Kind;
#[cfg(target_arch = "x86_64")]
use self::{
    path::{AesNi, Vaes256},
    round_keys::{DecryptKeys, EncryptKeys},
};
use crate::layout::BLOCK_LEN;

/// One message in the making.
pub(crate) struct Lane<'a> {
    /// The IV; once blocks are encrypted, the last of them.
    pub(crate) chain: [u8; BLOCK_LEN],
    /// What is still to encrypt, in place.
    pub(crate) blocks: &'a mut [[u8; BLOCK_LEN]],
}

/// A key that encrypts. Wipes itself on drop.
pub(crate) struct Encrypts(Encryptor);

enum Encryptor {
    Crate(Box<Aes256>),
    #[cfg(target_arch = "x86_64")]
    AesNi(AesNi, Box<EncryptKeys>),
    #[cfg(target_arch = "x86_64")]
    Vaes256(Vaes256, Box<EncryptKeys>),
    #[cfg(all(target_arch = "x86_64", any(test, feature = "measure")))]
    Vaes512(path::Vaes512, Box<EncryptKeys>),
}

impl Encrypts {
    pub(crate) fn new(path: CpuPath, key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        let expanded = |has| {
            let mut keys = Box::new(EncryptKeys::default());
            keys.fill(has, key);
            keys
        };
        Self(match path.0 {
            Kind::Crate => Encryptor::Crate(Box::new(Aes256::new(key.into()))),
            #[cfg(target_arch = "x86_64")]
            Kind::AesNi(has) => Encryptor::AesNi(has, expanded(has)),
            #[cfg(target_arch = "x86_64")]
            Kind::Vaes256(has) => Encryptor::Vaes256(has, expanded(has.aesni())),
            #[cfg(all(target_arch = "x86_64", any(test, feature = "measure")))]
            Kind::Vaes512(has) => Encryptor::Vaes512(has, expanded(has.aesni())),
            #[cfg(all(target_arch = "x86_64", not(any(test, feature = "measure"))))]
            Kind::Vaes512(has) => Encryptor::AesNi(has.aesni(), expanded(has.aesni())),
        })
    }

    /// CBC of each lane (SP 800-38A, section 6.2), of whatever length.
    pub(crate) fn encrypt_lanes(&self, lanes: &mut [Lane<'_>]) {
        lanes::in_step(lanes, |lanes| match &self.0 {
            Encryptor::Crate(key) => lanes::encrypt(key, lanes),
            #[cfg(target_arch = "x86_64")]
            Encryptor::AesNi(has, keys) => aesni::encrypt_lanes(*has, keys, lanes),
            #[cfg(target_arch = "x86_64")]
            Encryptor::Vaes256(has, keys) => vaes256::encrypt_lanes(*has, keys, lanes),
            #[cfg(all(target_arch = "x86_64", any(test, feature = "measure")))]
            Encryptor::Vaes512(has, keys) => vaes512::encrypt_lanes(*has, keys, lanes),
        });
    }

    /// Blocks by themselves, without a chain: lanes of one block whose chain is zero.
    pub(crate) fn encrypt_blocks(&self, blocks: &mut [[u8; BLOCK_LEN]]) {
        let blocks = blocks.chunks_mut(1);
        let mut lanes: Vec<_> = blocks.map(|blocks| Lane { chain: [0; BLOCK_LEN], blocks }).collect();
        self.encrypt_lanes(&mut lanes);
    }
}

/// A key that decrypts. Wipes itself on drop.
pub(crate) struct Decrypts(Decryptor);

enum Decryptor {
    Crate(Box<Aes256>),
    #[cfg(target_arch = "x86_64")]
    AesNi(AesNi, Box<DecryptKeys>),
    #[cfg(target_arch = "x86_64")]
    Vaes256(Vaes256, Box<DecryptKeys>),
    #[cfg(all(target_arch = "x86_64", any(test, feature = "measure")))]
    Vaes512(path::Vaes512, Box<DecryptKeys>),
}

impl Decrypts {
    pub(crate) fn new(path: CpuPath, key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        let expanded = |has| {
            let (mut enc, mut keys) = (EncryptKeys::default(), Box::new(DecryptKeys::default()));
            enc.fill(has, key);
            keys.fill(has, &enc);
            keys
        };
        Self(match path.0 {
            Kind::Crate => Decryptor::Crate(Box::new(Aes256::new(key.into()))),
            #[cfg(target_arch = "x86_64")]
            Kind::AesNi(has) => Decryptor::AesNi(has, expanded(has)),
            #[cfg(target_arch = "x86_64")]
            Kind::Vaes256(has) => Decryptor::Vaes256(has, expanded(has.aesni())),
            #[cfg(all(target_arch = "x86_64", any(test, feature = "measure")))]
            Kind::Vaes512(has) => Decryptor::Vaes512(has, expanded(has.aesni())),
            #[cfg(all(target_arch = "x86_64", not(any(test, feature = "measure"))))]
            Kind::Vaes512(has) => Decryptor::AesNi(has.aesni(), expanded(has.aesni())),
        })
    }

    /// Decrypts `ciphertext` into `plain`, which is as long. In mid-message, `iv` is the ciphertext block before.
    pub(crate) fn decrypt(&self, iv: &[u8; BLOCK_LEN], ciphertext: &[[u8; BLOCK_LEN]], plain: &mut [[u8; BLOCK_LEN]]) {
        match &self.0 {
            Decryptor::Crate(key) => portable::decrypt(key, iv, ciphertext, plain),
            #[cfg(target_arch = "x86_64")]
            Decryptor::AesNi(has, keys) => aesni::decrypt(*has, keys, iv, ciphertext, plain),
            #[cfg(target_arch = "x86_64")]
            Decryptor::Vaes256(has, keys) => vaes256::decrypt(*has, keys, iv, ciphertext, plain),
            #[cfg(all(target_arch = "x86_64", any(test, feature = "measure")))]
            Decryptor::Vaes512(has, keys) => vaes512::decrypt(*has, keys, iv, ciphertext, plain),
        }
    }
}
