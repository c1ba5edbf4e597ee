//! The canonical bytes that say what is being sealed or wrapped, and their SHA-256.
//!
//! A context is never stored with what it protects: whoever opens states what they expect to find. Two different
//! contexts never have the same canonical bytes, since each field carries its length and the kind fixes their number.
//!
//! ```text
//! kind                 1 byte
//! store id             4-byte length, bytes
//! bucket id            4-byte length, bytes
//! object key           4-byte length, bytes
//! write id             4-byte length, bytes
//! part number          4-byte length (always 4), 4 bytes
//! layer                4-byte length (always 1), 1 byte
//! encryption context   4-byte length, bytes; only for the kinds of a wrap: data, bucket, catalog and store key
//! ```
//! All integers are big-endian. A field that a kind does not use is empty, its length zero.

use aws_lc_rs::digest;

use crate::key::KeyId;

/// What is sealed or wrapped. The number is the first byte of the canonical bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// A sealed stream: an object, or one part of a multipart object.
    Stream = 1,
    /// The wrap of a data key.
    DataKey = 2,
    /// The wrap of a bucket key.
    BucketKey = 3,
    /// The wrap of a catalog key.
    CatalogKey = 4,
    /// The wrap of a store key.
    StoreKey = 5,
    /// An object record.
    ObjectRecord = 6,
    /// A part row of an open upload.
    PartRecord = 7,
    /// Users, policies, access-key secrets, bucket configuration.
    Configuration = 8,
    /// A file sealed by itself, outside a store.
    File = 9,
}

impl Kind {
    /// Whether this is the context of a wrap, which carries the client's encryption context too.
    const fn is_wrap(self) -> bool {
        matches!(self, Self::DataKey | Self::BucketKey | Self::CatalogKey | Self::StoreKey)
    }
}

/// What is being sealed or wrapped, by name. Each field is at most 2^32 - 1 bytes long.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What it is.
    pub kind: Kind,
    /// The store.
    pub store_id: &'a [u8],
    /// Random at CreateBucket, so that a bucket made again is another.
    pub bucket_id: &'a [u8],
    /// The object's key, UTF-8.
    pub object_key: &'a [u8],
    /// New at each PUT or CreateMultipartUpload.
    pub write_id: &'a [u8],
    /// 0 for a whole object.
    pub part_number: u32,
    /// 0, or 1 for the second of the two layers of DSSE.
    pub layer: u8,
    /// The client's KMS encryption context. Ignored unless the kind is that of a wrap, so that re-wrapping under
    /// another one leaves the sealed stream as it is.
    pub encryption_context: &'a [u8],
}

impl<'a> Context<'a> {
    /// A context of this kind whose fields are empty or zero.
    pub const fn new(kind: Kind) -> Self {
        let empty = &[];
        Self {
            kind,
            store_id: empty,
            bucket_id: empty,
            object_key: empty,
            write_id: empty,
            part_number: 0,
            layer: 0,
            encryption_context: empty,
        }
    }

    /// The context of a file that is sealed by itself: the id of its key stands where an object has its write id.
    pub const fn file(key_id: &'a KeyId) -> Self {
        Self { write_id: key_id.as_bytes(), ..Self::new(Kind::File) }
    }

    /// SHA-256 of the canonical bytes: what "context" means in every derivation.
    pub fn digest(&self) -> ContextDigest {
        let mut sha256 = digest::Context::new(&digest::SHA256);
        sha256.update(&[self.kind as u8]);
        let mut field = |bytes: &[u8]| {
            // Fields are short (S3 ends a key at 1,024 bytes); saturating keeps this total.
            sha256.update(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            sha256.update(bytes);
        };
        field(self.store_id);
        field(self.bucket_id);
        field(self.object_key);
        field(self.write_id);
        field(&self.part_number.to_be_bytes());
        field(&[self.layer]);
        if self.kind.is_wrap() {
            field(self.encryption_context);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(sha256.finish().as_ref());
        ContextDigest(bytes)
    }
}

/// SHA-256 of a context. Not secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ContextDigest([u8; 32]);

impl ContextDigest {
    /// The digest that these bytes are, as a keyring kept them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 9] = [
        Kind::Stream,
        Kind::DataKey,
        Kind::BucketKey,
        Kind::CatalogKey,
        Kind::StoreKey,
        Kind::ObjectRecord,
        Kind::PartRecord,
        Kind::Configuration,
        Kind::File,
    ];

    fn full(kind: Kind) -> Context<'static> {
        Context {
            kind,
            store_id: b"s",
            bucket_id: b"bb",
            object_key: b"key",
            write_id: b"w",
            part_number: 0x0102,
            layer: 1,
            encryption_context: b"{}",
        }
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap()
    }

    #[test]
    fn the_canonical_bytes_are_those_of_the_standard() {
        let bytes = b"\x01\0\0\0\x01s\0\0\0\x02bb\0\0\0\x03key\0\0\0\x01w\0\0\0\x04\0\0\x01\x02\0\0\0\x01\x01";
        assert_eq!(*full(Kind::Stream).digest().as_bytes(), sha256(bytes));
        let mut wrap = bytes.to_vec();
        wrap[0] = 2;
        wrap.extend(b"\0\0\0\x02{}");
        assert_eq!(*full(Kind::DataKey).digest().as_bytes(), sha256(&wrap));
    }

    #[test]
    fn every_field_and_every_kind_makes_another_context() {
        let full = full(Kind::DataKey);
        let mut digests: Vec<_> = KINDS.map(|kind| Context { kind, ..full }.digest().0).to_vec();
        digests.push(Context { store_id: b"t", ..full }.digest().0);
        digests.push(Context { bucket_id: b"b", ..full }.digest().0);
        digests.push(Context { object_key: b"", ..full }.digest().0);
        digests.push(Context { write_id: b"x", ..full }.digest().0);
        digests.push(Context { part_number: 0, ..full }.digest().0);
        digests.push(Context { layer: 0, ..full }.digest().0);
        digests.push(Context { encryption_context: b"", ..full }.digest().0);
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn bytes_that_move_from_one_field_to_the_next_make_another_context() {
        let one = Context { store_id: b"ab", bucket_id: b"c", ..Context::new(Kind::Stream) };
        let two = Context { store_id: b"a", bucket_id: b"bc", ..Context::new(Kind::Stream) };
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn a_stream_keeps_its_context_when_the_encryption_context_changes() {
        let one = full(Kind::Stream);
        assert_eq!(one.digest(), Context { encryption_context: b"other", ..one }.digest());
    }
}
