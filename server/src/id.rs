//! Names that rise with time: 48 bits of milliseconds, then 80 random bits, never used twice.
//!
//! Rising, because wholly random ones dirty a database page each. Every kind of name is a type of its own, so that a
//! write id cannot be passed where a bucket id is meant.

use std::fmt;
use std::marker::PhantomData;

use strongroom_engine::{RandomFailed, fresh_id};

/// Sixteen bytes that name a `T`.
pub struct Id<T> {
    bytes: [u8; 16],
    of: PhantomData<fn() -> T>,
}

/// What a [`StoreId`] names.
pub enum Store {}
/// What a [`BucketId`] names.
pub enum Bucket {}
/// What a [`WriteId`] names.
pub enum Write {}
/// What a [`SessionId`] names.
pub enum Session {}
/// What a [`StreamId`] names.
pub enum Stream {}
/// What a [`UserId`] names.
pub enum User {}

/// One per store, made with its first start.
pub type StoreId = Id<Store>;
/// New at each CreateBucket: a bucket made again is another.
pub type BucketId = Id<Bucket>;
/// New at each PUT, COPY or CreateMultipartUpload, where it is also the upload id.
pub type WriteId = Id<Write>;
/// One life of one server process.
pub type SessionId = Id<Session>;
/// One sealed stream in the blob store, within the session that wrote it.
pub type StreamId = Id<Stream>;
/// New at each creation of a user: one made again is another.
pub type UserId = Id<User>;

impl<T> Id<T> {
    /// A new name, made at `now_ms` (milliseconds since 1970).
    ///
    /// # Errors
    /// The operating system's random source failed.
    pub fn fresh(now_ms: u64) -> Result<Self, RandomFailed> {
        fresh_id(now_ms).map(Self::from_bytes)
    }

    /// The name that these bytes are.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self { bytes, of: PhantomData }
    }

    /// The name in 32 hexadecimal digits; `None` for anything else, upper case included.
    pub fn from_hex(text: &str) -> Option<Self> {
        let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 32 || !lower {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self::from_bytes(number.to_be_bytes()))
    }

    /// The bytes as they are stored.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.bytes
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}
impl<T> std::hash::Hash for Id<T> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}
impl<T> fmt::Display for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.bytes))
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_text_and_nothing_else_parses() {
        let id = WriteId::fresh(1_700_000_000_000).unwrap();
        assert_eq!(WriteId::from_hex(&id.to_string()), Some(id));
        for wrong in ["", "0", &"A".repeat(32), &"0".repeat(33), "+0000000000000000000000000000000"] {
            assert_eq!(WriteId::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_rise_with_time() {
        assert!(BucketId::fresh(1).unwrap() < BucketId::fresh(2).unwrap());
    }
}
