//! Step 4, between a body and the engine: plaintext in and sealed batches out, and back.
//!
//! Both ways hold at most a few batches of 256 KiB, whatever the size of the object, and run only as fast as the side
//! that takes their output. What is in the blob has as many layers as there are keys: one sealed stream, with DSSE one
//! within another, and the plaintext itself in a bucket that was set to it.

mod open;
mod plain;
mod seal;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use strongroom_engine::{ContextDigest, DataKey, KeyId};

use crate::error::OpError;

pub use open::{OpenBlob, StreamFacts};
pub use seal::{Sealed, seal};

/// Plaintext, as it comes from a client or goes to one.
pub type Plaintext = BoxStream<'static, Result<Bytes, OpError>>;

/// One layer of encryption of a stream.
pub struct Layer {
    /// Which wrapped key it is: the header says so.
    pub id: KeyId,
    /// It.
    pub key: Arc<DataKey>,
    /// What the layer is bound to.
    pub context: ContextDigest,
}
