//! The encryption headers: what a request asks for, which of them each operation takes, and how they are answered.
//!
//! What contradicts itself, is incomplete, or does not belong to the operation is refused, never ignored. A customer's key
//! goes from its header into locked memory, and stands nowhere else.

use base64_simd::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::Digest as _;
use s3s::{S3Request, dto};
use zeroize::Zeroizing;

use crate::catalog::encryption::Encryption;
use crate::error::OpError;
use crate::http::ConnectionFacts;
use crate::key::{CustomerKey, EncryptionContext};
use crate::policy::encryption::{Asked, AskedKey, AskedMode};
use crate::s3::headers;

const ALGORITHM: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CONTEXT: &str = "x-amz-server-side-encryption-context";
const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";

/// The three headers of a customer's key.
struct CustomerHeaders {
    prefix: &'static str,
    algorithm: &'static str,
    key: &'static str,
    md5: &'static str,
}

/// Of the object that is written or read.
const OWN: CustomerHeaders = CustomerHeaders {
    prefix: "x-amz-server-side-encryption-customer-",
    algorithm: "x-amz-server-side-encryption-customer-algorithm",
    key: "x-amz-server-side-encryption-customer-key",
    md5: "x-amz-server-side-encryption-customer-key-md5",
};

/// Of the object that is copied from.
const SOURCE: CustomerHeaders = CustomerHeaders {
    prefix: "x-amz-copy-source-server-side-encryption-customer-",
    algorithm: "x-amz-copy-source-server-side-encryption-customer-algorithm",
    key: "x-amz-copy-source-server-side-encryption-customer-key",
    md5: "x-amz-copy-source-server-side-encryption-customer-key-md5",
};

/// The encryption that a write asks for.
///
/// # Errors
/// An algorithm that S3 does not know; headers that contradict each other; a customer's key that is none.
pub(super) fn asked(headers: &HeaderMap) -> Result<Asked, OpError> {
    let bucket_key = bucket_key(headers)?;
    let algorithm = headers.get(ALGORITHM).map(HeaderValue::as_bytes);
    if let Some(key) = customer_key(headers)? {
        let others = [ALGORITHM, KEY_ID, CONTEXT, BUCKET_KEY];
        return match others.into_iter().find(|name| headers.contains_key(*name)) {
            None => Ok(Asked { mode: Some(AskedMode::SseC(key)), bucket_key: None }),
            Some(other) => Err(invalid(
                other,
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            )),
        };
    }
    let kms = [KEY_ID, CONTEXT].into_iter().find(|name| headers.contains_key(*name));
    let mode = match (algorithm, kms) {
        (Some(b"aws:kms"), _) => Some(AskedMode::SseKms(asked_key(headers)?)),
        (Some(b"aws:kms:dsse"), _) => Some(AskedMode::DsseKms(asked_key(headers)?)),
        (Some(b"AES256"), None) => Some(AskedMode::SseS3),
        (None, None) => None,
        (Some(b"AES256") | None, Some(other)) => {
            return Err(invalid(
                other,
                "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : \
                 aws:kms",
            ));
        }
        (Some(_), _) => return Err(invalid(ALGORITHM, "The encryption method specified is not supported")),
    };
    Ok(Asked { mode, bucket_key })
}

fn bucket_key(headers: &HeaderMap) -> Result<Option<bool>, OpError> {
    match headers.get(BUCKET_KEY).map(HeaderValue::as_bytes) {
        None => Ok(None),
        Some(b"true") => Ok(Some(true)),
        Some(b"false") => Ok(Some(false)),
        Some(_) => Err(invalid(BUCKET_KEY, "is true or false")),
    }
}

fn asked_key(headers: &HeaderMap) -> Result<AskedKey, OpError> {
    let text = |name: &'static str| {
        let value = headers.get(name).map(|value| value.to_str().map_err(|_| invalid(name, "is no text")));
        value.transpose()
    };
    let key_id = text(KEY_ID)?.filter(|id| !id.is_empty()).map(str::to_owned);
    let context = text(CONTEXT)?.map(EncryptionContext::from_base64).transpose();
    let context = context.map_err(|error| OpError::InvalidArgument { field: CONTEXT, why: error.to_string() })?;
    Ok(AskedKey { key_id, context: context.unwrap_or_default() })
}

/// The customer's key of the object that is written or read, if the request brings one.
///
/// # Errors
/// [`OpError::InvalidArgument`], [`OpError::InvalidEncryptionAlgorithm`].
pub(super) fn customer_key(headers: &HeaderMap) -> Result<Option<CustomerKey>, OpError> {
    OWN.read(headers)
}

/// The customer's key of the object that is copied from, if the request brings one.
///
/// # Errors
/// As [`customer_key`].
pub(super) fn source_customer_key(headers: &HeaderMap) -> Result<Option<CustomerKey>, OpError> {
    SOURCE.read(headers)
}

impl CustomerHeaders {
    fn are_in(&self, headers: &HeaderMap) -> bool {
        headers.keys().any(|name| name.as_str().starts_with(self.prefix))
    }

    fn read(&self, headers: &HeaderMap) -> Result<Option<CustomerKey>, OpError> {
        if !self.are_in(headers) {
            return Ok(None);
        }
        let must = |name: &'static str, what: &str| {
            headers.get(name).map(HeaderValue::as_bytes).ok_or_else(|| {
                let why = "Requests specifying Server Side Encryption with Customer provided keys must provide";
                OpError::InvalidArgument { field: name, why: format!("{why} {what}") }
            })
        };
        if must(self.algorithm, "a valid encryption algorithm")? != b"AES256" {
            return Err(OpError::InvalidEncryptionAlgorithm);
        }
        let key = must(self.key, "an appropriate secret key")?;
        let claimed = must(self.md5, "the client calculated MD5 of the secret key")?;
        let unfit = || invalid(self.key, "The secret key was invalid for the specified algorithm");
        let mut key = Zeroizing::new(STANDARD.decode_to_vec(key).map_err(|_| unfit())?);
        let key: &mut [u8; 32] = key.as_mut_slice().try_into().map_err(|_| unfit())?;
        if STANDARD.encode_to_string(md5::Md5::digest(key.as_slice())).as_bytes() != claimed {
            let why = "The calculated MD5 hash of the key did not match the hash that was provided";
            return Err(invalid(self.md5, why));
        }
        Ok(Some(CustomerKey::from_bytes(key)))
    }
}

/// What a request may carry beside the name of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Any encryption: it writes an object.
    Encryption,
    /// Any encryption, and a customer's key of its source.
    EncryptionAndSource,
    /// A customer's key: it reads, or adds to an upload.
    Key,
    /// A customer's key of its own, and one of its source.
    KeyAndSource,
}

/// Refuses the encryption headers that are not of this operation, and a customer's key that others could read on its way.
///
/// # Errors
/// [`OpError::InvalidArgument`], [`OpError::InvalidRequest`].
pub(super) fn check<T>(request: &S3Request<T>, takes: Takes) -> Result<(), OpError> {
    let headers = headers::sent(request);
    refuse_others(headers, takes)?;
    // What is not known of a connection is not private.
    let is_private = request.extensions.get::<ConnectionFacts>().is_some_and(ConnectionFacts::is_private);
    if is_private || !(OWN.are_in(headers) || SOURCE.are_in(headers)) {
        return Ok(());
    }
    Err(OpError::InvalidRequest(
        "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection."
            .into(),
    ))
}

fn refuse_others(headers: &HeaderMap, takes: Takes) -> Result<(), OpError> {
    let is_own = |name: &HeaderName| name.as_str().starts_with(ALGORITHM);
    let is_customers = |name: &HeaderName| name.as_str().starts_with(OWN.prefix);
    let asks = headers.keys().any(|name| is_own(name) && !is_customers(name));
    if asks && matches!(takes, Takes::Key | Takes::KeyAndSource) {
        return Err(invalid(ALGORITHM, "header is not supported for this operation"));
    }
    if SOURCE.are_in(headers) && matches!(takes, Takes::Encryption | Takes::Key) {
        return Err(invalid(SOURCE.algorithm, "header is not supported for this operation"));
    }
    Ok(())
}

fn invalid(field: &'static str, why: &str) -> OpError {
    OpError::InvalidArgument { field, why: why.to_owned() }
}

/// What S3 answers of an object's encryption.
pub(super) struct Answered {
    pub(super) server_side_encryption: Option<dto::ServerSideEncryption>,
    pub(super) key_id: Option<String>,
    /// Only where it was just written.
    pub(super) context: Option<String>,
    /// S3 says that an object has a bucket key, and never that it has none.
    pub(super) bucket_key: Option<bool>,
    pub(super) customer_algorithm: Option<String>,
    /// The one that came with the request: none is stored.
    pub(super) customer_md5: Option<String>,
}

impl Answered {
    /// Of `encryption`, to a request with these headers.
    pub(super) fn new(encryption: &Encryption, headers: &HeaderMap) -> Self {
        let algorithm = match encryption {
            Encryption::Plaintext | Encryption::SseC { .. } => None,
            Encryption::SseS3 { .. } => Some(dto::ServerSideEncryption::AES256),
            Encryption::SseKms { .. } => Some(dto::ServerSideEncryption::AWS_KMS),
            Encryption::DsseKms { .. } => Some(dto::ServerSideEncryption::AWS_KMS_DSSE),
        };
        let key = encryption.kms_key();
        let context = key.map(|key| key.context.as_str()).filter(|context| !context.is_empty());
        let is_customers = matches!(encryption, Encryption::SseC { .. });
        let sent_md5 = headers.get(OWN.md5).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            server_side_encryption: algorithm.map(dto::ServerSideEncryption::from_static),
            key_id: key.map(|key| key.key_id.clone()),
            context: context.map(|json| STANDARD.encode_to_string(json)),
            bucket_key: encryption.has_bucket_key().then_some(true),
            customer_algorithm: is_customers.then(|| "AES256".to_owned()),
            customer_md5: sent_md5.filter(|_| is_customers),
        }
    }
}

/// Sets the fields that all answers about an encryption have.
macro_rules! fill_encryption {
    ($output:expr, $answered:expr) => {{
        $output.server_side_encryption = $answered.server_side_encryption;
        $output.ssekms_key_id = $answered.key_id;
        $output.bucket_key_enabled = $answered.bucket_key;
    }};
}
pub(super) use fill_encryption;

/// As [`fill_encryption`], and those that answer a customer's key.
macro_rules! fill_encryption_and_customer {
    ($output:expr, $answered:expr) => {{
        $output.sse_customer_algorithm = $answered.customer_algorithm;
        $output.sse_customer_key_md5 = $answered.customer_md5;
        $crate::s3::encryption::fill_encryption!($output, $answered);
    }};
}
pub(super) use fill_encryption_and_customer;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::TlsVersion;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    /// A customer's key of 32 bytes with the value 1, and the MD5 of it.
    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn customer<'a>(key: &'a str, md5: &'a str) -> [(&'static str, &'a str); 3] {
        [(OWN.algorithm, "AES256"), (OWN.key, key), (OWN.md5, md5)]
    }

    fn md5_of(key: &[u8]) -> String {
        STANDARD.encode_to_string(md5::Md5::digest(key))
    }

    #[test]
    fn a_customers_key_comes_whole_with_its_digest_or_not_at_all() {
        let md5 = md5_of(&[1; 32]);
        assert!(customer_key(&headers(&customer(KEY, &md5))).unwrap().is_some());
        assert!(customer_key(&headers(&[])).unwrap().is_none());
        let whole = customer(KEY, &md5);
        for left_out in 0..3 {
            let mut some = whole.to_vec();
            some.remove(left_out);
            assert!(customer_key(&headers(&some)).is_err(), "{left_out}");
        }
        for (key, md5) in [(KEY, md5_of(&[2; 32])), ("AQE=", md5_of(&[1; 2])), ("!", md5.clone()), ("", md5_of(&[]))] {
            assert!(customer_key(&headers(&customer(key, &md5))).is_err(), "{key}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused() {
        let md5 = md5_of(&[1; 32]);
        let customers = customer(KEY, &md5);
        for other in [(ALGORITHM, "AES256"), (ALGORITHM, "aws:kms"), (KEY_ID, "a"), (BUCKET_KEY, "true")] {
            assert!(asked(&headers(&[&customers[..], &[other]].concat())).is_err(), "{other:?}");
        }
        assert!(asked(&headers(&[(ALGORITHM, "AES256"), (KEY_ID, "a")])).is_err());
        assert!(asked(&headers(&[(KEY_ID, "a")])).is_err());
        assert!(asked(&headers(&[(CONTEXT, "e30=")])).is_err());
        assert!(asked(&headers(&[(ALGORITHM, "aws:fsx")])).is_err());
        assert!(asked(&headers(&[(ALGORITHM, "aws:kms"), (CONTEXT, "e30")])).is_err());
    }

    #[test]
    fn a_customers_key_comes_by_tls_or_from_this_machine() {
        let refused = |sent: HeaderMap, facts: Option<(&str, Option<TlsVersion>)>| {
            let mut extensions = http::Extensions::new();
            if let Some((peer, tls)) = facts {
                extensions.insert(ConnectionFacts { peer: peer.parse().unwrap(), tls });
            }
            let (method, uri) = (http::Method::GET, http::Uri::default());
            let request = S3Request {
                input: (),
                method,
                uri,
                headers: sent,
                extensions,
                credentials: None,
                region: None,
                service: None,
                trailing_headers: None,
            };
            check(&request, Takes::KeyAndSource).is_err()
        };
        for name in [OWN.key, SOURCE.key] {
            let sent = || headers(&[(name, KEY)]);
            assert!(refused(sent(), None));
            assert!(refused(sent(), Some(("192.0.2.1", None))));
            assert!(!refused(sent(), Some(("192.0.2.1", Some(TlsVersion::Tls13)))));
            assert!(!refused(sent(), Some(("127.0.0.1", None))));
        }
        assert!(!refused(headers(&[]), Some(("192.0.2.1", None))));
    }

    #[test]
    fn no_operation_takes_a_header_that_is_not_its_own() {
        let asks = headers(&[(ALGORITHM, "AES256")]);
        let source = headers(&[(SOURCE.algorithm, "AES256")]);
        let own = headers(&[(OWN.algorithm, "AES256")]);
        let refused = |headers, takes| refuse_others(headers, takes).is_err();
        for takes in [Takes::Encryption, Takes::EncryptionAndSource, Takes::Key, Takes::KeyAndSource] {
            assert_eq!(refused(&asks, takes), matches!(takes, Takes::Key | Takes::KeyAndSource));
            assert_eq!(refused(&source, takes), matches!(takes, Takes::Key | Takes::Encryption));
            assert!(!refused(&own, takes));
        }
    }
}
