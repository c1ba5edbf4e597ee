//! A body of signed chunks ends with a chunk of no bytes, or it is incomplete.
//!
//! The protocol library checks the signature and the sum of the chunks that came, and takes a body that stops before
//! its last one. Each body of that framing passes through here on its way in, and fails at its end without it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use hyper::service::Service;
use s3s::service::S3Service;

/// The protocol library behind this check.
#[derive(Clone)]
pub struct Complete(pub(super) S3Service);

impl Service<Request<s3s::Body>> for Complete {
    type Response = Response<s3s::Body>;
    type Error = s3s::HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<s3s::Body>) -> Self::Future {
        let signed_in_chunks = is_signed_in_chunks(request.headers());
        let request = request.map(|body| match signed_in_chunks {
            true => s3s::Body::http_body(Ending { body, tail: Vec::new() }),
            false => body,
        });
        let library = self.0.clone();
        Box::pin(async move { library.call(request).await })
    }
}

fn is_signed_in_chunks(headers: &HeaderMap) -> bool {
    headers.get("x-amz-content-sha256").is_some_and(|value| value == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
}

/// `0;chunk-signature=`, 64 digits and two line ends, and the line end of the chunk before.
const LAST_CHUNK_LEN: usize = 2 + 18 + 64 + 4;

/// The body stopped before its last chunk.
#[derive(Debug, thiserror::Error)]
#[error("the last chunk is missing")]
struct Incomplete;

struct Ending<B> {
    body: B,
    /// The last bytes that came.
    tail: Vec<u8>,
}

impl<B> Ending<B> {
    fn remember(&mut self, data: &[u8]) {
        self.tail.extend_from_slice(&data[data.len().saturating_sub(LAST_CHUNK_LEN)..]);
        let surplus = self.tail.len().saturating_sub(LAST_CHUNK_LEN);
        self.tail.drain(..surplus);
    }

    /// The last line end is missing in what some clients send.
    fn is_complete(&self) -> bool {
        let line = self.tail.trim_ascii_end();
        let start = line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        line[start..].starts_with(b"0;chunk-signature=")
    }
}

impl<B: Body<Data = Bytes, Error: Into<s3s::StdError>> + Unpin> Body for Ending<B> {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.remember(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) if self.is_complete() => Poll::Ready(None),
            Poll::Ready(None) => Poll::Ready(Some(Err(Incomplete.into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    // Never known beforehand: who believed it would not ask for the end.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    async fn is_taken(body: &str, piece_len: usize) -> bool {
        let pieces: Vec<_> = body.as_bytes().chunks(piece_len).map(Bytes::copy_from_slice).collect();
        let frames = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
        Ending { body: StreamBody::new(futures::stream::iter(frames)), tail: Vec::new() }.collect().await.is_ok()
    }

    #[tokio::test]
    async fn a_body_without_its_last_chunk_is_incomplete_however_it_comes() {
        let signature = "5".repeat(64);
        let first = format!("5;chunk-signature={signature}\r\nhello\r\n");
        let last = format!("0;chunk-signature={signature}\r\n");
        // The bytes of a chunk may look like a last one.
        let alike = format!("10;chunk-signature={signature}\r\n0;chunk-signature");
        for piece_len in [1, 7, 1_000] {
            assert!(is_taken(&format!("{first}{last}\r\n"), piece_len).await);
            assert!(is_taken(&format!("{first}{last}"), piece_len).await);
            assert!(is_taken(&format!("{last}\r\n"), piece_len).await);
            assert!(!is_taken(&first, piece_len).await);
            assert!(!is_taken(&alike, piece_len).await);
            assert!(!is_taken("", piece_len).await);
        }
    }
}
