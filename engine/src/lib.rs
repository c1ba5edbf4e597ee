//! The sealed format of Strongroom: keys and bytes in, sealed bytes out, and back.
//!
//! ```text
//!  data key, context ---> derive ---> stream keys
//!                                         |
//!  plaintext --> seal --> segment: pad, encrypt (cbc), authenticate (tag) --> sealed stream
//!  sealed stream --> open --> segment: authenticate, decrypt, unpad       --> plaintext
//!                     ^
//!                   layout: lengths and places, arithmetic only
//! ```
//!
//! Whoever has a 32-byte key and a file can use this crate alone: it knows no network, database, runtime or HSM.
//! The format is `docs/format.md`, to the byte; what lies on disks never changes, a new format is a new version.
//!
//! ```
//! use strongroom_engine::{Context, DataKey, HEADER_LEN, KeyId, Kind, Layout, Opener, Sealer, SegmentShift};
//!
//! let key = DataKey::generate()?;
//! let context = Context { object_key: b"letters/1.txt", ..Context::new(Kind::Stream) }.digest();
//! let plain = b"what only the key holder may read";
//!
//! let shift = SegmentShift::for_plain_len(plain.len() as u64);
//! let mut sealer = Sealer::new(&key, KeyId::fresh(1_700_000_000_000)?, &context, shift)?;
//! let batch = sealer.next_batch(plain.len(), true)?;
//! let mut sealed = vec![0; batch.sealed_len()];
//! batch.seal(plain, &mut sealed)?;
//!
//! let opener = Opener::new(&key, sealer.header_bytes(), &context)?;
//! let layout = opener.layout((HEADER_LEN + sealed.len()) as u64)?;
//! let mut opened = Vec::new();
//! opener.open_batch(&layout, 0, &sealed, &mut opened)?;
//! assert_eq!(opened, plain);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cbc;
mod context;
mod derive;
mod error;
mod file;
mod header;
mod id;
mod key;
mod layout;
#[cfg(feature = "measure")]
pub mod measure;
mod open;
mod pool;
mod seal;
mod secret;
mod segment;
mod small;
#[cfg(test)]
mod standards;
mod tag;

// The reader of test vectors, which integration tests use too: there this crate has its own name.
#[cfg(test)]
extern crate self as strongroom_engine;
#[cfg(test)]
#[path = "../tests/vector_file/mod.rs"]
mod vector_file;

pub use cbc::path::CpuPath;
pub use context::{Context, ContextDigest, Kind};
pub use error::{CipherFailed, OpenError, PathAbsent, RandomFailed, SealError, WriteError};
pub use file::{Existing, SealedFile, SealedSource, Target, Watch, seal_file};
pub use header::{Commitment, HEADER_LEN, Header, SegmentShift};
pub use id::fresh_id;
pub use key::{DataKey, KeyId, NotAKeyId};
pub use layout::{Layout, PLAIN_LEN_MAX, SegmentRange};
pub use open::Opener;
pub use seal::{SealBatch, Sealer};
pub use secret::{MemoryLock, Secret, memory_lock};
pub use small::{SMALL_OVERHEAD, open_small, seal_small};
