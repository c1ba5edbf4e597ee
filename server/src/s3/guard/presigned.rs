//! Signature Version 4 in the query: presigned requests.
//!
//! The protocol library checks signature and expiry, but no upper bound on the lifetime, and reads no `x-amz-*`
//! parameter of the query although S3 takes each for the header of that name (SDKs move headers there when they
//! presign). A wish for encryption would so be dropped in silence: these become headers here. They are signed, as all
//! of the query is.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::S3ErrorCode;

use super::refusal::Refusal;
use super::signer::{Signer, check_signed_headers, credential, is_signature, signed_headers};
use super::target::Target;

/// S3's longest lifetime of a presigned request, in seconds: a week.
const EXPIRES_S_MAX: u64 = 604_800;

/// What a presigned query must hold, each once and spelled so.
const REQUIRED: [&str; 6] =
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Expires"];

/// Whether the query tries to be a presigned one, well formed or not.
pub(super) fn is_meant(target: &Target) -> bool {
    let marks = ["x-amz-algorithm", "x-amz-credential", "x-amz-signature", "x-amz-signedheaders"];
    target.query.iter().any(|(name, _)| marks.iter().any(|mark| name.eq_ignore_ascii_case(mark)))
}

/// Checks everything but signature and expiry.
pub(super) fn check(parts: &Parts, target: &Target) -> Result<Signer, Refusal> {
    let mut values = [""; REQUIRED.len()];
    for (value, name) in values.iter_mut().zip(REQUIRED) {
        let mut given = target.query.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (given.next(), given.next()) {
            (Some((key, content)), None) if key == name => *value = content,
            _ => {
                return Err(malformed(
                    "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                     X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
                ));
            }
        }
    }
    let [algorithm, scope, signature, date, signed, expires] = values;
    if algorithm != "AWS4-HMAC-SHA256" {
        return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    check_expires(expires)?;
    if super::date::amz_date_s(date).is_none() {
        return Err(malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""));
    }
    let credential = credential(scope).ok_or_else(|| {
        malformed(
            "Error parsing the X-Amz-Credential parameter; it must be of the form \
                   <YOUR-AKID>/YYYYMMDD/REGION/s3/aws4_request.",
        )
    })?;
    credential.check_region(S3ErrorCode::AuthorizationQueryParametersError)?;
    if !is_signature(signature) {
        return Err(malformed("X-Amz-Signature must be 64 lower-case hexadecimal digits."));
    }
    let signed =
        signed_headers(signed).ok_or_else(|| malformed("X-Amz-SignedHeaders must list names in lower case."))?;
    check_signed_headers(parts, &signed)?;
    Ok(Signer::Query { access_key: credential.access_key.to_owned() })
}

/// Turns the `x-amz-*` parameters of a presigned query into the headers that they stand for.
pub(super) fn parameters_to_headers(target: &Target, headers: &mut HeaderMap) -> Result<(), Refusal> {
    for (name, value) in &target.query {
        let lower = name.to_ascii_lowercase();
        let belongs_to_signature = REQUIRED.iter().any(|required| required.eq_ignore_ascii_case(name));
        // Only ever UNSIGNED-PAYLOAD there, which is what the library signs over.
        if !lower.starts_with("x-amz-") || belongs_to_signature || lower == "x-amz-content-sha256" {
            continue;
        }
        let invalid = || Refusal::invalid_argument("A query parameter cannot be taken as a header.");
        let header = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| invalid())?;
        let value = HeaderValue::from_str(value).map_err(|_| invalid().with("ArgumentName", lower.clone()))?;
        match headers.get(&header) {
            Some(present) if *present != value => {
                return Err(Refusal::invalid_argument("A header and a query parameter of one name disagree.")
                    .with("ArgumentName", lower));
            }
            Some(_) => {}
            None => {
                headers.insert(header, value);
            }
        }
    }
    Ok(())
}

fn check_expires(text: &str) -> Result<(), Refusal> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed("X-Amz-Expires should be a number"));
    }
    if negative {
        return Err(malformed("X-Amz-Expires must be non-negative"));
    }
    match digits.parse::<u64>() {
        Ok(seconds) if seconds <= EXPIRES_S_MAX => Ok(()),
        _ => Err(malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
             604800 seconds",
        )),
    }
}

fn malformed(message: &'static str) -> Refusal {
    Refusal::new(S3ErrorCode::AuthorizationQueryParametersError, message)
}
