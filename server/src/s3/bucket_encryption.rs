//! The default encryption of a bucket, read and answered as XML of our own: the protocol library does not know
//! `BlockedEncryptionTypes`, and would drop it in silence.

use serde::{Deserialize, Serialize};

use crate::catalog::encryption::{DefaultAlgorithm, DefaultEncryption};
use crate::catalog::record::BucketConfig;
use crate::error::OpError;

/// What S3 calls the only type that can be blocked, and what it calls none.
const SSE_C: &str = "SSE-C";
const NONE: &str = "NONE";

#[derive(Serialize, Deserialize)]
#[serde(rename = "ServerSideEncryptionConfiguration")]
struct Configuration {
    #[serde(rename = "@xmlns", default, skip_deserializing)]
    namespace: &'static str,
    #[serde(rename = "Rule", default)]
    rules: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    apply_server_side_encryption_by_default: Option<ByDefault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_key_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_encryption_types: Option<Blocked>,
}

#[derive(Serialize, Deserialize)]
struct ByDefault {
    #[serde(rename = "SSEAlgorithm")]
    algorithm: String,
    #[serde(rename = "KMSMasterKeyID", skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Blocked {
    #[serde(rename = "EncryptionType", default)]
    types: Vec<String>,
}

/// What a client sets: the default encryption, and whether SSE-C is blocked, where it says so.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) default_encryption: DefaultEncryption,
    pub(super) blocks_sse_c: Option<bool>,
}

/// Reads the document of a PutBucketEncryption.
///
/// # Errors
/// [`OpError::MalformedXml`]; [`OpError::InvalidArgument`] for a key id beside AES256.
pub(super) fn parse(document: &[u8]) -> Result<Wanted, OpError> {
    let text = std::str::from_utf8(document).map_err(|_| OpError::MalformedXml("it is not UTF-8"))?;
    let configuration: Configuration =
        quick_xml::de::from_str(text).map_err(|_| OpError::MalformedXml("it is no default encryption"))?;
    let Ok([rule]) = <[Rule; 1]>::try_from(configuration.rules) else {
        return Err(OpError::MalformedXml("exactly one rule must be given"));
    };
    let blocks_sse_c = rule.blocked_encryption_types.map(blocks_sse_c).transpose()?;
    let default = match rule.apply_server_side_encryption_by_default {
        Some(default) => default,
        None if blocks_sse_c.is_some() => ByDefault { algorithm: "AES256".to_owned(), key_id: None },
        None => return Err(OpError::MalformedXml("the rule names no default encryption")),
    };
    let key_id = default.key_id.filter(|id| !id.is_empty());
    let algorithm = match default.algorithm.as_str() {
        "AES256" if key_id.is_some() => {
            return Err(OpError::InvalidArgument { field: "KMSMasterKeyID", why: "goes only with aws:kms".into() });
        }
        "AES256" => DefaultAlgorithm::SseS3,
        "aws:kms" => DefaultAlgorithm::SseKms,
        "aws:kms:dsse" => DefaultAlgorithm::DsseKms,
        _ => return Err(OpError::MalformedXml("the encryption algorithm is unknown")),
    };
    let bucket_key = rule.bucket_key_enabled.unwrap_or(false);
    Ok(Wanted { default_encryption: DefaultEncryption { algorithm, key_id, bucket_key }, blocks_sse_c })
}

fn blocks_sse_c(blocked: Blocked) -> Result<bool, OpError> {
    match blocked.types.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [SSE_C] => Ok(true),
        [NONE] => Ok(false),
        _ => Err(OpError::MalformedXml("BlockedEncryptionTypes is SSE-C or NONE")),
    }
}

/// The document that answers a GetBucketEncryption.
///
/// # Errors
/// [`OpError::NoDefaultEncryption`]: an administrator has set the bucket to plaintext, for which S3 has no word.
pub(super) fn document(config: &BucketConfig) -> Result<String, OpError> {
    let default = &config.default_encryption;
    let algorithm = match default.algorithm {
        DefaultAlgorithm::Plaintext => return Err(OpError::NoDefaultEncryption),
        DefaultAlgorithm::SseS3 => "AES256",
        DefaultAlgorithm::SseKms => "aws:kms",
        DefaultAlgorithm::DsseKms => "aws:kms:dsse",
    };
    let rule = Rule {
        apply_server_side_encryption_by_default: Some(ByDefault {
            algorithm: algorithm.to_owned(),
            key_id: default.key_id.clone(),
        }),
        bucket_key_enabled: Some(default.bucket_key),
        blocked_encryption_types: Some(Blocked {
            types: vec![if config.blocks_sse_c { SSE_C } else { NONE }.to_owned()],
        }),
    };
    let configuration = Configuration { namespace: "http://s3.amazonaws.com/doc/2006-03-01/", rules: vec![rule] };
    let text = quick_xml::se::to_string(&configuration).map_err(|error| OpError::Internal(error.to_string()))?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(inner: &str) -> Result<Wanted, OpError> {
        parse(
            format!("<ServerSideEncryptionConfiguration><Rule>{inner}</Rule></ServerSideEncryptionConfiguration>")
                .as_bytes(),
        )
    }

    fn default(inner: &str) -> String {
        format!("<ApplyServerSideEncryptionByDefault>{inner}</ApplyServerSideEncryptionByDefault>")
    }

    const KMS: &str = "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>alias/a&amp;b</KMSMasterKeyID>";

    #[test]
    fn every_element_is_read_in_any_order() {
        let block = "<BlockedEncryptionTypes><EncryptionType>NONE</EncryptionType></BlockedEncryptionTypes>";
        let key = "<BucketKeyEnabled>true</BucketKeyEnabled>";
        let wanted = rule(&format!("{key}{}{block}", default(KMS))).unwrap();
        let expected = DefaultEncryption {
            algorithm: DefaultAlgorithm::SseKms,
            key_id: Some("alias/a&b".to_owned()),
            bucket_key: true,
        };
        assert_eq!(wanted, Wanted { default_encryption: expected, blocks_sse_c: Some(false) });
        let sse_s3 = rule(&default("<SSEAlgorithm>AES256</SSEAlgorithm>")).unwrap();
        assert_eq!(sse_s3, Wanted { default_encryption: DefaultEncryption::default(), blocks_sse_c: None });
        assert_eq!(rule(&block.replace("NONE", "SSE-C")).unwrap().blocks_sse_c, Some(true));
    }

    #[test]
    fn what_does_not_parse_or_says_nothing_is_refused() {
        for inner in [
            "",
            "<BucketKeyEnabled>true</BucketKeyEnabled>",
            &default("<SSEAlgorithm>ROT13</SSEAlgorithm>"),
            &default("<KMSMasterKeyID>a</KMSMasterKeyID>"),
            &default("<SSEAlgorithm>AES256</SSEAlgorithm><KMSMasterKeyID>a</KMSMasterKeyID>"),
            &format!("{}<BucketKeyEnabled>maybe</BucketKeyEnabled>", default(KMS)),
            "<BlockedEncryptionTypes/>",
            "<BlockedEncryptionTypes><EncryptionType>AES256</EncryptionType></BlockedEncryptionTypes>",
            "<BlockedEncryptionTypes><EncryptionType>NONE</EncryptionType><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes>",
        ] {
            assert!(rule(inner).is_err(), "{inner}");
        }
        assert!(parse(b"").is_err());
        assert!(parse(b"<ServerSideEncryptionConfiguration/>").is_err());
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn what_is_answered_can_be_put_again() {
        let default_encryption = rule(&default(KMS)).unwrap().default_encryption;
        let config = BucketConfig { default_encryption: default_encryption.clone(), blocks_sse_c: true, policy: None };
        let text = document(&config).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap(), Wanted { default_encryption, blocks_sse_c: Some(true) });
    }
}
