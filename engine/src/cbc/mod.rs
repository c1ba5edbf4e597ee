//! AES-256-CBC of one segment: which path encrypts, and the IV that each index gives.
//!
//! The one place where kernels for particular processors come in. Whatever path is taken, `portable` is the definition
//! of what it must compute. Nothing here knows padding, tags or streams.

mod portable;

use aes::{
    Aes256, Block,
    cipher::{BlockCipherEncrypt, KeyInit},
};

use crate::layout::BLOCK_LEN;

/// The two keys of a stream that encrypt. They wipe themselves on drop.
pub(crate) struct Cipher {
    enc: Aes256,
    iv: Aes256,
}

impl Cipher {
    pub(crate) fn new(enc: &[u8; 32], iv: &[u8; 32]) -> Self {
        Self { enc: Aes256::new(enc.into()), iv: Aes256::new(iv.into()) }
    }

    /// The IV of segment `index`: the encrypted index under a key of its own, unpredictable without it, and never
    /// stored (SP 800-38A, appendix C, first method).
    pub(crate) fn iv(&self, index: u64) -> [u8; BLOCK_LEN] {
        let mut block = Block::from(u128::from(index).to_be_bytes());
        self.iv.encrypt_block(&mut block);
        block.into()
    }

    /// Encrypts `blocks` in place.
    pub(crate) fn encrypt(&self, iv: &[u8; BLOCK_LEN], blocks: &mut [[u8; BLOCK_LEN]]) {
        portable::encrypt(&self.enc, iv, blocks);
    }

    /// Decrypts `ciphertext` into `plain`, which is as long. In mid-segment, `iv` is the ciphertext block before.
    pub(crate) fn decrypt(&self, iv: &[u8; BLOCK_LEN], ciphertext: &[[u8; BLOCK_LEN]], plain: &mut [[u8; BLOCK_LEN]]) {
        portable::decrypt(&self.enc, iv, ciphertext, plain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_iv_is_the_index_encrypted_under_the_iv_key() {
        let mut block = Block::from([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        Aes256::new(&[5; 32].into()).encrypt_block(&mut block);
        assert_eq!(Cipher::new(&[4; 32], &[5; 32]).iv(0x0102_0304_0506_0708), <[u8; 16]>::from(block));
    }

    #[test]
    fn no_two_indices_share_an_iv() {
        let cipher = Cipher::new(&[4; 32], &[5; 32]);
        assert_ne!(cipher.iv(0), cipher.iv(1));
        assert_ne!(cipher.iv(1), cipher.iv(1 << 32));
    }
}
