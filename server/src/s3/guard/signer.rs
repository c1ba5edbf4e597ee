//! Who says to have signed a request, and over what: Signature Version 4 in the Authorization header.
//!
//! The signature itself is checked later, by the protocol library, over exactly the headers that SignedHeaders names.
//! What it does not look at is refused here: `x-amz-*` headers outside that list (an unsigned copy source would turn an
//! upload into a read of anything its signer may read), signed names without a header, Signature Version 2, credentials
//! of another service, and a date that is 15 minutes off. The grammar is strict, so that both read the same list.

use http::request::Parts;
use http::{HeaderMap, Version};
use s3s::S3ErrorCode;

use super::date;
use super::length::Framing;
use super::presigned;
use super::refusal::Refusal;
use super::target::Target;
use crate::s3::REGION;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How a request is signed, and by whom as it says.
#[derive(Debug)]
pub(super) enum Signer {
    /// Not at all.
    Anonymous,
    /// In the Authorization header.
    Header { access_key: String },
    /// In the query.
    Query { access_key: String },
}

impl Signer {
    pub(super) fn access_key(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Header { access_key } | Self::Query { access_key } => Some(access_key),
        }
    }
}

/// Finds the one way in which a request is signed, and checks all of it but the signature.
pub(super) fn check(parts: &Parts, target: &Target, now_ms: u64) -> Result<Signer, Refusal> {
    check_single_headers(&parts.headers)?;
    let query_v4 = presigned::is_meant(target);
    let query_v2 = target.value("AWSAccessKeyId").is_some() || target.value("Signature").is_some();
    let header = parts.headers.get(http::header::AUTHORIZATION);
    if usize::from(query_v4) + usize::from(query_v2) + usize::from(header.is_some()) > 1 {
        return Err(Refusal::invalid_argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        ));
    }
    if query_v2 {
        return Err(unsupported());
    }
    if parts.headers.contains_key("x-amz-security-token") || has_token(target) {
        return Err(Refusal::new(S3ErrorCode::InvalidToken, "The provided token is malformed or otherwise invalid."));
    }
    if query_v4 {
        return presigned::check(parts, target);
    }
    let Some(header) = header else { return Ok(Signer::Anonymous) };
    let header = header.to_str().map_err(|_| malformed())?;
    let authorization = Authorization::parse(header)?;
    authorization.credential.check_region(S3ErrorCode::AuthorizationHeaderMalformed)?;
    check_signed_headers(parts, &authorization.signed_headers)?;
    check_content_sha256(&parts.headers)?;
    date::check(&parts.headers, now_ms)?;
    Ok(Signer::Header { access_key: authorization.credential.access_key.to_owned() })
}

/// The framing that x-amz-content-sha256 announces.
pub(super) fn framing(headers: &HeaderMap) -> Framing {
    match headers.get(CONTENT_SHA256) {
        Some(value) if value.as_bytes().starts_with(b"STREAMING-") => Framing::Chunked,
        _ => Framing::Plain,
    }
}

/// Whether the body ends with trailing headers.
pub(super) fn has_trailer(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_SHA256).is_some_and(|value| value.as_bytes().ends_with(b"-TRAILER"))
}

const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// Every `x-amz-*` header must be signed, every signed name must be there, `host` must be signed.
pub(super) fn check_signed_headers(parts: &Parts, signed: &[&str]) -> Result<(), Refusal> {
    let mut unsigned = Vec::new();
    if !signed.contains(&"host") {
        unsigned.push("host");
    }
    for name in parts.headers.keys() {
        // S3 lets the digest go unsigned: with header signing it is part of what is signed anyway, and beside a
        // presigned query it can only make an upload fail.
        let matters = name.as_str().starts_with("x-amz-") && name != CONTENT_SHA256;
        if matters && !signed.contains(&name.as_str()) {
            unsigned.push(name.as_str());
        }
    }
    if !unsigned.is_empty() {
        return Err(Refusal::new(
            S3ErrorCode::AccessDenied,
            "There were headers present in the request which were not signed",
        )
        .with("HeadersNotSigned", unsigned.join(", ")));
    }
    let by_authority = parts.version >= Version::HTTP_2 && parts.uri.authority().is_some();
    let present = |name: &str| parts.headers.contains_key(name) || (name == "host" && by_authority);
    match signed.iter().find(|name| !present(name)) {
        Some(absent) => Err(Refusal::new(
            S3ErrorCode::SignatureDoesNotMatch,
            "A header that the signature names is not in the request.",
        )
        .with("HeaderName", *absent)),
        None => Ok(()),
    }
}

/// The names in a SignedHeaders list; `None` unless each is a header name in lower case.
pub(super) fn signed_headers(list: &str) -> Option<Vec<&str>> {
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
    };
    let names: Vec<_> = list.split(';').collect();
    names.iter().all(is_name).then_some(names)
}

/// What a credential names, if it is `key id/date/region/s3/aws4_request`.
#[derive(Clone, Copy)]
pub(super) struct Credential<'a> {
    pub(super) access_key: &'a str,
    region: &'a str,
}

impl Credential<'_> {
    /// Refuses a signature for another region than this server's, with the code that the way of signing has for it.
    pub(super) fn check_region(self, code: S3ErrorCode) -> Result<(), Refusal> {
        if self.region == REGION {
            return Ok(());
        }
        Err(Refusal::new(code, "The region in the credential is wrong.").with("Region", REGION))
    }
}

pub(super) fn credential(text: &str) -> Option<Credential<'_>> {
    let mut fields = text.split('/');
    let (access_key, date, region) = (fields.next()?, fields.next()?, fields.next()?);
    let (service, end, rest) = (fields.next()?, fields.next()?, fields.next());
    let plain = access_key.len() <= 128 && access_key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let whole = !access_key.is_empty() && date.len() == 8 && !region.is_empty() && rest.is_none();
    // A credential of another service (STS) would be spared the digest of its body.
    (plain && whole && service == "s3" && end == "aws4_request").then_some(Credential { access_key, region })
}

pub(super) fn is_signature(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

struct Authorization<'a> {
    credential: Credential<'a>,
    signed_headers: Vec<&'a str>,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, Refusal> {
        let (algorithm, rest) = header.split_once(' ').ok_or_else(unsupported)?;
        if algorithm != ALGORITHM {
            return Err(unsupported());
        }
        Self::parse_fields(rest).ok_or_else(malformed)
    }

    fn parse_fields(text: &'a str) -> Option<Self> {
        let mut fields = text.split(',').map(str::trim);
        let credential = credential(fields.next()?.strip_prefix("Credential=")?)?;
        let signed_headers = signed_headers(fields.next()?.strip_prefix("SignedHeaders=")?)?;
        let signature = fields.next()?.strip_prefix("Signature=")?;
        (is_signature(signature) && fields.next().is_none()).then_some(Self { credential, signed_headers })
    }
}

/// Headers that are read by name, once: of two, two readers could pick different ones.
fn check_single_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    for name in headers.keys() {
        let text = name.as_str();
        let merges = text.starts_with("x-amz-meta-");
        let once = matches!(text, "authorization" | "host" | "date" | "content-md5" | "content-type" | "range")
            || (text.starts_with("x-amz-") && !merges && text != "x-amz-object-attributes");
        if once && headers.get_all(name).iter().count() > 1 {
            return Err(Refusal::invalid_argument("A header was given twice.").with("ArgumentName", text));
        }
        // The library skips a value that is no UTF-8, so that it would count as absent.
        let skipped = |value: &http::HeaderValue| std::str::from_utf8(value.as_bytes()).is_err();
        if (once || merges) && headers.get_all(name).iter().any(skipped) {
            return Err(Refusal::invalid_argument("A header value is not UTF-8.").with("ArgumentName", text));
        }
    }
    Ok(())
}

fn check_content_sha256(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = headers.get(CONTENT_SHA256) else {
        return Err(Refusal::new(
            S3ErrorCode::InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256",
        ));
    };
    let known = [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
    ];
    match value.to_str() {
        Ok(text) if known.contains(&text) || is_signature(text) => Ok(()),
        _ => Err(Refusal::invalid_argument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
             STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, \
             STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid \
             sha256 value.",
        )
        .with("ArgumentName", CONTENT_SHA256)),
    }
}

/// This version issues no session tokens, so none is valid.
fn has_token(target: &Target) -> bool {
    target.query.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-amz-security-token"))
}

fn unsupported() -> Refusal {
    Refusal::new(
        S3ErrorCode::InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

fn malformed() -> Refusal {
    Refusal::new(
        S3ErrorCode::AuthorizationHeaderMalformed,
        "The authorization header that you provided is not valid: Credential (of service s3), SignedHeaders (in lower \
         case) and Signature are needed, in this order.",
    )
}
