//! Signature Version 4: that of a form, over its policy; and that of the request which the form becomes.

use aws_lc_rs::{digest, hmac};
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::S3ErrorCode;
use time::OffsetDateTime;
use time::macros::format_description;
use zeroize::Zeroizing;

use super::super::refusal::Refusal;
use super::fields::Form;
use crate::s3::REGION;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// It is used at once.
const EXPIRES_S: u32 = 60;
/// In a query, everything but these is escaped (RFC 3986).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Fields that are the signature of a form, and no headers of its upload.
pub(super) const FIELDS: [&str; 4] = ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"];

/// What a form says of its signature.
pub(super) struct Signed<'a> {
    pub(super) access_key: &'a str,
    pub(super) policy: &'a str,
    /// When, as `yyyyMMdd'T'HHmmss'Z'`.
    pub(super) date: &'a str,
    day: &'a str,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    pub(super) fn of(form: &'a Form) -> Result<Self, Refusal> {
        if form.value("x-amz-security-token").is_some() {
            let message = "The provided token is malformed or otherwise invalid.";
            return Err(Refusal::new(S3ErrorCode::InvalidToken, message));
        }
        if form.value("awsaccesskeyid").is_some() || form.value("signature").is_some() {
            let message =
                "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
            return Err(Refusal::new(S3ErrorCode::InvalidRequest, message));
        }
        let policy = form
            .value("policy")
            .ok_or_else(|| Refusal::new(S3ErrorCode::AccessDenied, "Access Denied: a form needs a signed policy."))?;
        let field = |name: &'static str| {
            let message =
                "Bucket POST must contain this field. If it is specified, please check the order of the fields.";
            form.value(name).ok_or_else(|| Refusal::invalid_argument(message).with("ArgumentName", name))
        };
        let credential = field("x-amz-credential")?;
        let (algorithm, date, signature) = (field("x-amz-algorithm")?, field("x-amz-date")?, field("x-amz-signature")?);
        let malformed = || Refusal::invalid_argument("The credential or date of the form is malformed.");
        let [access_key, day, region, "s3", "aws4_request"] = credential.split('/').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        if algorithm != ALGORITHM || region != REGION || date.len() != 16 || date.get(..8) != Some(day) {
            return Err(malformed());
        }
        Ok(Self { access_key, policy, date, day, signature })
    }

    /// Refuses another signature than that of the access key whose secret this is, in constant time.
    pub(super) fn check(&self, secret: &str) -> Result<(), Refusal> {
        let key = signing_key(secret, self.day);
        let verified =
            unhex(self.signature).is_some_and(|tag| hmac::verify(&key, self.policy.as_bytes(), &tag).is_ok());
        if verified {
            return Ok(());
        }
        Err(Refusal::new(
            S3ErrorCode::SignatureDoesNotMatch,
            "The request signature we calculated does not match the signature you provided. Check your key and signing \
             method.",
        ))
    }
}

/// The target of a PUT of this path, which is escaped as signatures have it, presigned: over the host and every `x-amz-*`
/// header. In a query, because a request with its signature in a header must say its length.
pub(super) fn presigned(
    path: &str,
    headers: &HeaderMap,
    access_key: &str,
    secret: &str,
    now_ms: u64,
) -> Result<String, Refusal> {
    let unusable = || Refusal::invalid_argument("A field cannot be a header.");
    let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(now_ms) * 1_000_000).map_err(|_| unusable())?;
    let moment =
        now.format(format_description!("[year][month][day]T[hour][minute][second]Z")).map_err(|_| unusable())?;
    let day = moment.get(..8).unwrap_or_default();
    let mut signed: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .filter(|(name, _)| *name == "host" || name.starts_with("x-amz-"))
        .collect();
    signed.sort_unstable();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let scope = format!("{day}/{REGION}/s3/aws4_request");
    let escaped = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    let query = format!(
        "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={moment}&X-Amz-Expires={EXPIRES_S}&X-Amz-SignedHeaders={}",
        escaped(&format!("{access_key}/{scope}")),
        escaped(&names)
    );
    let mut canonical = format!("PUT\n{path}\n{query}\n");
    for (name, value) in signed {
        let value = std::str::from_utf8(value).map_err(|_| unusable())?;
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        canonical.push_str(&format!("{name}:{}\n", words.join(" ")));
    }
    canonical.push_str(&format!("\n{names}\nUNSIGNED-PAYLOAD"));
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let text = format!("{ALGORITHM}\n{moment}\n{scope}\n{canonical}");
    let signature = hex(hmac::sign(&signing_key(secret, day), text.as_bytes()).as_ref());
    Ok(format!("{path}?{query}&X-Amz-Signature={signature}"))
}

fn signing_key(secret: &str, day: &str) -> hmac::Key {
    let first = Zeroizing::new(format!("AWS4{secret}"));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
    for step in [day, REGION, "s3", "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, step.as_bytes()).as_ref());
    }
    key
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 bytes of lower-case hexadecimal.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    if is_hex { (0..64).step_by(2).map(pair).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_32_bytes_of_hexadecimal() {
        assert_eq!(unhex(&"0f".repeat(32)), Some(vec![0x0f; 32]));
        for text in ["", "0f", &"+f".repeat(32), &"0g".repeat(32), &"0f".repeat(33)] {
            assert_eq!(unhex(text), None, "{text}");
        }
    }
}
