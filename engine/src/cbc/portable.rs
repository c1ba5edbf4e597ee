//! What correct means: CBC of one segment by the `cbc` crate, block after block.
//!
//! Never tuned. Every faster path is held against it, byte for byte.

#[cfg(test)]
use aes::cipher::BlockModeEncrypt;
use aes::{
    Aes256, Block,
    cipher::{BlockModeDecrypt, InnerIvInit},
};

use crate::layout::BLOCK_LEN;

/// Encrypts `blocks` in place (SP 800-38A, section 6.2).
#[cfg(test)]
pub(super) fn encrypt(key: &Aes256, iv: &[u8; BLOCK_LEN], blocks: &mut [[u8; BLOCK_LEN]]) {
    let blocks = Block::cast_slice_from_core_mut(blocks);
    cbc::Encryptor::inner_iv_init(key, iv.into()).encrypt_blocks(blocks);
}

/// Decrypts `ciphertext` into `plain`, which is as long.
pub(super) fn decrypt(
    key: &Aes256,
    iv: &[u8; BLOCK_LEN],
    ciphertext: &[[u8; BLOCK_LEN]],
    plain: &mut [[u8; BLOCK_LEN]],
) {
    plain.copy_from_slice(ciphertext);
    let blocks = Block::cast_slice_from_core_mut(plain);
    cbc::Decryptor::inner_iv_init(key, iv.into()).decrypt_blocks(blocks);
}

#[cfg(test)]
mod tests {
    use aes::cipher::KeyInit;

    use super::*;

    /// SP 800-38A, F.2.5 and F.2.6: CBC-AES256.
    #[test]
    fn the_vectors_of_the_standard() {
        let key = 0x603deb1015ca71be2b73aef0857d7781_u128.to_be_bytes();
        let key = [key, 0x1f352c073b6108d72d9810a30914dff4_u128.to_be_bytes()].concat();
        let key = Aes256::new_from_slice(&key).unwrap();
        let iv = 0x000102030405060708090a0b0c0d0e0f_u128.to_be_bytes();
        let plain =
            [0x6bc1bee22e409f96e93d7e117393172a_u128, 0xae2d8a571e03ac9c9eb76fac45af8e51].map(u128::to_be_bytes);
        let sealed =
            [0xf58c4c04d6e5f1ba779eabfb5f7bfbd6_u128, 0x9cfc4e967edb808d679f777bc6702c7d].map(u128::to_be_bytes);
        let mut blocks = plain;
        encrypt(&key, &iv, &mut blocks);
        assert_eq!(blocks, sealed);
        let mut back = [[0; 16]; 2];
        decrypt(&key, &iv, &sealed, &mut back);
        assert_eq!(back, plain);
    }
}
