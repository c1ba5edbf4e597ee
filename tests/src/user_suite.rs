//! What every catalog promises of users and access keys.

use strongroom_server::catalog::{AccessKeyRow, UserRow};

use crate::catalog_suite::{Open, SESSION, check_conflict};

/// One test for each promise about users.
#[macro_export]
macro_rules! user_suite {
    ($open:expr) => {
        $crate::each_promise! { $open;
            $crate::user_suite::an_access_key_is_never_replaced as an_access_key_is_never_replaced,
            $crate::user_suite::a_user_changes_only_from_what_was_read as a_user_changes_only_from_what_was_read,
            $crate::user_suite::a_user_s_access_keys_go_with_the_user as a_user_s_access_keys_go_with_the_user,
        }
    };
}

/// A user whose sealed record is this byte.
pub(crate) fn user(name: &str, sealed: u8) -> UserRow {
    UserRow { name: name.to_owned(), generation: 0, sealed: vec![sealed] }
}

/// An access key whose sealed record is this byte.
pub(crate) fn access_key(id: &str, user: &str, sealed: u8) -> AccessKeyRow {
    AccessKeyRow { id: id.to_owned(), user: user.to_owned(), generation: 0, sealed: vec![sealed] }
}

pub async fn an_access_key_is_never_replaced(open: Open<'_>) {
    let catalog = open();
    catalog.open_session(SESSION).await.unwrap();
    check_conflict(catalog.add_access_key(SESSION, access_key("AK", "alice", 1)).await);
    catalog.create_user(SESSION, user("alice", 1)).await.unwrap();
    catalog.add_access_key(SESSION, access_key("AK", "alice", 1)).await.unwrap();
    check_conflict(catalog.add_access_key(SESSION, access_key("AK", "alice", 2)).await);
    let found = catalog.access_key("AK").await.unwrap();
    assert_eq!(found, Some((access_key("AK", "alice", 1), user("alice", 1))));
    assert_eq!(catalog.access_key("ak").await.unwrap(), None);
}

pub async fn a_user_changes_only_from_what_was_read(open: Open<'_>) {
    let catalog = open();
    catalog.open_session(SESSION).await.unwrap();
    catalog.create_user(SESSION, user("alice", 1)).await.unwrap();
    check_conflict(catalog.create_user(SESSION, user("alice", 2)).await);
    catalog.change_user(SESSION, user("alice", 2)).await.unwrap();
    check_conflict(catalog.change_user(SESSION, user("alice", 3)).await);
    let changed = UserRow { generation: 1, ..user("alice", 2) };
    assert_eq!(catalog.user("alice").await.unwrap(), Some(changed.clone()));
    catalog.add_access_key(SESSION, access_key("AK", "alice", 1)).await.unwrap();
    catalog.change_access_key(SESSION, access_key("AK", "alice", 2)).await.unwrap();
    check_conflict(catalog.change_access_key(SESSION, access_key("AK", "alice", 3)).await);
    let key = AccessKeyRow { generation: 1, ..access_key("AK", "alice", 2) };
    assert_eq!(catalog.access_key("AK").await.unwrap(), Some((key, changed)));
}

pub async fn a_user_s_access_keys_go_with_the_user(open: Open<'_>) {
    let catalog = open();
    catalog.open_session(SESSION).await.unwrap();
    for name in ["bob", "alice"] {
        catalog.create_user(SESSION, user(name, 1)).await.unwrap();
    }
    for (id, owner) in [("K3", "alice"), ("K1", "alice"), ("K2", "bob")] {
        catalog.add_access_key(SESSION, access_key(id, owner, 1)).await.unwrap();
    }
    assert_eq!(catalog.users().await.unwrap(), [user("alice", 1), user("bob", 1)]);
    assert_eq!(
        catalog.access_keys("alice").await.unwrap(),
        [access_key("K1", "alice", 1), access_key("K3", "alice", 1)]
    );
    catalog.delete_access_key(SESSION, "K3").await.unwrap();
    check_conflict(catalog.delete_access_key(SESSION, "K3").await);
    catalog.delete_user(SESSION, "alice").await.unwrap();
    check_conflict(catalog.delete_user(SESSION, "alice").await);
    assert_eq!(catalog.access_key("K1").await.unwrap(), None);
    assert_eq!(catalog.access_keys("alice").await.unwrap(), []);
    assert!(catalog.access_key("K2").await.unwrap().is_some());
}
