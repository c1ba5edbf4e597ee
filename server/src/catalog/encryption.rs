//! How an object is encrypted, and what a bucket says of it, as the catalog seals it.
//!
//! Nothing here is a key: of a customer's key only a salted fingerprint is kept, and that sealed. What a client said of a
//! master key is kept as it was said, since S3 answers it so; what counts is the alias beside it.

use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use strongroom_hsm::Alias;

/// How an object is encrypted.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Encryption {
    /// Not at all: written to a bucket that an administrator set to it.
    #[n(0)]
    Plaintext,
    /// SSE-S3: the default master key wraps the data key.
    #[n(1)]
    SseS3 {
        /// Whether a bucket key stands between them.
        #[n(0)]
        bucket_key: bool,
    },
    /// SSE-KMS: a master key that was named wraps the data key.
    #[n(2)]
    SseKms {
        /// Which.
        #[n(0)]
        key: KmsKey,
        /// Whether a bucket key stands between them.
        #[n(1)]
        bucket_key: bool,
    },
    /// DSSE-KMS: two layers, each with a data key of its own, both wrapped by a master key that was named.
    #[n(3)]
    DsseKms {
        /// Which.
        #[n(0)]
        key: KmsKey,
    },
    /// SSE-C: the customer's key wraps the data key.
    #[n(4)]
    SseC {
        /// Tells a wrong key from damage.
        #[n(0)]
        fingerprint: Fingerprint,
    },
}

/// A master key, as a client named it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct KmsKey {
    /// Its current version wraps.
    #[cbor(n(0), encode_with = "encode_alias", decode_with = "decode_alias")]
    pub alias: Alias,
    /// The key id as it was sent, or the ARN of the default alias.
    #[n(1)]
    pub key_id: String,
    /// The client's encryption context, as canonical JSON; empty where there is none. Part of the wrap's context.
    #[n(2)]
    pub context: String,
}

/// Of a customer's key, salted: a small sealing of nothing, which opens under that key only.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct Fingerprint(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

impl Encryption {
    /// Whether a bucket key stands between master key and data key.
    pub fn has_bucket_key(&self) -> bool {
        match self {
            Self::SseS3 { bucket_key } | Self::SseKms { bucket_key, .. } => *bucket_key,
            Self::Plaintext | Self::DsseKms { .. } | Self::SseC { .. } => false,
        }
    }

    /// The master key that was named, where one was.
    pub fn kms_key(&self) -> Option<&KmsKey> {
        match self {
            Self::SseKms { key, .. } | Self::DsseKms { key } => Some(key),
            Self::Plaintext | Self::SseS3 { .. } | Self::SseC { .. } => None,
        }
    }

    /// The client's encryption context, which the data key is wrapped for too.
    pub fn context(&self) -> &[u8] {
        self.kms_key().map_or(&[], |key| key.context.as_bytes())
    }

    /// How many layers of encryption there are, each with a data key of its own.
    pub fn layer_count(&self) -> usize {
        match self {
            Self::Plaintext => 0,
            Self::SseS3 { .. } | Self::SseKms { .. } | Self::SseC { .. } => 1,
            Self::DsseKms { .. } => 2,
        }
    }

    /// Whether the ETag of an object is the MD5 of its plaintext, as S3 documents it.
    pub fn has_md5_etag(&self) -> bool {
        matches!(self, Self::Plaintext | Self::SseS3 { .. })
    }
}

/// What is done with a write that asks for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum DefaultAlgorithm {
    /// Nothing: only an administrator sets a bucket to it.
    #[n(0)]
    Plaintext,
    /// SSE-S3, which is S3's own default.
    #[default]
    #[n(1)]
    SseS3,
    /// SSE-KMS.
    #[n(2)]
    SseKms,
    /// DSSE-KMS.
    #[n(3)]
    DsseKms,
}

/// The default encryption of a bucket.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct DefaultEncryption {
    /// Of a write that names none.
    #[n(0)]
    pub algorithm: DefaultAlgorithm,
    /// The master key for the algorithm, as it was sent; without, the default alias.
    #[n(1)]
    pub key_id: Option<String>,
    /// Whether bucket keys are used where a write does not say.
    #[n(2)]
    pub bucket_key: bool,
}

fn encode_alias<C, W: Write>(alias: &Alias, to: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
    to.str(alias.as_str())?;
    Ok(())
}

fn decode_alias<C>(from: &mut Decoder<'_>, _: &mut C) -> Result<Alias, DecodeError> {
    Alias::new(from.str()?).map_err(|_| DecodeError::message("no alias"))
}
