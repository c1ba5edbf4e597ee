//! Intel ipsec-mb and OpenSSL, as far as they are compared with: CBC of rows of bytes, in place.
//!
//! Behind the feature `peers`, because both must be installed. Never a part of the product.
#![allow(unsafe_code)] // The one reason: calls into C.

use std::ffi::{c_int, c_void};

unsafe extern "C" {
    fn peer_ipsec_new(key: *const u8) -> *mut c_void;
    fn peer_ipsec_cbc(
        peer: *mut c_void,
        encrypt: c_int,
        iv: *const u8,
        rows: *mut u8,
        stride: usize,
        len: usize,
        count: usize,
    ) -> usize;
    fn peer_openssl_new(key: *const u8, encrypt: c_int) -> *mut c_void;
    fn peer_openssl_cbc(
        peer: *mut c_void,
        iv: *const u8,
        rows: *mut u8,
        stride: usize,
        len: usize,
        count: usize,
    ) -> usize;
}

/// Which way.
#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    /// Encrypts.
    Encrypt,
    /// Decrypts.
    Decrypt,
}

/// One key of Intel ipsec-mb, by its best interface: bursts. Lives as long as the process.
pub struct IpsecMb(*mut c_void, Direction);

/// One key of OpenSSL. Lives as long as the process.
pub struct OpenSsl(*mut c_void);

impl IpsecMb {
    /// Expands the key.
    pub fn new(key: &[u8; 32], direction: Direction) -> Self {
        // SAFETY: the key is 32 readable bytes.
        Self(unsafe { peer_ipsec_new(key.as_ptr()) }, direction)
    }

    /// The first `len` bytes of each row; the number of rows done, fewer where the length is not taken.
    pub fn cbc(&mut self, iv: &[u8; 16], rows: &mut [u8], stride: usize, len: usize) -> usize {
        assert!(len <= stride);
        let (count, encrypt) = (rows.len() / stride, c_int::from(self.1 == Direction::Encrypt));
        // SAFETY: `count` rows of `stride` bytes lie in `rows`, and `len` is no more (asserted); `self` came from `new`.
        unsafe { peer_ipsec_cbc(self.0, encrypt, iv.as_ptr(), rows.as_mut_ptr(), stride, len, count) }
    }
}

impl OpenSsl {
    /// Expands the key.
    pub fn new(key: &[u8; 32], direction: Direction) -> Self {
        // SAFETY: the key is 32 readable bytes.
        Self(unsafe { peer_openssl_new(key.as_ptr(), c_int::from(direction == Direction::Encrypt)) })
    }

    /// The first `len` bytes of each row; the number of rows done.
    pub fn cbc(&mut self, iv: &[u8; 16], rows: &mut [u8], stride: usize, len: usize) -> usize {
        assert!(len <= stride);
        let count = rows.len() / stride;
        // SAFETY: `count` rows of `stride` bytes lie in `rows`, and `len` is no more (asserted); `self` came from `new`.
        unsafe { peer_openssl_cbc(self.0, iv.as_ptr(), rows.as_mut_ptr(), stride, len, count) }
    }
}
