//! Sealing and opening with VAES and AVX-512: CBC of up to 24 lanes, or of one, and their GHASH in one loop.
//!
//! A second pass for the hash would cost a fifth of the speed. The loops are generated (`build/`); `kernels` calls them,
//! `seal` and `open` do what is left at the ends of segments. Oracle: the narrow paths, with `cbc` and AWS-LC.

mod blocks;
mod ghash;
mod kernels;
#[cfg(any(test, feature = "measure"))]
mod lanes;
mod open;
mod seal;
mod wide;

#[cfg(test)]
pub(crate) use ghash::gmac;
#[cfg(any(test, feature = "measure"))]
pub(crate) use lanes::{decrypt, encrypt_lanes};
pub(crate) use open::Opens;
pub(crate) use seal::Seals;
