//! What the benches and `versus` share: the peers, buffers to work in, and the race itself.
//!
//! A bench answers a written question: us and the peers, same bytes, same run, a ratio. Nothing here is a test.

pub mod core;
#[cfg(feature = "peers")]
pub mod peers;
pub mod plot;
pub mod versus;
