//! Step 4, between a body and the engine: plaintext in and sealed batches out, and back.
//!
//! Both ways hold at most a few batches of 256 KiB, whatever the size of the object, and run only as fast as the side
//! that takes their output.

mod open;
mod seal;

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::error::OpError;

pub use open::{OpenBlob, StreamFacts};
pub use seal::{Sealed, seal};

/// Plaintext, as it comes from a client or goes to one.
pub type Plaintext = BoxStream<'static, Result<Bytes, OpError>>;
