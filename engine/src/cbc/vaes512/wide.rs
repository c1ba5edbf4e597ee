//! 64-byte registers and the memory they come from. Loads and stores only.
#![allow(unsafe_code)] // The one reason: vector loads and stores take pointers.

use std::arch::x86_64::{__m512i, _mm512_loadu_si512, _mm512_storeu_si512};

/// Four blocks, as they lie in memory.
#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
pub(super) struct Line(pub(super) [u128; 4]);

impl zeroize::Zeroize for Line {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(line: &Line) -> __m512i {
    // SAFETY: a line is 64 readable bytes, all of them initialised.
    unsafe { _mm512_loadu_si512((&raw const line.0).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store(value: __m512i) -> Line {
    let mut line = Line::default();
    // SAFETY: a line is 64 writable bytes, and any bytes are a line.
    unsafe { _mm512_storeu_si512((&raw mut line.0).cast(), value) };
    line
}
