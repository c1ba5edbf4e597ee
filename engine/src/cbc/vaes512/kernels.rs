//! The generated loops (see `build/`), the memory they work on, and one door to each.
//!
//! A job holds everything a loop touches but the rows themselves: where they are, the chains and sums it goes on with,
//! and a scratch for lines on their way between lanes and registers. The assembly knows these types by offset only.
#![allow(unsafe_code)] // The one reason: generated assembly, which takes pointers.

use std::{arch::naked_asm, mem::offset_of};

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{ghash::HashKeys, wide::Line};
use crate::cbc::{
    path::Vaes512,
    round_keys::{DecryptKeys, EncryptKeys},
};

/// Lanes of one job at most: 4 a register.
pub(super) const GROUPS_MAX: usize = 6;
/// The step of the loops that encrypt, in bytes of each lane.
pub(super) const LINE_LEN: usize = 64;
/// The step of those that hash as well.
pub(super) const WINDOW_LEN: usize = 256;
/// The step of the loops that decrypt.
pub(super) const STRIDE_LEN: usize = 512;

#[repr(C)]
#[derive(Default)]
pub(super) struct SealKeys {
    pub(super) enc: EncryptKeys,
    pub(super) hash: HashKeys,
}

#[repr(C)]
#[derive(Default)]
pub(super) struct OpenKeys {
    pub(super) dec: DecryptKeys,
    pub(super) hash: HashKeys,
}

/// Lines on their way in and out: of each group its four block steps, with one block of each of its lanes.
#[repr(C)]
struct Half<const GROUPS: usize> {
    input: [[Line; 4]; GROUPS],
    output: [[Line; 4]; GROUPS],
}

/// What a loop over `4 * GROUPS` lanes works on.
#[repr(C)]
pub(super) struct EncryptJob<const GROUPS: usize> {
    scratch: [Half<GROUPS>; 2],
    /// The last ciphertext block of each lane, or its IV.
    pub(super) chains: [Line; GROUPS],
    /// The running sums of each lane.
    pub(super) sums: [[Line; GROUPS]; 4],
    inputs: [[*const u8; 4]; GROUPS],
    outputs: [[*mut u8; 4]; GROUPS],
    len: usize,
}

impl<const GROUPS: usize> EncryptJob<GROUPS> {
    pub(super) fn new(chains: [Line; GROUPS]) -> Self {
        let none = || Half { input: [[Line::default(); 4]; GROUPS], output: [[Line::default(); 4]; GROUPS] };
        Self {
            scratch: [none(), none()],
            chains,
            sums: [[Line::default(); GROUPS]; 4],
            inputs: [[std::ptr::null(); 4]; GROUPS],
            outputs: [[std::ptr::null_mut(); 4]; GROUPS],
            len: 0,
        }
    }
}

impl<const GROUPS: usize> Drop for EncryptJob<GROUPS> {
    fn drop(&mut self) {
        self.scratch.iter_mut().for_each(|half| half.input.zeroize());
        self.sums.zeroize();
    }
}

impl<const GROUPS: usize> ZeroizeOnDrop for EncryptJob<GROUPS> {}

/// Where one lane is read and written.
pub(super) type Place = (*const u8, *mut u8);

impl<const GROUPS: usize> EncryptJob<GROUPS> {
    /// Sets the next `len` bytes of every lane. The registers that `count` lanes do not fill repeat the first, which
    /// reads and writes the same bytes twice: its chain is copied to them.
    fn aim(&mut self, count: usize, place: impl Fn(usize) -> Place, len: usize) {
        let first = self.chains[0].0[0];
        self.chains.iter_mut().flat_map(|line| &mut line.0).skip(count).for_each(|chain| *chain = first);
        let lanes = self.inputs.as_flattened_mut().iter_mut().zip(self.outputs.as_flattened_mut());
        for (lane, (input, output)) in lanes.enumerate() {
            (*input, *output) = place(if lane < count { lane } else { 0 });
        }
        self.len = len;
    }
}

macro_rules! encrypt_kernels {
    ($($groups:literal $encrypt:ident $encrypt_text:literal $seal:ident $seal_text:literal)*) => { $(
        #[cfg(any(test, feature = "measure"))]
        #[unsafe(naked)]
        unsafe extern "sysv64" fn $encrypt(keys: *const EncryptKeys, job: *mut EncryptJob<$groups>) {
            naked_asm!(
                include_str!(concat!(env!("OUT_DIR"), $encrypt_text)),
                round_keys = const 0,
                scratch = const offset_of!(EncryptJob<$groups>, scratch),
                half = const size_of::<Half<$groups>>(),
                out = const offset_of!(Half<$groups>, output),
                chains = const offset_of!(EncryptJob<$groups>, chains),
                inputs = const offset_of!(EncryptJob<$groups>, inputs),
                outputs = const offset_of!(EncryptJob<$groups>, outputs),
                len = const offset_of!(EncryptJob<$groups>, len),
            )
        }

        #[unsafe(naked)]
        unsafe extern "sysv64" fn $seal(keys: *const SealKeys, job: *mut EncryptJob<$groups>) {
            naked_asm!(
                include_str!(concat!(env!("OUT_DIR"), $seal_text)),
                round_keys = const offset_of!(SealKeys, enc),
                powers = const offset_of!(SealKeys, hash) + offset_of!(HashKeys, strides),
                poly = const offset_of!(SealKeys, hash) + offset_of!(HashKeys, poly),
                reverse = const offset_of!(SealKeys, hash) + offset_of!(HashKeys, reverse),
                scratch = const offset_of!(EncryptJob<$groups>, scratch),
                half = const size_of::<Half<$groups>>(),
                out = const offset_of!(Half<$groups>, output),
                chains = const offset_of!(EncryptJob<$groups>, chains),
                sums = const offset_of!(EncryptJob<$groups>, sums),
                inputs = const offset_of!(EncryptJob<$groups>, inputs),
                outputs = const offset_of!(EncryptJob<$groups>, outputs),
                len = const offset_of!(EncryptJob<$groups>, len),
            )
        }

        impl Encrypt<$groups> for EncryptJob<$groups> {
            #[cfg(any(test, feature = "measure"))]
            unsafe fn encrypt(
                &mut self,
                _has: Vaes512,
                keys: &EncryptKeys,
                count: usize,
                place: impl Fn(usize) -> Place,
                len: usize,
            ) {
                self.aim(count, place, len);
                // SAFETY: the places and their length are good by the caller's word, `_has` proves the instructions.
                unsafe { $encrypt(keys, self) }
            }

            unsafe fn seal(
                &mut self,
                _has: Vaes512,
                keys: &SealKeys,
                count: usize,
                place: impl Fn(usize) -> Place,
                len: usize,
            ) {
                self.aim(count, place, len);
                // SAFETY: the places and their length are good by the caller's word, `_has` proves the instructions.
                unsafe { $seal(keys, self) }
            }
        }
    )* };
}

/// The loops that there are for some number of groups.
pub(super) trait Encrypt<const GROUPS: usize> {
    /// CBC of the next `len` bytes, a positive number of lines, of each of `count` lanes.
    ///
    /// # Safety
    /// `place` gives, for every lane below `count` (1 to `4 * GROUPS`), `len` bytes to read and `len` bytes to write,
    /// which are the same bytes or apart from those of all lanes.
    #[cfg(any(test, feature = "measure"))]
    unsafe fn encrypt(
        &mut self,
        has: Vaes512,
        keys: &EncryptKeys,
        count: usize,
        place: impl Fn(usize) -> Place,
        len: usize,
    );

    /// The same, and the sums. `len` is a positive number of windows.
    ///
    /// # Safety
    /// As for `encrypt`.
    unsafe fn seal(&mut self, has: Vaes512, keys: &SealKeys, count: usize, place: impl Fn(usize) -> Place, len: usize);
}

encrypt_kernels! {
    1 encrypt1 "/encrypt1.s" seal1 "/seal1.s"
    2 encrypt2 "/encrypt2.s" seal2 "/seal2.s"
    3 encrypt3 "/encrypt3.s" seal3 "/seal3.s"
    4 encrypt4 "/encrypt4.s" seal4 "/seal4.s"
    5 encrypt5 "/encrypt5.s" seal5 "/seal5.s"
    6 encrypt6 "/encrypt6.s" seal6 "/seal6.s"
}

/// What a loop over one segment works on.
#[repr(C)]
pub(super) struct DecryptJob {
    pub(super) sum: Line,
    /// The line before, of which only the last block counts: ciphertext, or the IV.
    before: Line,
    input: *const u8,
    output: *mut u8,
    len: usize,
}

impl DecryptJob {
    pub(super) fn new(iv: u128) -> Self {
        let (sum, before) = (Line::default(), Line([0, 0, 0, iv]));
        Self { sum, before, input: std::ptr::null(), output: std::ptr::null_mut(), len: 0 }
    }

    /// The last ciphertext block, or the IV.
    pub(super) fn chain(&self) -> u128 {
        self.before.0[3]
    }

    /// Decrypts the next bytes, a whole number of strides.
    #[cfg(any(test, feature = "measure"))]
    pub(super) fn decrypt(&mut self, _has: Vaes512, keys: &DecryptKeys, input: &[u8], output: &mut [u8]) {
        if self.takes(input, output) {
            // SAFETY: `takes` has seen to the buffers, `_has` proves the instructions.
            unsafe { decrypt(keys, self) }
        }
    }

    /// Decrypts the next bytes, a whole number of strides, and hashes the ciphertext.
    pub(super) fn open(&mut self, _has: Vaes512, keys: &OpenKeys, input: &[u8], output: &mut [u8]) {
        if self.takes(input, output) {
            // SAFETY: `takes` has seen to the buffers, `_has` proves the instructions.
            unsafe { open(keys, self) }
        }
    }

    /// Whether there is anything to do.
    fn takes(&mut self, input: &[u8], output: &mut [u8]) -> bool {
        assert!(input.len() == output.len() && input.len().is_multiple_of(STRIDE_LEN), "whole strides, as long");
        (self.input, self.output, self.len) = (input.as_ptr(), output.as_mut_ptr(), input.len());
        self.len > 0
    }
}

impl Drop for DecryptJob {
    fn drop(&mut self) {
        self.sum.zeroize();
    }
}

#[cfg(any(test, feature = "measure"))]
#[unsafe(naked)]
unsafe extern "sysv64" fn decrypt(keys: *const DecryptKeys, job: *mut DecryptJob) {
    naked_asm!(
        include_str!(concat!(env!("OUT_DIR"), "/decrypt.s")),
        round_keys = const 0,
        before = const offset_of!(DecryptJob, before),
        input = const offset_of!(DecryptJob, input),
        output = const offset_of!(DecryptJob, output),
        len = const offset_of!(DecryptJob, len),
    )
}

#[unsafe(naked)]
unsafe extern "sysv64" fn open(keys: *const OpenKeys, job: *mut DecryptJob) {
    naked_asm!(
        include_str!(concat!(env!("OUT_DIR"), "/open.s")),
        round_keys = const offset_of!(OpenKeys, dec),
        powers = const offset_of!(OpenKeys, hash) + offset_of!(HashKeys, strides),
        poly = const offset_of!(OpenKeys, hash) + offset_of!(HashKeys, poly),
        reverse = const offset_of!(OpenKeys, hash) + offset_of!(HashKeys, reverse),
        sum = const offset_of!(DecryptJob, sum),
        before = const offset_of!(DecryptJob, before),
        input = const offset_of!(DecryptJob, input),
        output = const offset_of!(DecryptJob, output),
        len = const offset_of!(DecryptJob, len),
    )
}
