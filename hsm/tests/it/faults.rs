//! A module that goes wrong in the middle of a call.

use crate::harness::{Token, context, create, data_key, error_of, example, until, unwrap, wrap};
use pollster::block_on;
use std::pin::Pin;
use std::task::{self, Waker};
use std::time::Duration;
use strongroom_hsm::{
    Alias, DoctorPlan, KeyError, MasterKeyAdmin as _, MasterKeys as _, Severity, Supervisor, Version, WorkerCommand,
    WrappedKey,
};

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
    token.fault(&format!("poison {}", sealed(&wrapped)));
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

/// As the token sees it: behind the rung, the IV and their lengths.
fn sealed(wrapped: &WrappedKey) -> String {
    wrapped.ciphertext[15..].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Asks without waiting for the answer; whether it is there already.
fn ask<T>(call: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>) -> bool {
    call.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_ready()
}

/// Unwraps all of them at once; which fail.
fn failing(keys: &Supervisor, all: &[&WrappedKey]) -> Vec<usize> {
    let context = context(1);
    let mut calls: Vec<_> = all.iter().map(|wrapped| keys.unwrap(wrapped, &context)).collect();
    // All are asked for before any is waited for, so that several go to the worker together.
    for call in &mut calls {
        ask(call);
    }
    let answers: Vec<_> = calls.into_iter().map(block_on).collect();
    (0..answers.len()).filter(|at| answers[*at].is_err()).collect()
}

#[test]
fn a_call_that_hangs_or_crashes_costs_those_in_flight_with_it_nothing() {
    let (token, keys, bad) = forwarded();
    let good = wrap(&keys, &data_key()).unwrap();
    for fault in ["hang", "poison"] {
        token.fault(&format!("{fault} {}", sealed(&bad)));
        assert_eq!(failing(&keys, &[&[&good; 7][..], &[&bad], &[&good; 7]].concat()), [7], "{fault}");
    }
}

#[test]
fn a_request_waits_behind_no_more_than_a_rewrap_or_two_of_a_slow_token() {
    let (token, keys, wrapped) = forwarded();
    token.fault("slow 50");
    unwrap(&keys, &wrapped).unwrap();
    let (alias, context) = (Alias::default_alias(), context(1));
    let mut rewraps: Vec<_> = (0..8).map(|_| keys.rewrap(&alias, &wrapped, &context)).collect();
    for rewrap in &mut rewraps {
        ask(rewrap);
    }
    unwrap(&keys, &wrapped).unwrap();
    let mut left: Vec<_> = rewraps.into_iter().filter_map(|mut call| (!ask(&mut call)).then_some(call)).collect();
    assert!(left.len() >= 6, "{} of 8 went before it", 8 - left.len());
    token.fault("");
    assert!(left.drain(..).all(|call| block_on(call).is_ok()));
}

#[test]
fn a_slow_token_may_take_longer_to_open_than_one_that_does_not_answer() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.forward();
    token.config.limits.open_deadline = Duration::from_millis(600);
    token.fault("slow 100");
    let keys = token.start(vec![master]);
    let wrapped = until("the slow token", || wrap(&keys, &data_key()).ok());
    assert!(unwrap(&keys, &wrapped).is_ok());
    assert_eq!(token.starts(), 2, "the first pool's and this pool's");
}

#[test]
fn rewraps_go_on_however_many_requests_there_are() {
    let (token, keys, wrapped) = forwarded();
    let (alias, context) = (Alias::default_alias(), context(1));
    token.fault("slow 5");
    unwrap(&keys, &wrapped).unwrap();
    let mut requests: Vec<_> = (0..100).map(|_| keys.unwrap(&wrapped, &context)).collect();
    let mut rewrap = keys.rewrap(&alias, &wrapped, &context);
    for request in &mut requests {
        ask(request);
    }
    ask(&mut rewrap);
    assert!(block_on(rewrap).is_ok());
    assert!(requests.last_mut().is_some_and(|request| !ask(request)), "all requests went before it");
    token.fault("");
    assert!(requests.into_iter().all(|request| block_on(request).is_ok()));
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

#[test]
fn a_module_with_room_for_few_keys_makes_and_serves_many() {
    let (token, keys, _) = forwarded();
    // Eight canaries are opened at the start, and a key is two halves.
    token.fault("room 10");
    let mut wrapped = Vec::new();
    for version in 2..12 {
        let key = create(&keys, version);
        keys.register(vec![key.clone()]);
        wrapped.push(wrap(&keys, &data_key()).unwrap());
        assert_eq!(wrapped.last().unwrap().master, key.id);
    }
    // Whatever the module has room left for when a call comes.
    for count in 1..=wrapped.len() {
        assert!(wrapped.iter().take(count).all(|wrapped| unwrap(&keys, wrapped).is_ok()), "{count}");
        assert!(wrap(&keys, &data_key()).is_ok(), "{count}");
    }
}

/// Every value that the standard gives these calls, and one of a vendor's.
fn ckr_values() -> Vec<u64> {
    let standard = [
        0x01, 0x02, 0x03, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x30, 0x31, 0x32,
        0x40, 0x41, 0x50, 0x51, 0x54, 0x60, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x70, 0x71, 0x82,
        0x90, 0x91, 0xb0, 0xb1, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xc0, 0xd0, 0xd1, 0xe0, 0xe1, 0xe2, 0xf0, 0x100,
        0x101, 0x150, 0x190, 0x191, 0x1b9, 0x200,
    ];
    standard.into_iter().chain([0x8000_0001]).collect()
}

const CALLS: [&str; 4] = ["C_DecryptInit", "C_Decrypt", "C_FindObjectsInit", "C_OpenSession"];

#[test]
fn any_error_that_comes_once_costs_no_caller_anything() {
    let (token, keys, wrapped) = forwarded();
    for call in CALLS {
        for value in ckr_values() {
            token.fault(&format!("error-once {call} {value}"));
            assert!(unwrap(&keys, &wrapped).is_ok(), "{call} {value:#x}");
        }
    }
}

#[test]
fn any_error_that_comes_for_ever_is_told_and_over_when_it_is_over() {
    let (token, keys, wrapped) = forwarded();
    for call in CALLS {
        for value in ckr_values().into_iter().step_by(7) {
            token.fault(&format!("error {call} {value}"));
            // A session that is open, and a key that is found, need neither again: those calls may go on.
            let told = unwrap(&keys, &wrapped).err();
            let expected = matches!(told, Some(KeyError::Away { .. } | KeyError::Misconfigured(_)));
            assert!(
                expected || (told.is_none() && call != "C_Decrypt" && call != "C_DecryptInit"),
                "{call} {value:#x}"
            );
            token.fault("");
            until("the token", || unwrap(&keys, &wrapped).ok());
        }
    }
}

#[test]
fn a_token_that_is_lost_is_away_at_once_and_back_within_seconds() {
    let (token, keys, wrapped) = forwarded();
    token.fault("lost");
    assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
    // The circuit is open: nobody waits for the module any more.
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "each is answered at once, not after the deadline");
    token.fault("");
    until("the token", || unwrap(&keys, &wrapped).ok());
}

#[test]
fn a_token_that_makes_one_iv_for_ever_wraps_nothing() {
    let (mut token, keys, _) = forwarded();
    drop(keys);
    token.config.rungs = vec![strongroom_hsm::Rung::AesGcm];
    token.fault("iv fixed");
    let keys = token.start(Vec::new());
    let made = block_on(keys.create_master_key(&Alias::default_alias(), Version(2)));
    let Err(KeyError::Misconfigured(what)) = made else { panic!("not refused") };
    assert!(what.contains("none of the rungs"), "{what}");
}

#[test]
fn the_doctor_says_so_where_a_key_made_not_to_leave_could() {
    let (token, keys, _) = forwarded();
    drop(keys);
    token.fault("leaky");
    let command = WorkerCommand { program: example("worker"), args: Vec::new() };
    let report = Supervisor::doctor(&command, &token.config, DoctorPlan { calls: 1, sessions: 2 });
    let about = |about: &str| report.findings.iter().find(|finding| finding.about == about).unwrap();
    assert_eq!(about("key reads back").severity, Severity::Bad);
    assert_eq!(about("key becomes extractable").severity, Severity::Bad);
    assert_eq!(about("C_CopyObject").severity, Severity::Bad);
    assert!(report.findings.iter().all(|one| one.severity != Severity::Bad || one.advice.is_some()));
}

#[test]
fn the_doctor_outlives_a_module_that_hangs_or_crashes() {
    let (token, keys, _) = forwarded();
    drop(keys);
    token.fault("crash");
    let command = WorkerCommand { program: example("worker"), args: Vec::new() };
    let report = Supervisor::doctor(&command, &token.config, DoctorPlan::default());
    assert_eq!(report.worst(), Severity::Bad);
}

#[test]
fn extractable_keys_are_used_only_where_a_flag_allows_it_by_name() {
    let (mut token, keys, _) = forwarded();
    let master = create(&keys, 2);
    drop(keys);
    token.fault("leaky");
    let keys = token.start(vec![master.clone()]);
    let refused = until("an answer", || wrap(&keys, &data_key()).err());
    assert!(matches!(refused, KeyError::Misconfigured(what) if what.contains("is extractable")));
    drop(keys);
    token.config.allow_extractable_master_keys = true;
    let keys = token.start(vec![master]);
    assert!(wrap(&keys, &data_key()).is_ok());
}
