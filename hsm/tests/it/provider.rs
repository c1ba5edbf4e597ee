//! What every provider promises: one suite, run on a token and on the keys in memory that other crates test with.

use crate::harness::{Token, context, create, data_key, error_of, unwrap, wrap};
use pollster::block_on;
use strongroom_hsm::{
    Alias, Health, KeyError, MasterKeyAdmin, MasterKeyId, MasterKeys as _, MemoryKeys, Version, WrappedKey,
};

/// Each promise on each provider, as a test of its own.
macro_rules! on_every_provider {
    ($($promise:ident),* $(,)?) => {
        mod token {
            $(#[test] fn $promise() {
                let token = super::Token::new();
                super::$promise(&token.start(Vec::new()));
            })*
        }
        mod keyfile {
            $(#[test] fn $promise() {
                let folder = crate::keyfile::Folder::new();
                super::$promise(&folder.open(Vec::new()).unwrap());
            })*
        }
        mod several {
            $(#[test] fn $promise() {
                let (_token, _folder, providers) = crate::keyfile::providers();
                super::$promise(&providers);
            })*
        }
        mod memory {
            $(#[test] fn $promise() { super::$promise(&super::MemoryKeys::new()); })*
        }
    };
}

on_every_provider![
    a_wrapped_key_unwraps_to_itself,
    another_context_is_refused,
    every_altered_byte_is_refused,
    a_key_said_to_be_of_another_master_key_is_refused,
    a_new_version_wraps_and_the_old_one_still_unwraps,
    an_alias_without_a_key_and_an_unknown_master_key_are_named,
    every_master_key_and_every_wrap_has_an_id_and_bytes_of_its_own,
    a_retired_version_unwraps_and_wraps_nothing_until_it_is_reinstated,
    a_disabled_version_does_neither,
    a_version_that_is_held_and_not_known_is_found_and_adopted,
    a_destroyed_version_is_gone_and_the_others_are_not,
];

/// Makes a master key and has it wrap.
fn add(keys: &dyn MasterKeyAdmin, version: u32) -> MasterKeyId {
    let key = create(keys, version);
    keys.register(vec![key.clone()]);
    key.id
}

fn a_wrapped_key_unwraps_to_itself(keys: &dyn MasterKeyAdmin) {
    let master = add(keys, 1);
    let key = data_key();
    let wrapped = wrap(keys, &key).unwrap();
    assert_eq!(wrapped.master, master);
    let kept = WrappedKey::decode(&wrapped.encode()).unwrap();
    assert!(unwrap(keys, &kept).unwrap().expose() == key.expose());
    assert_eq!(keys.name_of(&kept.master), Some((Alias::default_alias(), Version(1))));
    assert_eq!(block_on(keys.health()), Health::Ready);
}

fn another_context_is_refused(keys: &dyn MasterKeyAdmin) {
    add(keys, 1);
    let wrapped = wrap(keys, &data_key()).unwrap();
    assert_eq!(error_of(block_on(keys.unwrap(&wrapped, &context(2)))), KeyError::Refused);
}

fn every_altered_byte_is_refused(keys: &dyn MasterKeyAdmin) {
    add(keys, 1);
    let wrapped = wrap(keys, &data_key()).unwrap();
    for index in 0..wrapped.ciphertext.len() {
        let mut altered = wrapped.clone();
        altered.ciphertext[index] ^= 1;
        assert_eq!(error_of(unwrap(keys, &altered)), KeyError::Refused, "byte {index}");
    }
    for len in 0..wrapped.ciphertext.len() {
        let shortened = WrappedKey { ciphertext: wrapped.ciphertext[..len].to_vec(), ..wrapped };
        assert_eq!(error_of(unwrap(keys, &shortened)), KeyError::Refused, "{len} bytes");
    }
}

fn a_key_said_to_be_of_another_master_key_is_refused(keys: &dyn MasterKeyAdmin) {
    add(keys, 1);
    let wrapped = wrap(keys, &data_key()).unwrap();
    let moved = WrappedKey { master: add(keys, 2), ..wrapped };
    assert_eq!(error_of(unwrap(keys, &moved)), KeyError::Refused);
}

fn a_new_version_wraps_and_the_old_one_still_unwraps(keys: &dyn MasterKeyAdmin) {
    let alias = Alias::default_alias();
    let first = add(keys, 1);
    let old = wrap(keys, &data_key()).unwrap();
    let second = create(keys, 2);
    assert_eq!(keys.current(&alias), Some((first, Version(1))), "not before it is registered");
    keys.register(vec![second.clone()]);
    assert_eq!(keys.current(&alias), Some((second.id, Version(2))));
    assert_eq!(wrap(keys, &data_key()).unwrap().master, second.id);
    assert!(unwrap(keys, &old).is_ok());
}

fn an_alias_without_a_key_and_an_unknown_master_key_are_named(keys: &dyn MasterKeyAdmin) {
    add(keys, 1);
    let alias = Alias::new("payroll").unwrap();
    let refused = block_on(keys.wrap(&alias, &data_key(), &context(1)));
    assert_eq!(refused, Err(KeyError::NoSuchAlias { alias }));
    let id = MasterKeyId::new([9; 16]);
    let stray = WrappedKey { master: id, ..wrap(keys, &data_key()).unwrap() };
    assert_eq!(error_of(unwrap(keys, &stray)), KeyError::UnknownMasterKey { id });
}

fn every_master_key_and_every_wrap_has_an_id_and_bytes_of_its_own(keys: &dyn MasterKeyAdmin) {
    assert_ne!(add(keys, 1), add(keys, 2));
    let key = data_key();
    assert_ne!(wrap(keys, &key).unwrap(), wrap(keys, &key).unwrap());
}

fn a_retired_version_unwraps_and_wraps_nothing_until_it_is_reinstated(keys: &dyn MasterKeyAdmin) {
    let master = add(keys, 1);
    let wrapped = wrap(keys, &data_key()).unwrap();
    block_on(keys.retire_master_key(&master)).unwrap();
    let alias = Alias::default_alias();
    assert_eq!(wrap(keys, &data_key()), Err(KeyError::Superseded { alias }));
    assert!(unwrap(keys, &wrapped).is_ok());
    block_on(keys.reinstate_master_key(&master)).unwrap();
    assert!(wrap(keys, &data_key()).is_ok());
}

fn a_disabled_version_does_neither(keys: &dyn MasterKeyAdmin) {
    let mut known = create(keys, 1);
    keys.register(vec![known.clone()]);
    let wrapped = wrap(keys, &data_key()).unwrap();
    known.enabled = false;
    keys.register(vec![known.clone()]);
    let disabled = KeyError::Disabled { id: known.id };
    assert_eq!(wrap(keys, &data_key()), Err(disabled.clone()));
    assert_eq!(error_of(unwrap(keys, &wrapped)), disabled);
    known.enabled = true;
    keys.register(vec![known]);
    assert!(wrap(keys, &data_key()).is_ok() && unwrap(keys, &wrapped).is_ok());
}

fn a_version_that_is_held_and_not_known_is_found_and_adopted(keys: &dyn MasterKeyAdmin) {
    add(keys, 1);
    let second = create(keys, 2);
    let listed = block_on(keys.list_master_keys()).unwrap();
    let found = listed.iter().find(|key| key.version == Version(2) && key.alias == Alias::default_alias()).unwrap();
    assert_eq!(found.id, second.id);
    let adopted = block_on(keys.adopt_master_key(&found.id)).unwrap();
    keys.register(vec![adopted.into_known(true)]);
    assert_eq!(wrap(keys, &data_key()).unwrap().master, second.id);
    let id = MasterKeyId::new([9; 16]);
    assert_eq!(block_on(keys.adopt_master_key(&id)), Err(KeyError::UnknownMasterKey { id }));
}

fn a_destroyed_version_is_gone_and_the_others_are_not(keys: &dyn MasterKeyAdmin) {
    let alias = Alias::default_alias();
    let first = add(keys, 1);
    let old = wrap(keys, &data_key()).unwrap();
    let second = add(keys, 2);
    block_on(keys.destroy_master_key(&alias, Version(1), &second)).unwrap();
    assert!(wrap(keys, &data_key()).is_ok(), "id and version must both fit");
    block_on(keys.destroy_master_key(&alias, Version(1), &first)).unwrap();
    assert_eq!(error_of(unwrap(keys, &old)), KeyError::UnknownMasterKey { id: first });
    assert_eq!(wrap(keys, &data_key()).unwrap().master, second);
    keys.forget(&first);
    assert_eq!(error_of(unwrap(keys, &old)), KeyError::UnknownMasterKey { id: first });
}

#[test]
fn keys_in_memory_are_away_or_refuse_when_told() {
    let keys = MemoryKeys::with_key(&Alias::default_alias()).unwrap();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    keys.set_refusing(true);
    assert_eq!(error_of(unwrap(&keys, &wrapped)), KeyError::Refused);
    keys.set_refusing(false);
    keys.set_away(true);
    assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
    assert!(matches!(block_on(keys.health()), Health::Degraded { .. }));
    keys.set_away(false);
    assert!(unwrap(&keys, &wrapped).is_ok());
}
