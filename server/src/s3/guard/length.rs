//! How long a body claims to be: refused before the first byte of it is asked for.
//!
//! An upload says its length, in Content-Length or, if it comes in chunks of its own framing, in
//! x-amz-decoded-content-length, and stays under S3's limit; any other body is a document of bounded size.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use s3s::S3ErrorCode;

use super::refusal::Refusal;

/// S3's limit for one PUT or one part: 5 GiB.
const UPLOAD_LEN_MAX: u64 = 5 << 30;

/// For XML bodies. A DeleteObjects of 1,000 keys of 1,024 bytes, each byte escaped, has 6 MB.
pub const DOCUMENT_LEN_MAX: u64 = 8 << 20;

/// The framing of a body as its x-amz-content-sha256 says it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// As HTTP has it.
    Plain,
    /// `aws-chunked`.
    Chunked,
}

/// Checks the announced length of a request that may carry a body (PUT or POST).
pub(super) fn check(headers: &HeaderMap, framing: Framing, uploads_content: bool) -> Result<(), Refusal> {
    let announced = announced(headers, framing)?;
    if framing == Framing::Plain && headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::not_implemented("A header you provided implies functionality that is not implemented.")
            .with("Header", "Transfer-Encoding"));
    }
    let Some(announced) = announced else {
        if uploads_content || framing == Framing::Chunked {
            return Err(Refusal::new(
                S3ErrorCode::MissingContentLength,
                "You must provide the Content-Length HTTP header.",
            ));
        }
        return Ok(());
    };
    if uploads_content && announced > UPLOAD_LEN_MAX {
        return Err(Refusal::new(S3ErrorCode::EntityTooLarge, "Your proposed upload exceeds the maximum allowed size")
            .with("ProposedSize", announced.to_string())
            .with("MaxSizeAllowed", UPLOAD_LEN_MAX.to_string()));
    }
    if !uploads_content && announced > DOCUMENT_LEN_MAX {
        return Err(Refusal::new(S3ErrorCode::MaxMessageLengthExceeded, "Your request was too big.")
            .with("MaxMessageLengthBytes", DOCUMENT_LEN_MAX.to_string()));
    }
    Ok(())
}

fn announced(headers: &HeaderMap, framing: Framing) -> Result<Option<u64>, Refusal> {
    let name = match framing {
        Framing::Plain => CONTENT_LENGTH.as_str(),
        Framing::Chunked => "x-amz-decoded-content-length",
    };
    let Some(value) = headers.get(name) else { return Ok(None) };
    // The protocol library would read the digits of `12x` and drop the rest.
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(Refusal::invalid_argument("A length is not a number.").with("ArgumentName", name)),
    }
}
