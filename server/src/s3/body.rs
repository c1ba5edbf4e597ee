//! The body of a request as a plaintext, and what can be wrong with it.

use std::error::Error;

use futures::StreamExt;
use s3s::StdError;
use s3s::dto::StreamingBlob;

use crate::error::OpError;
use crate::pipeline::Plaintext;
use crate::s3::guard::FileRefused;

/// The body; none is an empty one.
pub(super) fn plaintext(body: Option<StreamingBlob>) -> Plaintext {
    match body {
        Some(body) => body.map(|chunk| chunk.map_err(|error| body_error(&error))).boxed(),
        None => futures::stream::empty().boxed(),
    }
}

/// The protocol library keeps the types of these errors to itself, so that only their texts tell them apart.
fn body_error(error: &StdError) -> OpError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        let text = error.to_string();
        let known = [
            ("UploadStreamError: Sha256Mismatch", OpError::ContentSha256Mismatch),
            ("UploadStreamError: LengthMismatch", OpError::IncompleteBody),
            ("UploadStreamError: Incomplete", OpError::IncompleteBody),
            ("AwsChunkedStreamError: SignatureMismatch", OpError::ChunkSignature),
            ("AwsChunkedStreamError: Incomplete", OpError::IncompleteBody),
        ];
        if let Some((_, known)) = known.into_iter().find(|(is, _)| text == *is) {
            return known;
        }
        match error.downcast_ref::<FileRefused>() {
            Some(FileRefused::TooLong(limit)) => return OpError::TooLong { what: "the file", limit: *limit },
            Some(FileRefused::TooShort(limit)) => return OpError::TooShort { limit: *limit },
            None => {}
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(|error| error.is_incomplete_message() || error.is_closed())
        {
            return OpError::IncompleteBody;
        }
        cause = error.source();
    }
    let text = error.to_string();
    let framing = ["FormatError", "TooLarge", "TooMany"];
    if framing.iter().any(|of| text.contains(of)) { OpError::BadBody(text) } else { OpError::IncompleteBody }
}
