//! How people name a master key: `ALIAS`, or `ALIAS/VERSION`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom_hsm::{Alias, Version};

use super::LifeError;
use crate::keyring::MasterKeyRow;

/// An alias, or one version of it. Aliases may hold slashes: what follows the last one is a version if it is a number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MasterKeyName {
    /// The alias.
    pub alias: Alias,
    /// Where one version is meant.
    pub version: Option<Version>,
}

/// The text names no master key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a master key is named ALIAS or ALIAS/VERSION: {0}")]
pub struct InvalidName(String);

impl FromStr for MasterKeyName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (alias, version) = match text.rsplit_once('/').map(|(alias, tail)| (alias, tail.parse())) {
            Some((alias, Ok(number))) => (alias, Some(Version(number))),
            _ => (text, None),
        };
        let alias = Alias::new(alias).map_err(|error| InvalidName(error.to_string()))?;
        Ok(Self { alias, version })
    }
}

impl TryFrom<String> for MasterKeyName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<MasterKeyName> for String {
    fn from(name: MasterKeyName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for MasterKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}/{version}", self.alias),
            None => write!(f, "{}", self.alias),
        }
    }
}

impl MasterKeyName {
    /// Whether `row` is meant.
    pub fn means(&self, row: &MasterKeyRow) -> bool {
        self.covers(&row.alias, row.version)
    }

    /// Whether this version of this alias is meant.
    pub(super) fn covers(&self, alias: &Alias, version: Version) -> bool {
        self.alias == *alias && self.version.is_none_or(|meant| meant == version)
    }

    /// The one version that is meant; of an alias, the current one.
    pub(super) fn one(&self, rows: &[MasterKeyRow]) -> Result<MasterKeyRow, LifeError> {
        let found = rows.iter().find(|row| self.means(row) && (self.version.is_some() || row.current));
        found.cloned().ok_or_else(|| LifeError::NoSuchKey(self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_last_slash_is_a_version_if_it_is_a_number() {
        let parsed = |text: &str| text.parse::<MasterKeyName>().map(|name| (name.alias.to_string(), name.version));
        assert_eq!(parsed("default").unwrap(), ("default".to_owned(), None));
        assert_eq!(parsed("default/3").unwrap(), ("default".to_owned(), Some(Version(3))));
        assert_eq!(parsed("team/backup").unwrap(), ("team/backup".to_owned(), None));
        assert_eq!(parsed("team/backup/12").unwrap(), ("team/backup".to_owned(), Some(Version(12))));
        assert!(parsed("").is_err());
        assert!(parsed("/3").is_err());
        assert!(parsed("a b").is_err());
    }
}
