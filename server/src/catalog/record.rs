//! What the catalog seals: object, upload and part records, and the configuration of a bucket.
//!
//! Each is CBOR with numbered fields (RFC 8949), so that a later version adds a field without a migration, sealed
//! under the bucket's catalog key for its own place: the bytes of one object, part or bucket open nowhere else.
//! A stolen catalog shows names, sizes of tables and times, but no fingerprint of a plaintext.

use minicbor::{Decode, Encode};
use strongroom_engine::{Commitment, Context, DataKey, Kind, open_small, seal_small};

use crate::catalog::encryption::{DefaultEncryption, Encryption};
use crate::error::OpError;
use crate::id::{BucketId, StoreId, WriteId};
use crate::ops::digest::{Checksum, Etag};

/// The headers that S3 stores with an object and answers as they came.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct ContentHeaders {
    /// Content-Type.
    #[n(0)]
    pub content_type: Option<String>,
    /// Cache-Control.
    #[n(1)]
    pub cache_control: Option<String>,
    /// Content-Disposition.
    #[n(2)]
    pub content_disposition: Option<String>,
    /// Content-Encoding, without `aws-chunked`.
    #[n(3)]
    pub content_encoding: Option<String>,
    /// Content-Language.
    #[n(4)]
    pub content_language: Option<String>,
    /// Expires.
    #[n(5)]
    pub expires: Option<String>,
    /// x-amz-website-redirect-location.
    #[n(6)]
    pub website_redirect: Option<String>,
}

/// What the client says about an object: it is replaced or copied as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct Description {
    /// Stored headers.
    #[n(0)]
    pub headers: ContentHeaders,
    /// User metadata: names without `x-amz-meta-`, in lower case, in order.
    #[n(1)]
    pub metadata: Vec<(String, String)>,
    /// `None` is STANDARD.
    #[n(2)]
    pub storage_class: Option<String>,
}

/// All that S3 answers about a version but never searches by.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct ObjectRecord {
    /// Plaintext length in bytes.
    #[n(0)]
    pub plain_len: u64,
    /// As clients see it.
    #[n(1)]
    pub etag: Etag,
    /// Over the plaintext.
    #[n(2)]
    pub checksums: Vec<Checksum>,
    /// From the client.
    #[n(3)]
    pub description: Description,
    /// How it is encrypted.
    #[n(4)]
    pub encryption: Encryption,
    /// Of its one stream, or of its parts.
    #[n(5)]
    pub body: Body,
}

impl ObjectRecord {
    /// How many parts a multipart object was made of.
    pub fn part_count(&self) -> Option<u32> {
        match self.body {
            Body::Stream(_) => None,
            Body::Parts { count, .. } => Some(count),
        }
    }
}

/// What a version's plaintext is made of.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Body {
    /// One stream.
    #[n(0)]
    Stream(#[n(0)] StreamRecord),
    /// Parts in the order of their numbers.
    #[n(1)]
    Parts {
        /// How many.
        #[n(0)]
        count: u32,
        /// [`part_table_digest`] over all of them.
        #[cbor(n(1), with = "minicbor::bytes")]
        table: [u8; 32],
    },
}

/// What a record says of one stream beside its plaintext length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct StreamRecord {
    /// Of its header; of a plaintext, which has none, the SHA-256 of it all.
    #[n(0)]
    pub commitment: CommitmentBytes,
    /// The second layer of DSSE: a stream around this one.
    #[n(1)]
    pub outer: Option<OuterRecord>,
}

/// A stream whose plaintext is another sealed stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct OuterRecord {
    /// Length of the stream within.
    #[n(0)]
    pub plain_len: u64,
    /// Of its header.
    #[n(1)]
    pub commitment: CommitmentBytes,
}

/// The commitment of a stream, as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct CommitmentBytes(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

impl From<&Commitment> for CommitmentBytes {
    fn from(commitment: &Commitment) -> Self {
        Self(*commitment.as_bytes())
    }
}

/// One part, of an open upload or of a multipart object.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct PartRecord {
    /// Plaintext length in bytes.
    #[n(0)]
    pub plain_len: u64,
    /// As clients see it.
    #[n(1)]
    pub etag: Etag,
    /// Over the plaintext of the part.
    #[n(2)]
    pub checksums: Vec<Checksum>,
    /// Of its stream.
    #[n(3)]
    pub stream: StreamRecord,
}

/// An open upload.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct UploadRecord {
    /// Of the object to be.
    #[n(0)]
    pub description: Description,
    /// Of the object to be.
    #[n(1)]
    pub encryption: Encryption,
    /// The checksum that the client asked for, and whether it is over the whole object.
    #[n(2)]
    pub checksum: Option<UploadChecksum>,
    /// What policies judge its parts and its completion by: condition keys and their values when it was opened.
    #[n(3)]
    pub facts: Vec<(String, Vec<String>)>,
}

/// Which checksum an upload was opened with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct UploadChecksum {
    /// The algorithm that its parts carry.
    #[n(0)]
    pub algorithm: crate::ops::digest::Algorithm,
    /// How the object's is made of theirs.
    #[n(1)]
    pub kind: crate::ops::digest::ChecksumKind,
}

/// Everything that decides how a bucket behaves.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
pub struct BucketConfig {
    /// Set by PutBucketEncryption, or by an administrator.
    #[n(0)]
    pub default_encryption: DefaultEncryption,
    /// Whether writes with a customer's key are refused.
    #[n(1)]
    pub blocks_sse_c: bool,
    /// The bucket's policy, as it was put.
    #[n(2)]
    pub policy: Option<String>,
}

/// The digest that binds an object record to its parts: SHA-256 over each part's number (2 bytes), the length of its
/// encoded record (4 bytes, both big-endian) and that record.
pub fn part_table_digest<'a>(parts: impl IntoIterator<Item = (u16, &'a PartRecord)>) -> [u8; 32] {
    use sha2::Digest as _;
    let mut digest = sha2::Sha256::new();
    for (number, record) in parts {
        let encoded = encode(record);
        digest.update(number.to_be_bytes());
        // Lossless: a part record is under a kilobyte.
        digest.update((encoded.len() as u32).to_be_bytes());
        digest.update(&encoded);
    }
    digest.finalize().into()
}

/// Where a sealed record belongs; what is sealed for one place opens in no other.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// A version of an object.
    Object(&'a str, WriteId),
    /// An open upload.
    Upload(&'a str, WriteId),
    /// A part of an upload, or of the object that it became.
    Part(&'a str, WriteId, u16),
    /// The configuration of the bucket itself.
    Config,
}

impl Place<'_> {
    fn context<'a>(&'a self, store: &'a StoreId, bucket: &'a BucketId) -> Context<'a> {
        let kind = match self {
            Self::Object(..) => Kind::ObjectRecord,
            Self::Part(..) => Kind::PartRecord,
            Self::Upload(..) | Self::Config => Kind::Configuration,
        };
        let mut context = Context::new(kind);
        context.store_id = store.as_bytes();
        context.bucket_id = bucket.as_bytes();
        match self {
            Self::Object(key, write) | Self::Upload(key, write) | Self::Part(key, write, _) => {
                context.object_key = key.as_bytes();
                context.write_id = write.as_bytes();
            }
            Self::Config => {}
        }
        if let Self::Part(_, _, number) = self {
            context.part_number = u32::from(*number);
        }
        context
    }
}

/// A bucket's catalog key, with the names that every record of that bucket is sealed for.
pub struct RecordKey {
    store: StoreId,
    bucket: BucketId,
    key: DataKey,
}

/// Separates record keys from any other use of a catalog key.
const LABEL: &str = "strongroom/record/1";

impl RecordKey {
    /// The key of `bucket`'s records.
    pub fn new(store: StoreId, bucket: BucketId, key: DataKey) -> Self {
        Self { store, bucket, key }
    }

    /// Seals a record for its place.
    ///
    /// # Errors
    /// The random source failed.
    pub fn seal<R: Encode<()>>(&self, place: Place<'_>, record: &R) -> Result<Vec<u8>, OpError> {
        let context = place.context(&self.store, &self.bucket).digest();
        Ok(seal_small(&self.key, LABEL, &context, &encode(record))?)
    }

    /// Opens a record that was sealed for this place.
    ///
    /// # Errors
    /// [`OpError::Damaged`]: altered, moved here from elsewhere, or written by a later version.
    pub fn open<R: for<'b> Decode<'b, ()>>(&self, place: Place<'_>, sealed: &[u8]) -> Result<R, OpError> {
        let context = place.context(&self.store, &self.bucket).digest();
        let plain = open_small(&self.key, LABEL, &context, sealed)
            .map_err(|_| OpError::damaged("a catalog record was altered, or belongs elsewhere"))?;
        minicbor::decode(&plain)
            .map_err(|_| OpError::damaged("a catalog record has a form that this version does not know"))
    }
}

fn encode<R: Encode<()>>(record: &R) -> Vec<u8> {
    let mut bytes = Vec::new();
    match minicbor::encode(record, &mut bytes) {
        Ok(()) => bytes,
        // A Vec takes every byte, and no record has a field that CBOR cannot hold.
        Err(never) => unreachable!("{never}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_key() -> RecordKey {
        RecordKey::new(StoreId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]), DataKey::generate().unwrap())
    }

    fn record() -> PartRecord {
        PartRecord {
            plain_len: 7,
            etag: Etag::of_stream([3; 16]),
            checksums: vec![],
            stream: StreamRecord { commitment: CommitmentBytes([4; 32]), outer: None },
        }
    }

    #[test]
    fn a_record_opens_in_its_own_place_only() {
        let (key, write) = (record_key(), WriteId::from_bytes([5; 16]));
        let sealed = key.seal(Place::Part("k", write, 1), &record()).unwrap();
        assert_eq!(key.open::<PartRecord>(Place::Part("k", write, 1), &sealed).unwrap(), record());
        for elsewhere in [
            Place::Part("k", write, 2),
            Place::Part("l", write, 1),
            Place::Part("k", WriteId::from_bytes([6; 16]), 1),
            Place::Object("k", write),
        ] {
            assert!(key.open::<PartRecord>(elsewhere, &sealed).is_err());
        }
        assert!(record_key().open::<PartRecord>(Place::Part("k", write, 1), &sealed).is_err());
    }

    #[test]
    fn the_part_table_changes_with_order_number_and_content() {
        let (one, mut other) = (record(), record());
        other.plain_len = 8;
        let base = part_table_digest([(1, &one), (2, &other)]);
        assert_ne!(base, part_table_digest([(2, &other), (1, &one)]));
        assert_ne!(base, part_table_digest([(1, &one), (3, &other)]));
        assert_ne!(base, part_table_digest([(1, &one)]));
    }
}
