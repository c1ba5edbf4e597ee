//! Conditions of a request on the entity tag and date of an object (RFC 9110, section 13, as S3 applies it).

use crate::catalog::Expect;
use crate::error::OpError;
use crate::ops::Version;
use crate::ops::digest::Etag;

/// What an entity tag must be, or must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EtagMatch {
    /// `*`: any object.
    Any,
    /// One of these, without quotes.
    OneOf(Vec<String>),
}

impl EtagMatch {
    fn holds(&self, etag: &Etag) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.contains(&etag.to_string()),
        }
    }
}

/// The conditions of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// If-Match.
    pub matches: Option<EtagMatch>,
    /// If-None-Match.
    pub matches_none: Option<EtagMatch>,
    /// If-Modified-Since, in seconds since 1970.
    pub modified_since: Option<i64>,
    /// If-Unmodified-Since, in seconds since 1970.
    pub unmodified_since: Option<i64>,
}

/// How a condition failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failed {
    /// The request must not be carried out.
    Precondition(&'static str),
    /// The client has the object already.
    NotModified,
}

impl Conditions {
    /// Whether an object may be read. An entity tag outweighs a date of the same direction.
    ///
    /// # Errors
    /// The condition that failed.
    pub fn check_read(&self, etag: &Etag, created_ms: u64) -> Result<(), Failed> {
        let modified = i64::try_from(created_ms / 1000).unwrap_or(i64::MAX);
        match (&self.matches, self.unmodified_since) {
            (Some(wanted), _) if !wanted.holds(etag) => return Err(Failed::Precondition("If-Match")),
            (None, Some(since)) if modified > since => return Err(Failed::Precondition("If-Unmodified-Since")),
            _ => {}
        }
        match (&self.matches_none, self.modified_since) {
            (Some(unwanted), _) if unwanted.holds(etag) => Err(Failed::NotModified),
            (None, Some(since)) if modified <= since => Err(Failed::NotModified),
            _ => Ok(()),
        }
    }

    /// Whether an object may be written over `current`, and what must still be true at the commit.
    ///
    /// # Errors
    /// [`OpError::PreconditionFailed`]; [`OpError::NoSuchKey`] where an object was to match and there is none.
    pub fn check_write(&self, current: Option<&Version>) -> Result<Expect, OpError> {
        if let Some(wanted) = &self.matches {
            let current = current.ok_or(OpError::NoSuchKey)?;
            if !wanted.holds(&current.record.etag) {
                return Err(OpError::PreconditionFailed("If-Match"));
            }
        }
        if let (Some(unwanted), Some(current)) = (&self.matches_none, current)
            && unwanted.holds(&current.record.etag)
        {
            return Err(OpError::PreconditionFailed("If-None-Match"));
        }
        Ok(match (self.is_empty(), current) {
            (true, _) => Expect::Anything,
            (false, None) => Expect::Absent,
            (false, Some(current)) => Expect::Unchanged(current.row.write_id, current.row.generation),
        })
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etag() -> Etag {
        Etag::of_stream([0xab; 16])
    }

    fn one(tag: &str) -> Option<EtagMatch> {
        Some(EtagMatch::OneOf(vec![tag.into()]))
    }

    #[test]
    fn an_entity_tag_outweighs_a_date() {
        let right = one(&"ab".repeat(16));
        let old = Conditions { matches: right.clone(), unmodified_since: Some(0), ..Conditions::default() };
        assert_eq!(old.check_read(&etag(), 5_000), Ok(()));
        let new = Conditions { matches_none: one("other"), modified_since: Some(9), ..Conditions::default() };
        assert_eq!(new.check_read(&etag(), 5_000), Ok(()));
        let same = Conditions { matches_none: right, modified_since: Some(0), ..Conditions::default() };
        assert_eq!(same.check_read(&etag(), 5_000), Err(Failed::NotModified));
    }

    #[test]
    fn dates_are_compared_in_whole_seconds() {
        let since = |seconds| Conditions { modified_since: Some(seconds), ..Conditions::default() };
        assert_eq!(since(5).check_read(&etag(), 5_999), Err(Failed::NotModified));
        assert_eq!(since(4).check_read(&etag(), 5_000), Ok(()));
        let until = |seconds| Conditions { unmodified_since: Some(seconds), ..Conditions::default() };
        assert_eq!(until(5).check_read(&etag(), 5_999), Ok(()));
        assert_eq!(until(4).check_read(&etag(), 5_000), Err(Failed::Precondition("If-Unmodified-Since")));
    }
}
