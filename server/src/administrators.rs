//! Who administers what: those of keys and those of data are different people, by default.

use std::fmt;
use std::ops::BitOr;

/// What somebody administers, or what a command takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles {
    /// Master keys, wrapped keys, and who may use them.
    pub keys: bool,
    /// Users, buckets, and who may read and write them.
    pub data: bool,
}

impl Roles {
    /// Nothing.
    pub const NONE: Self = Self { keys: false, data: false };
    /// Keys.
    pub const KEYS: Self = Self { keys: true, data: false };
    /// Data.
    pub const DATA: Self = Self { keys: false, data: true };
    /// Both.
    pub const BOTH: Self = Self { keys: true, data: true };

    /// Whether whoever has these may do what takes `needed`.
    pub fn cover(self, needed: Self) -> bool {
        (self.keys || !needed.keys) && (self.data || !needed.data)
    }
}

impl BitOr for Roles {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { keys: self.keys || other.keys, data: self.data || other.data }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.keys, self.data) {
            (false, false) => "nothing",
            (true, false) => "keys",
            (false, true) => "data",
            (true, true) => "keys and data",
        })
    }
}
