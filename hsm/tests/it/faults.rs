//! A module that goes wrong in the middle of a call.

use crate::harness::{Token, create, data_key, error_of, until, unwrap, wrap};
use pollster::block_on;
use std::time::Duration;
use strongroom_hsm::{Alias, KeyError, MasterKeyAdmin as _, Supervisor, Version, WrappedKey};

/// A pool of one on the forwarding module, and a key wrapped through it.
fn forwarded() -> (Token, Supervisor, WrappedKey) {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.forward();
    token.config.limits.deadline = Duration::from_millis(500);
    let keys = token.start(vec![master]);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    (token, keys, wrapped)
}

#[test]
fn a_token_that_unwraps_to_another_key_wraps_nothing() {
    let (token, keys, _) = forwarded();
    token.fault("wrong-key");
    let Err(KeyError::Misconfigured(what)) = wrap(&keys, &data_key()) else { panic!("not refused") };
    assert!(what.contains("another key than it wrapped"), "{what}");
}

#[test]
fn a_crash_costs_the_caller_nothing_if_it_does_not_come_again() {
    let (token, keys, wrapped) = forwarded();
    token.fault("crash-once");
    assert!(unwrap(&keys, &wrapped).is_ok());
    assert_eq!(token.starts(), 3, "the first pool's, this pool's, its successor");
}

#[test]
fn a_call_that_crashes_its_worker_is_tried_once_more_and_then_given_up() {
    let (token, keys, wrapped) = forwarded();
    let other = wrap(&keys, &data_key()).unwrap();
    let before = token.starts();
    let sealed: String = wrapped.ciphertext[15..].iter().map(|byte| format!("{byte:02x}")).collect();
    token.fault(&format!("poison {sealed}"));
    assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
    assert!(unwrap(&keys, &other).is_ok());
    assert_eq!(token.starts(), before + 2, "each try cost one worker");
}

#[test]
fn a_module_that_crashes_at_every_start_is_away_until_it_does_not() {
    let (token, keys, wrapped) = forwarded();
    token.fault("crash");
    assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
    token.fault("");
    until("the successor", || unwrap(&keys, &wrapped).ok());
}

#[test]
fn a_hang_costs_its_caller_the_deadline_and_the_next_succeeds() {
    let (token, keys, wrapped) = forwarded();
    token.fault("hang-once");
    let KeyError::Away { reason } = error_of(unwrap(&keys, &wrapped)) else { panic!("not away") };
    assert!(reason.contains("did not answer within"), "{reason}");
    assert!(unwrap(&keys, &wrapped).is_ok());
}

#[test]
fn a_new_key_that_the_token_calls_extractable_is_destroyed() {
    let (token, keys, _) = forwarded();
    token.fault("leaky");
    let made = block_on(keys.create_master_key(&Alias::default_alias(), Version(2)));
    let Err(KeyError::Misconfigured(what)) = made else { panic!("not refused") };
    assert!(what.contains("is extractable; it was destroyed"), "{what}");
    token.fault("");
    create(&keys, 3);
}
