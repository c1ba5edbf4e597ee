//! The policy of a form: until when, and what each of its fields must be.
//!
//! What is not understood is refused, and a field that no condition covers too: the signature is over the policy alone.

use s3s::S3ErrorCode;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::refusal::Refusal;
use super::fields::Form;

/// Fields that need no condition.
const UNCOVERED: [&str; 2] = ["policy", "x-amz-signature"];
const IGNORED_PREFIX: &str = "x-ignore-";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    expiration: String,
    conditions: Vec<Value>,
}

pub(super) struct PostPolicy {
    expiration: OffsetDateTime,
    conditions: Vec<Condition>,
}

#[derive(PartialEq, Eq, Debug)]
enum Condition {
    Equals(String, String),
    StartsWith(String, String),
    FileLen(u64, u64),
}

/// The shortest and the longest file in bytes.
pub(super) type FileLen = (u64, u64);

impl PostPolicy {
    /// Reads a policy as it was signed, in Base64.
    pub(super) fn parse(base64: &str) -> Result<Self, Refusal> {
        let invalid = || Refusal::new(S3ErrorCode::InvalidPolicyDocument, "Invalid Policy: Invalid JSON.");
        let json = base64_simd::STANDARD.decode_to_vec(base64).map_err(|_| invalid())?;
        let document: Document = serde_json::from_slice(&json).map_err(|_| invalid())?;
        let expiration = OffsetDateTime::parse(&document.expiration, &Rfc3339).map_err(|_| invalid())?;
        let conditions: Option<Vec<Condition>> = document.conditions.iter().map(condition).collect();
        Ok(Self { expiration, conditions: conditions.ok_or_else(invalid)? })
    }

    /// Refuses a form that is not as the policy has it, or has a field that the policy does not name.
    pub(super) fn check(&self, form: &Form, bucket: &str, now_ms: u64) -> Result<FileLen, Refusal> {
        self.check_fields(&form.fields, bucket, now_ms)
    }

    fn check_fields(&self, fields: &[(String, String)], bucket: &str, now_ms: u64) -> Result<FileLen, Refusal> {
        if i128::from(now_ms) * 1_000_000 >= self.expiration.unix_timestamp_nanos() {
            return Err(denied("Invalid according to Policy: Policy expired."));
        }
        // The target names the bucket; a field of that name can only repeat it.
        let own = |name: &str| if name == "bucket" { Some(bucket) } else { None };
        let given = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        if given("bucket").is_some_and(|given| given != bucket) {
            return Err(failed("bucket"));
        }
        let value = |name: &str| own(name).or_else(|| given(name)).unwrap_or_default();
        let mut file_len = (0, u64::MAX);
        for condition in &self.conditions {
            match condition {
                Condition::Equals(name, wanted) if value(name) != wanted => return Err(failed(name)),
                Condition::StartsWith(name, prefix) if !value(name).starts_with(prefix) => return Err(failed(name)),
                Condition::FileLen(min, max) => file_len = (file_len.0.max(*min), file_len.1.min(*max)),
                Condition::Equals(..) | Condition::StartsWith(..) => {}
            }
        }
        let names = fields.iter().map(|(name, _)| name.as_str()).chain(["bucket"]);
        let mut names = names.filter(|name| !UNCOVERED.contains(name) && !name.starts_with(IGNORED_PREFIX));
        match names.find(|name| !self.covers(name)) {
            Some(name) => Err(denied("Invalid according to Policy: Extra input fields.").with("Field", name)),
            None => Ok(file_len),
        }
    }

    fn covers(&self, name: &str) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Equals(covered, _) | Condition::StartsWith(covered, _) => covered == name,
            Condition::FileLen(..) => false,
        })
    }
}

fn condition(value: &Value) -> Option<Condition> {
    match value {
        Value::Object(pairs) if pairs.len() == 1 => {
            let (name, value) = pairs.iter().next()?;
            Some(Condition::Equals(name.to_ascii_lowercase(), value.as_str()?.to_owned()))
        }
        Value::Array(parts) => {
            let [operator, first, second] = parts.as_slice() else { return None };
            let field = || Some(first.as_str()?.strip_prefix('$')?.to_ascii_lowercase());
            match operator.as_str()?.to_ascii_lowercase().as_str() {
                "eq" => Some(Condition::Equals(field()?, second.as_str()?.to_owned())),
                "starts-with" => Some(Condition::StartsWith(field()?, second.as_str()?.to_owned())),
                "content-length-range" => Some(Condition::FileLen(number(first)?, number(second)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn denied(message: &'static str) -> Refusal {
    Refusal::new(S3ErrorCode::AccessDenied, message)
}

fn failed(name: &str) -> Refusal {
    denied("Invalid according to Policy: Policy Condition failed.").with("Field", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn policy(conditions: &str) -> Result<PostPolicy, Refusal> {
        let json = format!(r#"{{"expiration": "2030-01-01T00:00:00.000Z", "conditions": [{conditions}]}}"#);
        PostPolicy::parse(&base64_simd::STANDARD.encode_to_string(json))
    }

    fn check(conditions: &str, fields: &[(&str, &str)]) -> Result<FileLen, String> {
        let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let conditions = format!(r#"{{"bucket": "b"}}, {conditions}"#);
        let checked = policy(&conditions).unwrap().check_fields(&fields, "b", NOW_MS);
        checked.map_err(|refusal| refusal.code().to_owned())
    }

    #[test]
    fn every_field_is_covered_or_refused_those_of_encryption_too() {
        let sse = ("x-amz-server-side-encryption", "AES256");
        let denied = Err("AccessDenied".to_owned());
        assert!(check(r#"{"key": "k"}"#, &[("key", "k")]).is_ok());
        assert_eq!(check(r#"{"key": "k"}"#, &[("key", "k"), sse]), denied);
        assert!(check(r#"{"key": "k"}, {"X-Amz-Server-Side-Encryption": "AES256"}"#, &[("key", "k"), sse]).is_ok());
        assert_eq!(check(r#"{"key": "k"}, {"x-amz-server-side-encryption": "aws:kms"}"#, &[("key", "k"), sse]), denied);
        assert_eq!(check(r#"{"key": "k"}, {"x-amz-server-side-encryption": "AES256"}"#, &[("key", "k")]), denied);
        assert!(check(r#"{"key": "k"}"#, &[("key", "k"), ("x-ignore-me", "x"), ("policy", "p")]).is_ok());
        assert_eq!(check(r#"{"key": "k"}"#, &[("key", "k"), ("submit", "x")]), denied);
        assert_eq!(check(r#"{"key": "k"}"#, &[("key", "k"), ("bucket", "c")]), denied);
    }

    #[test]
    fn prefixes_and_lengths_are_held() {
        let conditions =
            r#"["starts-with", "$Key", "user/"], ["content-length-range", 1, "9"], ["eq", "$acl", "private"]"#;
        assert_eq!(check(conditions, &[("key", "user/a"), ("acl", "private")]), Ok((1, 9)));
        assert!(check(conditions, &[("key", "other"), ("acl", "private")]).is_err());
        assert!(check(conditions, &[("key", "user/a"), ("acl", "public")]).is_err());
    }

    #[test]
    fn a_policy_is_over_at_its_moment_and_names_its_bucket() {
        let unnamed = policy(r#"{"key": "k"}"#).unwrap();
        let fields = [("key".to_owned(), "k".to_owned())];
        assert!(unnamed.check_fields(&fields, "b", NOW_MS).is_err(), "no condition on the bucket");
        let ends_ms = u64::try_from(unnamed.expiration.unix_timestamp()).unwrap() * 1_000;
        let named = policy(r#"{"key": "k"}, {"bucket": "b"}"#).unwrap();
        assert!(named.check_fields(&fields, "b", ends_ms - 1).is_ok());
        assert!(named.check_fields(&fields, "b", ends_ms).is_err());
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for conditions in [
            r#"["like", "$key", "x"]"#,
            r#"["eq", "key", "x"]"#,
            r#"["eq", "$key"]"#,
            r#"{"a": "b", "c": "d"}"#,
            r#"{"a": 1}"#,
            r#"["content-length-range", -1, 5]"#,
            "7",
        ] {
            assert!(policy(conditions).is_err(), "{conditions}");
        }
        assert!(PostPolicy::parse("!").is_err());
        let unknown =
            base64_simd::STANDARD.encode_to_string(r#"{"expiration":"2030-01-01T00:00:00Z","conditions":[],"x":1}"#);
        assert!(PostPolicy::parse(&unknown).is_err());
    }
}
