//! The document of an UpdateObjectEncryption: to which master key an object's data keys are to be moved.

use serde::Deserialize;

use crate::arn::{self, ACCOUNT};
use crate::error::OpError;

#[derive(Deserialize)]
struct ObjectEncryption {
    #[serde(rename = "SSE-KMS")]
    sse_kms: Option<SseKms>,
}

#[derive(Deserialize)]
struct SseKms {
    #[serde(rename = "KMSKeyArn")]
    key_arn: Option<String>,
    #[serde(rename = "BucketKeyEnabled")]
    bucket_key: Option<String>,
}

/// What a client wants.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// The ARN of a master key, as it was sent.
    pub(super) key_id: String,
    pub(super) bucket_key: bool,
}

/// Reads it.
///
/// # Errors
/// [`OpError::MalformedXml`]; [`OpError::InvalidRequest`], as S3 has it, for every encryption but SSE-KMS and every name but
/// the ARN of a key; [`OpError::AccessDenied`] for a key of another account.
pub(super) fn parse(document: &[u8]) -> Result<Wanted, OpError> {
    let text = std::str::from_utf8(document).map_err(|_| OpError::MalformedXml("it is not UTF-8"))?;
    let wanted: ObjectEncryption =
        quick_xml::de::from_str(text).map_err(|_| OpError::MalformedXml("it is no object encryption"))?;
    let refused = |what: &str| OpError::InvalidRequest(what.to_owned());
    let wanted = wanted.sse_kms.ok_or_else(|| {
        refused("Requests that modify an object encryption configuration require a new encryption type: SSE-KMS.")
    })?;
    let key_id = wanted.key_arn.filter(|arn| !arn.is_empty()).ok_or_else(|| {
        refused("Requests that modify an object's encryption type to SSE-KMS require an AWS KMS key ARN.")
    })?;
    let account = arn::account_of_key(&key_id).ok_or_else(|| {
        refused("Requests that modify an object's encryption type to SSE-KMS require a valid AWS KMS key ARN.")
    })?;
    if account != ACCOUNT {
        return Err(OpError::AccessDenied("the AWS KMS key must be owned by the same account as the bucket"));
    }
    let bucket_key = match wanted.bucket_key.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(refused("The BucketKeyEnabled value isn't valid. Valid values are true or false.")),
    };
    Ok(Wanted { key_id, bucket_key })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/abababababababababababababababab";

    fn parsed(inner: &str) -> Result<Wanted, OpError> {
        parse(format!("<ObjectEncryption><SSE-KMS>{inner}</SSE-KMS></ObjectEncryption>").as_bytes())
    }

    #[test]
    fn a_key_arn_and_a_flag_are_read() {
        let key = format!("<KMSKeyArn>{ARN}</KMSKeyArn>");
        assert_eq!(parsed(&key).unwrap(), Wanted { key_id: ARN.to_owned(), bucket_key: false });
        let with_flag = format!("{key}<BucketKeyEnabled>true</BucketKeyEnabled>");
        assert!(parsed(&with_flag).unwrap().bucket_key);
        assert!(matches!(parsed(&with_flag.replace("true", "yes")), Err(OpError::InvalidRequest(_))));
    }

    #[test]
    fn everything_else_has_its_own_refusal() {
        for name in
            ["", "team/a", "alias/a", "arn:aws:kms:us-east-1:000000000000:alias/a", "arn:aws:kms:us-east-1:0:key/a"]
        {
            let outcome = parsed(&format!("<KMSKeyArn>{name}</KMSKeyArn>"));
            assert!(matches!(outcome, Err(OpError::InvalidRequest(_))), "{name}");
        }
        let foreign = format!("<KMSKeyArn>{}</KMSKeyArn>", ARN.replace("000000000000", "111122223333"));
        assert!(matches!(parsed(&foreign), Err(OpError::AccessDenied(_))));
        let sse_s3 = parse(b"<ObjectEncryption><SSE-S3/></ObjectEncryption>");
        assert!(matches!(sse_s3, Err(OpError::InvalidRequest(_))));
        assert!(matches!(parse(b"<ObjectEncryption>"), Err(OpError::MalformedXml(_))));
    }
}
