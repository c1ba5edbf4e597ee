//! Which encryption a write gets: what it asks for, else the bucket's default, else SSE-S3.
//!
//! Explicit headers win, and the default's key id goes only with the default's own algorithm. Nothing is written in
//! plaintext but what says nothing of encryption, in a bucket that an administrator has set to it.

use crate::catalog::encryption::DefaultAlgorithm;
use crate::catalog::record::{BucketConfig, Place};
use crate::error::OpError;
use crate::key::{CustomerKey, EncryptionContext};
use crate::ops::OpenBucket;

/// What a write says of its encryption: what it leaves open, the bucket decides.
#[derive(Default)]
pub struct Asked {
    /// By name.
    pub mode: Option<AskedMode>,
    /// Whether a bucket key is to be used.
    pub bucket_key: Option<bool>,
}

/// An encryption that a write names.
pub enum AskedMode {
    /// `AES256`.
    SseS3,
    /// `aws:kms`.
    SseKms(AskedKey),
    /// `aws:kms:dsse`.
    DsseKms(AskedKey),
    /// A customer's key.
    SseC(CustomerKey),
}

/// A master key that a write names, or not, and what it is to be used with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AskedKey {
    /// As it was sent; without, the bucket's default, else the default alias.
    pub key_id: Option<String>,
    /// The client's encryption context.
    pub context: EncryptionContext,
}

impl Asked {
    /// Whether it says anything.
    pub fn is_nothing(&self) -> bool {
        self.mode.is_none() && self.bucket_key.is_none()
    }
}

/// How a write is encrypted. Which master key its name stands for, the keyring says.
pub enum Granted {
    /// Not at all.
    Plaintext,
    /// SSE-S3, perhaps with a bucket key.
    SseS3 {
        /// Whether a bucket key is used.
        bucket_key: bool,
    },
    /// SSE-KMS, perhaps with a bucket key.
    SseKms {
        /// Under which.
        key: AskedKey,
        /// Whether a bucket key is used.
        bucket_key: bool,
    },
    /// DSSE-KMS. A bucket key that was asked for is not used: each layer has a key of the HSM's own.
    DsseKms {
        /// Under which.
        key: AskedKey,
    },
    /// SSE-C.
    SseC(CustomerKey),
}

/// Which encryption a write to a bucket gets.
///
/// # Errors
/// [`OpError::AccessDenied`]: the bucket blocks customer keys.
pub fn encryption(config: &BucketConfig, asked: Asked) -> Result<Granted, OpError> {
    let default = &config.default_encryption;
    let own = |algorithm| default.key_id.clone().filter(|_| default.algorithm == algorithm);
    let named = |key: AskedKey, algorithm| AskedKey { key_id: key.key_id.or_else(|| own(algorithm)), ..key };
    // The rule's flag is of SSE-KMS, as in S3, and here of SSE-S3 where that is the default.
    let flag_for_sse_s3 = default.bucket_key && default.algorithm == DefaultAlgorithm::SseS3;
    let asked_bucket_key = asked.bucket_key;
    let sse_s3 = || Granted::SseS3 { bucket_key: asked_bucket_key.unwrap_or(flag_for_sse_s3) };
    let sse_kms = |key| Granted::SseKms {
        key: named(key, DefaultAlgorithm::SseKms),
        bucket_key: asked_bucket_key.unwrap_or(default.bucket_key),
    };
    let dsse_kms = |key| Granted::DsseKms { key: named(key, DefaultAlgorithm::DsseKms) };
    Ok(match asked.mode {
        Some(AskedMode::SseS3) => sse_s3(),
        Some(AskedMode::SseKms(key)) => sse_kms(key),
        Some(AskedMode::DsseKms(key)) => dsse_kms(key),
        Some(AskedMode::SseC(_)) if config.blocks_sse_c => {
            return Err(OpError::AccessDenied("the bucket blocks encryption with customer keys (SSE-C)"));
        }
        Some(AskedMode::SseC(key)) => Granted::SseC(key),
        None => match default.algorithm {
            DefaultAlgorithm::Plaintext if asked_bucket_key.is_none() => Granted::Plaintext,
            DefaultAlgorithm::Plaintext | DefaultAlgorithm::SseS3 => sse_s3(),
            DefaultAlgorithm::SseKms => sse_kms(AskedKey::default()),
            DefaultAlgorithm::DsseKms => dsse_kms(AskedKey::default()),
        },
    })
}

/// The bucket's configuration, opened: it is never read as absent.
///
/// # Errors
/// [`OpError::Damaged`].
pub fn config(bucket: &OpenBucket) -> Result<BucketConfig, OpError> {
    bucket.records.open(Place::Config, &bucket.row.config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::encryption::DefaultEncryption;

    fn config(algorithm: DefaultAlgorithm, key_id: Option<&str>, bucket_key: bool) -> BucketConfig {
        let default_encryption = DefaultEncryption { algorithm, key_id: key_id.map(str::to_owned), bucket_key };
        BucketConfig { default_encryption, ..BucketConfig::default() }
    }

    /// Mode, key id, bucket key.
    fn granted(config: &BucketConfig, mode: Option<AskedMode>, bucket_key: Option<bool>) -> String {
        let id = |key: AskedKey| key.key_id.unwrap_or_else(|| "-".to_owned());
        match encryption(config, Asked { mode, bucket_key }) {
            Ok(Granted::Plaintext) => "plaintext".to_owned(),
            Ok(Granted::SseS3 { bucket_key }) => format!("s3 {bucket_key}"),
            Ok(Granted::SseKms { key, bucket_key }) => format!("kms {} {bucket_key}", id(key)),
            Ok(Granted::DsseKms { key }) => format!("dsse {}", id(key)),
            Ok(Granted::SseC(_)) => "customer".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn key(id: Option<&str>) -> AskedKey {
        AskedKey { key_id: id.map(str::to_owned), ..AskedKey::default() }
    }

    #[test]
    fn the_defaults_key_id_goes_only_with_its_own_algorithm() {
        let kms = config(DefaultAlgorithm::SseKms, Some("a"), false);
        let dsse = config(DefaultAlgorithm::DsseKms, Some("a"), false);
        assert_eq!(granted(&kms, None, None), "kms a false");
        assert_eq!(granted(&kms, Some(AskedMode::SseKms(key(None))), None), "kms a false");
        assert_eq!(granted(&kms, Some(AskedMode::SseKms(key(Some("b")))), None), "kms b false");
        assert_eq!(granted(&kms, Some(AskedMode::DsseKms(key(None))), None), "dsse -");
        assert_eq!(granted(&dsse, None, None), "dsse a");
        assert_eq!(granted(&dsse, Some(AskedMode::SseKms(key(None))), None), "kms - false");
        assert_eq!(granted(&kms, Some(AskedMode::SseS3), None), "s3 false");
    }

    #[test]
    fn the_flag_of_the_rule_holds_where_the_request_does_not_say() {
        let kms = config(DefaultAlgorithm::SseKms, None, true);
        let s3 = config(DefaultAlgorithm::SseS3, None, true);
        assert_eq!(granted(&kms, None, None), "kms - true");
        assert_eq!(granted(&kms, None, Some(false)), "kms - false");
        assert_eq!(granted(&kms, Some(AskedMode::SseS3), None), "s3 false");
        assert_eq!(granted(&s3, None, None), "s3 true");
        assert_eq!(granted(&s3, Some(AskedMode::SseKms(key(None))), None), "kms - true");
        assert_eq!(granted(&s3, Some(AskedMode::DsseKms(key(None))), Some(true)), "dsse -");
    }

    #[test]
    fn plaintext_is_only_what_says_nothing_in_a_bucket_set_to_it() {
        let plain = config(DefaultAlgorithm::Plaintext, None, false);
        assert_eq!(granted(&plain, None, None), "plaintext");
        assert_eq!(granted(&plain, Some(AskedMode::SseS3), None), "s3 false");
        assert_eq!(granted(&plain, None, Some(true)), "s3 true");
        assert_eq!(granted(&plain, None, Some(false)), "s3 false");
        assert_eq!(granted(&BucketConfig::default(), None, None), "s3 false");
    }

    #[test]
    fn a_bucket_that_blocks_customer_keys_refuses_them() {
        let customer = || Some(AskedMode::SseC(CustomerKey::from_bytes(&mut [7; 32])));
        let blocking = BucketConfig { blocks_sse_c: true, ..BucketConfig::default() };
        assert!(granted(&blocking, customer(), None).starts_with("access denied"));
        assert_eq!(granted(&BucketConfig::default(), customer(), None), "customer");
    }
}
