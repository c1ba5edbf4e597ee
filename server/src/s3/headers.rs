//! Headers that several operations share: what they say of an object, and what is refused rather than ignored.
//!
//! They are read as they were sent, and signed, because S3 is more lenient with some of them than the protocol library.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use s3s::S3Request;
use s3s::dto::{Metadata, Timestamp, TimestampFormat};

use crate::catalog::record::{ContentHeaders, Description};
use crate::error::OpError;
use crate::ops::condition::{Conditions, EtagMatch};
use crate::ops::get::{Head, Wanted};

/// User metadata of one object at most, in bytes of names and values.
const METADATA_LEN_MAX: usize = 2048;

/// The only account there is: it owns everything.
pub(super) const OWNER: &str = crate::policy::language::CANONICAL_ID;

/// Headers as the client sent them, where some were taken away before the protocol library saw the request.
#[derive(Clone)]
pub(super) struct SentHeaders(pub(super) HeaderMap);

/// The headers that the client sent.
pub(super) fn sent<T>(request: &S3Request<T>) -> &HeaderMap {
    request.extensions.get::<SentHeaders>().map_or(&request.headers, |sent| &sent.0)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What an upload says of its object.
///
/// # Errors
/// A storage class that there is none of; metadata beyond 2 KiB.
pub(super) fn description(headers: &HeaderMap, metadata: Option<&Metadata>) -> Result<Description, OpError> {
    let owned = |name: HeaderName| text(headers, name.as_str()).filter(|text| !text.is_empty()).map(str::to_owned);
    let mut metadata: Vec<(String, String)> =
        metadata.into_iter().flatten().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    metadata.sort();
    if metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > METADATA_LEN_MAX {
        return Err(OpError::MetadataTooLarge);
    }
    Ok(Description {
        headers: ContentHeaders {
            content_type: owned(header::CONTENT_TYPE),
            cache_control: owned(header::CACHE_CONTROL),
            content_disposition: owned(header::CONTENT_DISPOSITION),
            content_encoding: owned(header::CONTENT_ENCODING).and_then(|encoding| without_aws_chunked(&encoding)),
            content_language: owned(header::CONTENT_LANGUAGE),
            expires: owned(header::EXPIRES),
            website_redirect: text(headers, "x-amz-website-redirect-location").map(str::to_owned),
        },
        metadata,
        storage_class: storage_class(headers)?,
    })
}

/// `aws-chunked` is how the body came, not what the object is.
fn without_aws_chunked(encoding: &str) -> Option<String> {
    let kept: Vec<&str> = encoding.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    if kept.is_empty() { None } else { Some(kept.join(",")) }
}

/// The storage class; `None` is STANDARD.
///
/// # Errors
/// [`OpError::InvalidStorageClass`]
pub(super) fn storage_class(headers: &HeaderMap) -> Result<Option<String>, OpError> {
    match text(headers, "x-amz-storage-class") {
        None | Some("STANDARD") => Ok(None),
        Some("REDUCED_REDUNDANCY") => Ok(Some("REDUCED_REDUNDANCY".into())),
        Some(_) => Err(OpError::InvalidStorageClass),
    }
}

/// What a request may ask for and this version does not do is refused, never ignored.
///
/// # Errors
/// [`OpError::NotImplemented`], [`OpError::AclNotSupported`], [`OpError::AccessDenied`].
pub(super) fn refuse_unsupported(headers: &HeaderMap) -> Result<(), OpError> {
    for name in headers.keys().map(HeaderName::as_str) {
        match name {
            "x-amz-tagging" => return Err(OpError::NotImplemented("object tags")),
            "x-amz-write-offset-bytes" => return Err(OpError::NotImplemented("appending")),
            _ if name.starts_with("x-amz-object-lock-") || name == "x-amz-bucket-object-lock-enabled" => {
                return Err(OpError::NotImplemented("object lock"));
            }
            _ if name.starts_with("x-amz-grant-") => return Err(OpError::AclNotSupported),
            _ => {}
        }
    }
    if text(headers, "x-amz-acl").is_some_and(|acl| !matches!(acl, "private" | "bucket-owner-full-control")) {
        return Err(OpError::AclNotSupported);
    }
    for name in ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"] {
        if text(headers, name).is_some_and(|owner| owner != OWNER) {
            return Err(OpError::AccessDenied("the bucket belongs to another owner"));
        }
    }
    Ok(())
}

/// There are no versions but the current one.
///
/// # Errors
/// [`OpError::NoSuchVersion`].
pub(super) fn refuse_version(version_id: Option<&str>) -> Result<(), OpError> {
    match version_id {
        None | Some("null") => Ok(()),
        Some(_) => Err(OpError::NoSuchVersion),
    }
}

/// Conditions on the object that a request names.
pub(super) fn conditions(headers: &HeaderMap) -> Conditions {
    read_conditions(headers, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
}

/// Conditions on the source of a copy.
pub(super) fn source_conditions(headers: &HeaderMap) -> Conditions {
    read_conditions(
        headers,
        [
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
        ],
    )
}

/// Conditions on what a write replaces: only entity tags are looked at.
///
/// # Errors
/// [`OpError::NotImplemented`]: S3 knows `*` only where an object must be absent.
pub(super) fn write_conditions(headers: &HeaderMap) -> Result<Conditions, OpError> {
    let conditions = conditions(headers);
    if matches!(conditions.matches_none, Some(EtagMatch::OneOf(_))) {
        return Err(OpError::NotImplemented("If-None-Match with an entity tag on a write"));
    }
    Ok(Conditions { modified_since: None, unmodified_since: None, ..conditions })
}

fn read_conditions(headers: &HeaderMap, [matches, none, since, until]: [&str; 4]) -> Conditions {
    // A date that is none, or lies in the future, is as if it were not sent (RFC 9110, 13.1.3).
    let date =
        |name| text(headers, name).and_then(|text| Timestamp::parse(TimestampFormat::HttpDate, text).ok()).map(seconds);
    Conditions {
        matches: text(headers, matches).map(etag_match),
        matches_none: text(headers, none).map(etag_match),
        modified_since: date(since),
        unmodified_since: date(until),
    }
}

fn etag_match(text: &str) -> EtagMatch {
    if text.trim() == "*" {
        return EtagMatch::Any;
    }
    EtagMatch::OneOf(text.split(',').map(|tag| etag(tag).to_owned()).collect())
}

/// An entity tag without its quotes and its mark of weakness.
pub(super) fn etag(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("W/").unwrap_or(text).trim_matches('"')
}

/// The bytes that a Range header asks for. One that is none of a single byte range is as if it were not sent.
pub(super) fn range(headers: &HeaderMap) -> Wanted {
    text(headers, "range").and_then(parse_range).unwrap_or(Wanted::Whole)
}

/// A single byte range.
pub(super) fn parse_range(text: &str) -> Option<Wanted> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number beyond 64 bits is beyond every object.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(Wanted::Last),
        (first, "") => Some(Wanted::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Wanted::From(first, Some(last)))
        }
    }
}

/// A moment as S3 shows it.
pub(super) fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms))
}

/// A moment in whole seconds, as HTTP dates have it.
fn seconds(timestamp: Timestamp) -> i64 {
    time::OffsetDateTime::from(timestamp).unix_timestamp()
}

/// The headers of a 304: what a cache needs to go on using what it has.
pub(super) fn validators(head: &Head) -> HeaderMap {
    let mut date = Vec::new();
    let formatted = timestamp(head.created_ms).format(TimestampFormat::HttpDate, &mut date);
    let headers = &head.record.description.headers;
    let pairs = [
        (header::ETAG, HeaderValue::try_from(format!("\"{}\"", head.record.etag)).ok()),
        (header::LAST_MODIFIED, formatted.ok().and_then(|()| HeaderValue::from_bytes(&date).ok())),
        (header::CACHE_CONTROL, headers.cache_control.as_ref().and_then(|text| HeaderValue::try_from(text).ok())),
        (header::EXPIRES, headers.expires.as_ref().and_then(|text| HeaderValue::try_from(text).ok())),
    ];
    pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_byte_range_counts() {
        assert_eq!(parse_range("bytes=0-5"), Some(Wanted::From(0, Some(5))));
        assert_eq!(parse_range("bytes=7-"), Some(Wanted::From(7, None)));
        assert_eq!(parse_range("bytes=-0"), Some(Wanted::Last(0)));
        assert_eq!(parse_range("bytes=99999999999999999999999-"), Some(Wanted::From(u64::MAX, None)));
        for nonsense in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=+1-2"]
        {
            assert_eq!(parse_range(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn how_a_body_came_is_not_what_the_object_is() {
        assert_eq!(without_aws_chunked("aws-chunked"), None);
        assert_eq!(without_aws_chunked("aws-chunked, gzip").as_deref(), Some("gzip"));
        assert_eq!(without_aws_chunked("gzip").as_deref(), Some("gzip"));
    }

    #[test]
    fn entity_tags_come_quoted_weak_bare_and_in_lists() {
        assert_eq!(etag_match("\"a\", W/\"b\",c"), EtagMatch::OneOf(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(etag_match("*"), EtagMatch::Any);
    }
}
