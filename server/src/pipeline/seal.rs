//! A body in, its sealed stream out, hashed on the way.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::try_unfold;
use strongroom_engine::Sealer;
use tokio::sync::oneshot;

use crate::blob::SealedStream;
use crate::bridge;
use crate::catalog::record::CommitmentBytes;
use crate::error::OpError;
use crate::ops::digest::{Digested, Digests};
use crate::ops::put::Accept;
use crate::pipeline::Plaintext;

/// What is known of a stream once all of it has been sealed.
#[derive(Debug)]
pub struct Sealed {
    /// Of the stream's header.
    pub commitment: CommitmentBytes,
    /// Over the plaintext.
    pub digested: Digested,
}

/// Seals `body` as it is pulled. `accept` sees the digests before the last batch is handed out, so a body that is not
/// what it was said to be never becomes a whole blob. The second value arrives when the stream has ended well.
pub fn seal(
    body: Plaintext,
    sealer: Sealer,
    digests: Digests,
    accept: Accept,
) -> (SealedStream<'static>, oneshot::Receiver<Sealed>) {
    let (done, sealed) = oneshot::channel();
    let commitment = CommitmentBytes::from(&sealer.commitment());
    let sealing = Sealing {
        body,
        waiting: BytesMut::new(),
        ended: false,
        header: Some(Bytes::copy_from_slice(sealer.header_bytes())),
        sealer,
        at_end: Some(AtEnd { accept, commitment, done }),
        digests: Some(digests),
    };
    (try_unfold(sealing, Sealing::next).boxed(), sealed)
}

struct Sealing {
    body: Plaintext,
    waiting: BytesMut,
    ended: bool,
    header: Option<Bytes>,
    sealer: Sealer,
    digests: Option<Digests>,
    at_end: Option<AtEnd>,
}

struct AtEnd {
    accept: Accept,
    commitment: CommitmentBytes,
    done: oneshot::Sender<Sealed>,
}

impl Sealing {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, OpError> {
        let Some(digests) = self.digests.take() else { return Ok(None) };
        let plain = self.next_batch().await?;
        let last = self.ended && self.waiting.is_empty();
        let batch = self.sealer.next_batch(plain.len(), last)?;
        let header = self.header.take().unwrap_or_default();

        let (digests, sealed) = bridge::run(plain.len(), move || {
            let mut digests = digests;
            let mut sealed = vec![0; header.len() + batch.sealed_len()];
            let (head, segments) = sealed.split_at_mut(header.len());
            head.copy_from_slice(&header);
            digests.update(&plain);
            batch.seal(&plain, segments)?;
            Ok((digests, Bytes::from(sealed)))
        })
        .await?;

        if last {
            self.finish(digests)?;
        } else {
            self.digests = Some(digests);
        }
        Ok(Some((sealed, self)))
    }

    /// A full batch, or what is left of the body. Reads on until it knows whether anything follows, because the last
    /// segment is sealed as the last.
    async fn next_batch(&mut self) -> Result<Bytes, OpError> {
        let full = self.sealer.batch_len();
        while !self.ended && self.waiting.len() <= full {
            match self.body.next().await {
                Some(chunk) => self.waiting.extend_from_slice(&chunk?),
                None => self.ended = true,
            }
        }
        Ok(self.waiting.split_to(full.min(self.waiting.len())).freeze())
    }

    fn finish(&mut self, digests: Digests) -> Result<(), OpError> {
        let digested = digests.finish();
        if let Some(AtEnd { accept, commitment, done }) = self.at_end.take() {
            accept(&digested)?;
            // The receiver is gone only when nobody wants the blob any more.
            let _ = done.send(Sealed { commitment, digested });
        }
        Ok(())
    }
}
