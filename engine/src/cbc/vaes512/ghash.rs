//! GHASH (SP 800-38D, section 6.4) over four running sums, and how they end as one tag.
//!
//! Blocks are byte-reversed and the key is multiplied by x, which makes GHASH the POLYVAL of RFC 8452 (appendix A):
//! plain integers, and a reduction of two multiplications. The sums (one for each block of a line) are kept by the
//! kernels; what is left of a segment, its last block or few and the length, comes here. Oracle: AWS-LC's GMAC.
#![allow(unsafe_code)] // The one reason: intrinsics that need VPCLMULQDQ.

use std::arch::x86_64::{
    __m512i, _mm512_clmulepi64_epi128, _mm512_shuffle_epi32, _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::wide::{Line, load, store};
use crate::cbc::path::Vaes512;

/// x^127 + x^126 + x^121 + 1, of which the reduction needs the upper half.
const POLYNOMIAL: u128 = 0xc200_0000_0000_0000_0000_0000_0000_0001;

/// The hash key of one stream, as powers; the kernels read it at these offsets.
#[repr(C, align(64))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct HashKeys {
    /// The bytes of each block, last first: for a byte shuffle.
    pub(super) reverse: Line,
    /// The upper half of the polynomial, four times in the lower half.
    pub(super) poly: Line,
    /// H^4, H^8, .. H^32, each four times.
    pub(super) strides: [Power; 8],
    /// H^4, H^3, H^2, H: from four sums to one.
    join: Power,
    /// H^6, H^5, H^4, H^3: the same, with two blocks to follow.
    join_before_two: Power,
    /// H^2, H and nothing: those two blocks.
    two: Power,
    /// H, and nothing.
    one: Power,
}

/// Four factors, and for each the sum of its halves (Karatsuba).
#[repr(C)]
#[derive(Clone, Copy, Default, Zeroize)]
pub(super) struct Power {
    key: Line,
    folded: Line,
}

impl Power {
    fn of(factors: [u128; 4]) -> Self {
        Self { key: Line(factors), folded: Line(factors.map(|factor| (factor ^ factor >> 64) & u128::from(u64::MAX))) }
    }
}

impl Default for HashKeys {
    fn default() -> Self {
        let none = Power::default();
        Self {
            reverse: Line([u128::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]); 4]),
            poly: Line([POLYNOMIAL >> 64; 4]),
            strides: [none; 8],
            join: none,
            join_before_two: none,
            two: none,
            one: none,
        }
    }
}

impl HashKeys {
    /// Powers of the key `hash`, which is the all-zero block encrypted, as it lies in memory.
    pub(super) fn fill(&mut self, _has: Vaes512, hash: u128) {
        // SAFETY: `_has` proves the instructions.
        unsafe { self.raise(hash) }
    }

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn raise(&mut self, hash: u128) {
        let natural = hash.swap_bytes();
        let h = natural << 1 ^ if natural >> 127 == 1 { POLYNOMIAL } else { 0 };
        let product = |factors, by| store(self.product(load(&Line(factors)), &Power::of([by; 4]))).0;
        let [h2, ..] = product([h, 0, 0, 0], h);
        let [h3, h4, ..] = product([h, h2, 0, 0], h2);
        let [h5, h6, _, h8] = product([h, h2, h3, h4], h4);
        let [h12, h16, ..] = product([h4, h8, 0, 0], h8);
        let [h20, h24, h28, h32] = product([h4, h8, h12, h16], h16);
        self.strides = [h4, h8, h12, h16, h20, h24, h28, h32].map(|power| Power::of([power; 4]));
        self.join = Power::of([h4, h3, h2, h]);
        self.join_before_two = Power::of([h6, h5, h4, h3]);
        self.two = Power::of([h2, h, 0, 0]);
        self.one = Power::of([h, 0, 0, 0]);
    }

    /// The hash of a segment: `sums` of its lines, then `block`, its last, and its length.
    pub(super) fn end_after_block(&self, _has: Vaes512, sums: &Line, block: u128, ciphertext_len: usize) -> u128 {
        // SAFETY: `_has` proves the instructions.
        unsafe { self.hash_block(sums, block, ciphertext_len) }
    }

    /// The same where any number of blocks is left.
    pub(super) fn end_after_blocks(
        &self,
        _has: Vaes512,
        sums: &Line,
        blocks: &[[u8; 16]],
        ciphertext_len: usize,
    ) -> u128 {
        // SAFETY: `_has` proves the instructions.
        unsafe { self.hash_blocks(sums, blocks, ciphertext_len) }
    }

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn hash_block(&self, sums: &Line, block: u128, ciphertext_len: usize) -> u128 {
        let blocks = [block.swap_bytes(), length_block(ciphertext_len), 0, 0];
        let sums = multiply(load(sums), &self.join_before_two);
        let product = sums.plus(multiply(load(&Line(blocks)), &self.two));
        join(self.reduce(product)).swap_bytes()
    }

    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn hash_blocks(&self, sums: &Line, blocks: &[[u8; 16]], ciphertext_len: usize) -> u128 {
        let mut sum = join(self.product(load(sums), &self.join));
        let blocks = blocks.iter().map(|block| u128::from_be_bytes(*block));
        for block in blocks.chain([length_block(ciphertext_len)]) {
            [sum, ..] = store(self.product(load(&Line([sum ^ block, 0, 0, 0])), &self.one)).0;
        }
        sum.swap_bytes()
    }

    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn product(&self, x: __m512i, by: &Power) -> __m512i {
        self.reduce(multiply(x, by))
    }

    /// Brings four products back to 128 bits each.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    fn reduce(&self, product: Product) -> __m512i {
        let Product { low, middle, high } = product;
        let poly = load(&self.poly);
        let middle = _mm512_ternarylogic_epi64::<XOR3>(middle, low, high);
        let folded = _mm512_clmulepi64_epi128::<0>(low, poly);
        let middle = _mm512_ternarylogic_epi64::<XOR3>(middle, swap_halves(low), folded);
        let folded = _mm512_clmulepi64_epi128::<0>(middle, poly);
        _mm512_ternarylogic_epi64::<XOR3>(high, swap_halves(middle), folded)
    }
}

const XOR3: i32 = 0x96;

/// Four products of 256 bits, the middle not yet corrected.
struct Product {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl Product {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn plus(self, other: Self) -> Self {
        Self {
            low: _mm512_xor_si512(self.low, other.low),
            middle: _mm512_xor_si512(self.middle, other.middle),
            high: _mm512_xor_si512(self.high, other.high),
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn multiply(x: __m512i, by: &Power) -> Product {
    let (key, folded) = (load(&by.key), load(&by.folded));
    Product {
        low: _mm512_clmulepi64_epi128::<0x00>(x, key),
        middle: _mm512_clmulepi64_epi128::<0x00>(_mm512_xor_si512(x, swap_halves(x)), folded),
        high: _mm512_clmulepi64_epi128::<0x11>(x, key),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn swap_halves(x: __m512i) -> __m512i {
    _mm512_shuffle_epi32::<0x4e>(x)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn join(sums: __m512i) -> u128 {
    let [one, two, three, four] = store(sums).0;
    one ^ two ^ three ^ four
}

/// All of the message is additional data: its length in bits, then that of no ciphertext.
fn length_block(ciphertext_len: usize) -> u128 {
    (ciphertext_len as u128 * 8) << 64
}

/// GMAC of a message, for tests: the tag, by nothing but what is here.
#[cfg(test)]
pub(crate) fn gmac(has: Vaes512, key: &[u8; 32], nonce: &[u8; 12], message: &[u8]) -> [u8; 16] {
    use crate::cbc::round_keys::EncryptKeys;
    let (mut keys, mut hash_keys) = (EncryptKeys::default(), HashKeys::default());
    keys.fill(has.aesni(), key);
    let counter = [&nonce[..], &[0, 0, 0, 1]].concat();
    let counter = u128::from_ne_bytes(*counter.first_chunk().expect("12 and 4 bytes are 16"));
    let [line] = super::blocks::encrypt(has, &keys, [Line([0, counter, 0, 0])]);
    hash_keys.fill(has, line.0[0]);
    let mut padded = message.to_vec();
    padded.resize(message.len().next_multiple_of(16), 0);
    let hash = hash_keys.end_after_blocks(has, &Line::default(), padded.as_chunks().0, message.len());
    (hash ^ line.0[1]).to_ne_bytes()
}
