//! What wrapping through worker processes promises beyond what every provider does.

use crate::harness::{Token, data_key, error_of, unwrap, wrap};
use pollster::block_on;
use std::collections::HashSet;
use strongroom_hsm::{Alias, KeyError, MasterKeyAdmin as _, Version};

#[test]
fn an_altered_key_costs_no_worker_and_no_other_caller() {
    let (token, keys, _) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    let mut altered = wrapped.clone();
    altered.ciphertext[30] ^= 1;
    for _ in 0..10 {
        assert_eq!(error_of(unwrap(&keys, &altered)), KeyError::Refused);
        assert!(unwrap(&keys, &wrapped).is_ok());
    }
    assert_eq!(token.starts(), 1);
}

#[test]
fn keys_survive_a_restart_of_everything() {
    let (token, keys, master) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    drop(keys);
    let keys = token.start(vec![master]);
    assert!(unwrap(&keys, &wrapped).is_ok());
}

#[test]
fn no_key_is_made_under_an_alias_of_another_module() {
    let (_token, keys, _) = Token::with_key();
    let alias = Alias::new("payroll").unwrap();
    assert_eq!(block_on(keys.create_master_key(&alias, Version(1))), Err(KeyError::NoSuchAlias { alias }));
}

#[test]
fn many_callers_at_once_all_get_their_own_key() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.limits.workers = 3;
    let keys = token.start(vec![master]);
    let caller = || {
        let mut ivs = Vec::new();
        for _ in 0..1250 {
            let key = data_key();
            let wrapped = wrap(&keys, &key).unwrap();
            assert!(unwrap(&keys, &wrapped).unwrap().expose() == key.expose());
            ivs.push(wrapped.ciphertext[3..15].to_vec());
        }
        ivs
    };
    let ivs: HashSet<Vec<u8>> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(ivs.len(), 10_000, "each wrap has an IV of its own");
}
