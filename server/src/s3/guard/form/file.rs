//! The file of a form as the body of an upload, held to the length that the policy allows.

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use multer::Field;
use s3s::{Body, StdError};

use super::policy::FileLen;

/// Why the file is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileRefused {
    /// Longer than the policy allows.
    #[error("the file is longer than its policy allows")]
    TooLong(u64),
    /// Shorter than the policy allows.
    #[error("the file is shorter than its policy allows")]
    TooShort(u64),
}

/// The file, which fails once it is too long, or at its end where it is too short.
pub(super) fn body(file: Field<'static>, limits: FileLen) -> Body {
    let chunks = file.map(|chunk| chunk.map_err(|_| StdError::from("the form ended before its file")));
    Body::http_body_unsync(StreamBody::new(limited(chunks, limits).map(|chunk| chunk.map(Frame::data))))
}

fn limited(
    chunks: impl Stream<Item = Result<Bytes, StdError>> + Send,
    (min, max): FileLen,
) -> impl Stream<Item = Result<Bytes, StdError>> + Send {
    let start = (Box::pin(chunks), 0_u64, false);
    stream::unfold(start, move |(mut chunks, mut len, ended)| async move {
        if ended {
            return None;
        }
        let next = match chunks.next().await {
            Some(Ok(chunk)) => {
                len += chunk.len() as u64;
                if len > max { Err(FileRefused::TooLong(max).into()) } else { Ok(chunk) }
            }
            Some(Err(error)) => Err(error),
            None if len < min => Err(FileRefused::TooShort(min).into()),
            None => return None,
        };
        let ended = next.is_err();
        Some((next, (chunks, len, ended)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn taken(pieces: &[&'static str], limits: FileLen) -> Result<Vec<u8>, StdError> {
        let chunks = stream::iter(pieces.to_vec()).map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
        let chunks: Vec<_> = limited(chunks, limits).collect().await;
        chunks.into_iter().collect::<Result<Vec<_>, _>>().map(|chunks| chunks.concat())
    }

    #[tokio::test]
    async fn a_file_is_as_long_as_its_policy_allows() {
        assert_eq!(taken(&["ab", "c"], (3, 3)).await.unwrap(), b"abc");
        assert_eq!(taken(&[], (0, 0)).await.unwrap(), b"");
        for (pieces, limits) in [(&["ab", "c"][..], (0, 2)), (&["ab", "c"], (4, 9)), (&[], (1, 1))] {
            let error = taken(pieces, limits).await.unwrap_err();
            assert!(error.downcast_ref::<FileRefused>().is_some());
        }
    }
}
