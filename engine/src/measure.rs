//! The ciphers by themselves, for benches only: no padding, no tag, and therefore no security.
//!
//! Behind the feature `measure`, which nothing that is shipped turns on.

use crate::{
    CpuPath,
    cbc::{Decrypts, Encrypts, Lane},
};

/// AES-256-CBC under one key on one path.
pub struct Cbc {
    enc: Encrypts,
    dec: Decrypts,
}

impl Cbc {
    /// Expands the key.
    pub fn new(path: CpuPath, key: &[u8; 32]) -> Self {
        Self { enc: Encrypts::new(path, key), dec: Decrypts::new(path, key) }
    }

    /// Encrypts the first `len` bytes, whole blocks, of each row of `stride` bytes in place, all under one IV.
    pub fn encrypt_rows(&self, iv: &[u8; 16], rows: &mut [u8], stride: usize, len: usize) {
        let rows = rows.chunks_exact_mut(stride);
        let mut lanes: Vec<_> = rows.map(|row| Lane { chain: *iv, blocks: row[..len].as_chunks_mut().0 }).collect();
        self.enc.encrypt_lanes(&mut lanes);
    }

    /// Decrypts the whole blocks of `ciphertext` into `plain`, which is as long.
    pub fn decrypt(&self, iv: &[u8; 16], ciphertext: &[u8], plain: &mut [u8]) {
        self.dec.decrypt(iv, ciphertext.as_chunks().0, plain.as_chunks_mut().0);
    }
}
