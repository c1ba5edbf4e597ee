//! Who administers what: those of keys and those of data are different people, by default.
//!
//! People are users of the server's machine, by the uid that its kernel tells of a peer; root is a user as every other.
//! Where nobody is named, the server's own user administers data, and nobody administers keys.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::BitOr;

use crate::config::{LocalUser, ServeConfig};

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

/// The administrators of a running server.
#[derive(Clone, Debug)]
pub struct Administrators {
    own_uid: u32,
    roles: BTreeMap<u32, Roles>,
    one_administrator: bool,
}

/// Why a server does not start with these administrators.
#[derive(Debug, thiserror::Error)]
pub enum AdministratorsError {
    /// Correct the name.
    #[error("[administrators] names {0:?}, and this machine has no such user")]
    NoSuchUser(String),
    /// Name another, or say that it is meant.
    #[error(
        "uid {0} is to administer both keys and data: name different users, or give --one-administrator if one person is \
         to have both"
    )]
    Both(u32),
    /// Put the socket elsewhere.
    #[error("uid {0} is an administrator and cannot reach {1}: put the socket elsewhere, with --admin-socket")]
    OutOfReach(u32, String),
    /// The machine's list of users does not work.
    #[error("cannot look up the user {name:?}: {source}")]
    Unknown {
        /// The name.
        name: String,
        /// Why not.
        source: nix::Error,
    },
}

impl Administrators {
    /// Those that the settings name, for a server that runs as `own_uid`. Blocks: the machine's list of users may be on
    /// a network.
    ///
    /// # Errors
    /// [`AdministratorsError`].
    pub fn find(config: &ServeConfig, own_uid: u32) -> Result<Self, AdministratorsError> {
        let told = &config.administrators;
        let own = || vec![LocalUser::Uid(own_uid)];
        let data = told.data.clone().unwrap_or_else(own);
        let keys = told.keys.clone().unwrap_or_else(|| if told.one_administrator { own() } else { Vec::new() });
        let mut roles = BTreeMap::new();
        for (users, role) in [(data, Roles::DATA), (keys, Roles::KEYS)] {
            for user in users {
                let roles = roles.entry(uid(user)?).or_insert(Roles::NONE);
                *roles = *roles | role;
            }
        }
        let found = Self { own_uid, roles, one_administrator: told.one_administrator };
        if let Some((uid, _)) = found.roles.iter().find(|(_, roles)| **roles == Roles::BOTH && !told.one_administrator)
        {
            return Err(AdministratorsError::Both(*uid));
        }
        let socket = &config.places.admin_socket;
        let outsider = found.others().next();
        match outsider {
            Some(uid) if socket.starts_with(&config.places.data) => {
                Err(AdministratorsError::OutOfReach(uid, socket.display().to_string()))
            }
            _ => Ok(found),
        }
    }

    /// What a user administers.
    pub fn roles_of(&self, uid: u32) -> Roles {
        self.roles.get(&uid).copied().unwrap_or(Roles::NONE)
    }

    /// Whether none but the server's own user, and root, whom no permission stops, has to reach the socket.
    pub fn are_at_home(&self) -> bool {
        self.others().next().is_none()
    }

    /// Says at the start who they are.
    pub fn tell(&self) {
        let of = |role: Roles| -> Vec<u32> {
            self.roles.iter().filter(|(_, roles)| roles.cover(role)).map(|(uid, _)| *uid).collect()
        };
        tracing::info!(keys = ?of(Roles::KEYS), data = ?of(Roles::DATA), "administrators, by uid");
        if self.one_administrator {
            tracing::warn!("ONE ADMINISTRATOR may have both roles, and the owner may use every master key");
        }
    }

    fn others(&self) -> impl Iterator<Item = u32> {
        self.roles.keys().copied().filter(|uid| *uid != self.own_uid && *uid != 0)
    }
}

fn uid(user: LocalUser) -> Result<u32, AdministratorsError> {
    let name = match user {
        LocalUser::Uid(uid) => return Ok(uid),
        LocalUser::Name(name) => name,
    };
    match nix::unistd::User::from_name(&name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(AdministratorsError::NoSuchUser(name)),
        Err(source) => Err(AdministratorsError::Unknown { name, source }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{AdministratorsConfig, MastersConfig, Places};
    use crate::key::KeyUseConfig;

    const OWN: u32 = 500;

    fn found(told: AdministratorsConfig, socket: Option<&str>) -> Result<Administrators, String> {
        let mut places = Places::below(Path::new("/srv/store"));
        if let Some(socket) = socket {
            places.admin_socket = socket.into();
        }
        let config = ServeConfig {
            listen: String::new(),
            tls: None,
            trusted_proxies: Vec::new(),
            places,
            masters: MastersConfig::NotTold,
            use_of_keys: KeyUseConfig::default(),
            may_found: false,
            administrators: told,
            accept_moved_token: false,
        };
        Administrators::find(&config, OWN).map_err(|error| error.to_string())
    }

    fn told(keys: Option<&[u32]>, data: Option<&[u32]>, one_administrator: bool) -> AdministratorsConfig {
        let users = |uids: &[u32]| uids.iter().copied().map(LocalUser::Uid).collect();
        AdministratorsConfig { keys: keys.map(users), data: data.map(users), one_administrator }
    }

    #[test]
    fn where_nobody_is_named_the_own_user_administers_data_and_nobody_keys() {
        let nobody = found(told(None, None, false), None).unwrap();
        assert_eq!([OWN, 0, 7].map(|uid| nobody.roles_of(uid)), [Roles::DATA, Roles::NONE, Roles::NONE]);
        assert_eq!(found(told(None, None, true), None).unwrap().roles_of(OWN), Roles::BOTH);
        assert!(nobody.are_at_home());
    }

    #[test]
    fn whoever_is_named_has_the_role_and_nobody_else_has() {
        let named = found(told(Some(&[7]), Some(&[8, 9]), false), Some("/run/s.sock")).unwrap();
        let roles = [7, 8, 9, OWN, 0].map(|uid| named.roles_of(uid));
        assert_eq!(roles, [Roles::KEYS, Roles::DATA, Roles::DATA, Roles::NONE, Roles::NONE]);
        assert!(!named.are_at_home());
        let only_keys = found(told(Some(&[7]), None, false), Some("/run/s.sock")).unwrap();
        assert_eq!([7, OWN].map(|uid| only_keys.roles_of(uid)), [Roles::KEYS, Roles::DATA]);
    }

    #[test]
    fn nobody_has_both_roles_unless_that_is_said() {
        for (keys, data) in [(Some(&[7][..]), Some(&[7, 8][..])), (Some(&[OWN][..]), None)] {
            let refused = found(told(keys, data, false), Some("/run/s.sock")).unwrap_err();
            assert!(refused.contains("--one-administrator"), "{refused}");
            assert!(found(told(keys, data, true), Some("/run/s.sock")).is_ok());
        }
    }

    #[test]
    fn others_are_not_named_where_they_cannot_reach_the_socket() {
        let refused = found(told(Some(&[7]), None, false), None).unwrap_err();
        assert!(refused.contains("--admin-socket"), "{refused}");
        assert!(found(told(Some(&[0]), None, false), None).is_ok(), "root goes everywhere");
    }

    #[test]
    fn names_are_users_of_this_machine() {
        let named = |name: &str| {
            let keys = Some(vec![LocalUser::Name(name.to_owned())]);
            found(AdministratorsConfig { keys, ..AdministratorsConfig::default() }, None)
        };
        assert_eq!(named("root").unwrap().roles_of(0), Roles::KEYS);
        assert!(named("no such user").unwrap_err().contains("no such user"));
    }
}
