//! What S3 computes over a plaintext while it passes: the MD5 behind most ETags, and the checksums of its clients.
//!
//! Pure arithmetic over bytes, in the libraries of each algorithm; names and encodings of S3 are elsewhere.

use minicbor::{Decode, Encode};
use sha2::Digest as _;
use strongroom_engine::{RandomFailed, fresh_id};

/// An entity tag: 16 bytes, and for multipart objects how many parts they were made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Etag {
    #[cbor(n(0), with = "minicbor::bytes")]
    digest: [u8; 16],
    #[n(1)]
    part_count: Option<u32>,
}

impl Etag {
    /// Of one stream: the MD5 of its plaintext.
    pub fn of_stream(md5: [u8; 16]) -> Self {
        Self { digest: md5, part_count: None }
    }

    /// Of a multipart object: the MD5 over its parts' MD5s, and their number.
    pub fn of_parts(parts: impl IntoIterator<Item = Etag>) -> Self {
        let mut md5 = md5::Md5::new();
        let mut count = 0;
        for part in parts {
            md5.update(part.digest);
            count += 1;
        }
        Self { digest: md5.finalize().into(), part_count: Some(count) }
    }

    /// Of one stream whose plaintext is nobody's business: 16 random bytes.
    ///
    /// # Errors
    /// The random source failed.
    pub fn random() -> Result<Self, RandomFailed> {
        // The last bytes of a fresh id, twice: its first 6 are the time.
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&fresh_id(0)?[8..]);
        digest[8..].copy_from_slice(&fresh_id(0)?[8..]);
        Ok(Self { digest, part_count: None })
    }

    /// The MD5 of a single stream's plaintext.
    pub fn digest(&self) -> &[u8; 16] {
        &self.digest
    }
}

impl std::fmt::Display for Etag {
    /// Without quotes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.digest))?;
        match self.part_count {
            Some(count) => write!(f, "-{count}"),
            None => Ok(()),
        }
    }
}

/// The checksum algorithms of S3.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    #[n(1)]
    Crc32,
    /// CRC-32C (Castagnoli, RFC 3720).
    #[n(2)]
    Crc32c,
    /// CRC-64/NVME.
    #[n(3)]
    Crc64Nvme,
    /// SHA-1 (FIPS 180-4).
    #[n(4)]
    Sha1,
    /// SHA-256 (FIPS 180-4).
    #[n(5)]
    Sha256,
}

impl Algorithm {
    /// Length of a value in bytes.
    pub fn value_len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// Whether the value of a whole follows from those of its parts: true of every CRC.
    pub fn combines(self) -> bool {
        self.crc().is_some()
    }

    fn crc(self) -> Option<crc_fast::CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(crc_fast::CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// Over what a checksum is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum ChecksumKind {
    /// Over all bytes of the object.
    #[n(1)]
    FullObject,
    /// Over the checksums of the parts.
    #[n(2)]
    Composite,
}

/// A checksum and what it is of.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Checksum {
    /// How.
    #[n(0)]
    pub algorithm: Algorithm,
    /// Over what.
    #[n(1)]
    pub kind: ChecksumKind,
    /// [`Algorithm::value_len`] bytes, big-endian.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub value: Vec<u8>,
    /// For [`ChecksumKind::Composite`]: over how many parts.
    #[n(3)]
    pub part_count: Option<u32>,
}

impl Checksum {
    /// Over a whole plaintext.
    pub fn full(algorithm: Algorithm, value: Vec<u8>) -> Self {
        Self { algorithm, kind: ChecksumKind::FullObject, value, part_count: None }
    }

    /// Over the checksums of parts, in order.
    pub fn composite<'a>(algorithm: Algorithm, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = ChecksumHasher::new(algorithm);
        let mut count = 0;
        for value in parts {
            hasher.update(value);
            count += 1;
        }
        Self { algorithm, kind: ChecksumKind::Composite, value: hasher.finish(), part_count: Some(count) }
    }

    /// Over the whole, from the values and lengths of its parts in order; `None` for a hash, which does not combine.
    pub fn combined<'a>(algorithm: Algorithm, parts: impl IntoIterator<Item = (&'a [u8], u64)>) -> Option<Self> {
        let crc = algorithm.crc()?;
        let mut whole = number(&ChecksumHasher::new(algorithm).finish());
        for (value, len) in parts {
            whole = crc_fast::checksum_combine(crc, whole, number(value), len);
        }
        Some(Self::full(algorithm, whole.to_be_bytes()[8 - algorithm.value_len()..].to_vec()))
    }
}

fn number(value: &[u8]) -> u64 {
    value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// One checksum under way.
enum ChecksumHasher {
    Crc(Algorithm, crc_fast::Digest),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl ChecksumHasher {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm.crc() {
            Some(crc) => Self::Crc(algorithm, crc_fast::Digest::new(crc)),
            None if algorithm == Algorithm::Sha1 => Self::Sha1(sha1::Sha1::new()),
            None => Self::Sha256(sha2::Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(_, digest) => digest.update(bytes),
            Self::Sha1(digest) => digest.update(bytes),
            Self::Sha256(digest) => digest.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc(algorithm, digest) => digest.finalize().to_be_bytes()[8 - algorithm.value_len()..].to_vec(),
            Self::Sha1(digest) => digest.finalize().to_vec(),
            Self::Sha256(digest) => digest.finalize().to_vec(),
        }
    }
}

/// Everything that is computed over one plaintext, in one pass.
pub struct Digests {
    md5: Option<md5::Md5>,
    len: u64,
    checksums: Vec<(Algorithm, ChecksumHasher)>,
}

/// What came out of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Digested {
    /// Length of the plaintext in bytes.
    pub len: u64,
    /// Its MD5, where that was to be taken.
    pub md5: Option<[u8; 16]>,
    /// In the order in which they were asked for.
    pub checksums: Vec<Checksum>,
}

impl Digests {
    /// These, and the MD5 where it is needed: it costs more than all the rest of a write.
    pub fn new(algorithms: &[Algorithm], md5: bool) -> Self {
        let checksums = algorithms.iter().map(|algorithm| (*algorithm, ChecksumHasher::new(*algorithm))).collect();
        Self { md5: md5.then(md5::Md5::new), len: 0, checksums }
    }

    /// Nothing but the length.
    pub fn length_only() -> Self {
        Self::new(&[], false)
    }

    /// Takes the next bytes of the plaintext.
    pub fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        for (_, hasher) in &mut self.checksums {
            hasher.update(bytes);
        }
    }

    /// The values over all bytes taken.
    pub fn finish(self) -> Digested {
        let checksums =
            self.checksums.into_iter().map(|(algorithm, hasher)| Checksum::full(algorithm, hasher.finish())).collect();
        Digested { len: self.len, md5: self.md5.map(|md5| md5.finalize().into()), checksums }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn each_algorithm_gives_the_check_value_of_its_catalogue() {
        let expected = [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32c, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ];
        let mut digests = Digests::new(&expected.map(|(algorithm, _)| algorithm), true);
        digests.update(b"1234");
        digests.update(b"56789");
        let digested = digests.finish();
        assert_eq!(hex(&digested.md5.unwrap()), "25f9e794323b453885f5181f1b624d0b");
        for ((algorithm, value), checksum) in expected.iter().zip(&digested.checksums) {
            assert_eq!((checksum.algorithm, hex(&checksum.value).as_str()), (*algorithm, *value));
            assert_eq!(checksum.value.len(), algorithm.value_len());
        }
    }

    #[test]
    fn the_crc_of_a_whole_follows_from_those_of_its_parts() {
        let parts: [&[u8]; 4] = [b"12", b"", b"3456", b"789"];
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
            let of = |bytes: &[u8]| {
                let mut digests = Digests::new(&[algorithm], false);
                digests.update(bytes);
                digests.finish().checksums.remove(0)
            };
            let values = parts.map(|part| (of(part).value, part.len() as u64));
            let combined = Checksum::combined(algorithm, values.iter().map(|(value, len)| (value.as_slice(), *len)));
            assert_eq!(combined, Some(of(b"123456789")));
        }
    }

    #[test]
    fn a_multipart_etag_counts_its_parts() {
        let part = Etag::of_stream([0; 16]);
        assert_eq!(Etag::of_parts([part, part]).to_string(), "70bc8f4b72a86921468bf8e8441dce51-2");
    }
}
