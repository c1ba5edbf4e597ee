//! What every token must keep, whatever rung it does: one promise, one function.

use crate::harness::{context, create, data_key, error_of, until, unwrap, wrap};
use crate::sites::{NARROW, NSS, Place, Site};
use crate::vectors;
use pollster::block_on;
use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};
use strongroom_hsm::{
    Alias, BenchOptions, DoctorPlan, KeyError, KnownKey, MasterKeyAdmin as _, MasterKeys as _, PinSource, Rung,
    Severity, Supervisor, Version, WrappedKey, bench,
};

pub(crate) struct Promise {
    pub(crate) name: &'static str,
    pub(crate) applies: fn(&Place) -> bool,
    pub(crate) check: fn(&Site),
}

macro_rules! promises {
    ($($applies:expr => $check:path),* $(,)?) => {
        &[$(Promise { name: stringify!($check), applies: $applies, check: $check }),*]
    };
}

const EVERY: fn(&Place) -> bool = |place| place.name != NARROW;
/// What has to do with how keys are made.
const ALSO_NARROW: fn(&Place) -> bool = |_| true;
const REAL: fn(&Place) -> bool = |place| place.is_real();

pub(crate) const PROMISES: &[Promise] = promises![
    ALSO_NARROW => a_wrapped_key_unwraps_to_itself_by_the_rung_of_this_token,
    EVERY => another_context_and_every_altered_byte_are_refused_and_the_worker_goes_on,
    EVERY => a_new_version_wraps_and_the_old_one_still_unwraps,
    EVERY => what_was_wrapped_unwraps_after_a_restart_and_under_another_order_of_rungs,
    EVERY => two_wraps_of_one_key_share_no_iv,
    EVERY => a_retired_version_unwraps_and_the_token_itself_wraps_nothing_under_it,
    EVERY => a_second_node_finds_the_versions_on_the_token,
    EVERY => a_later_version_on_the_token_stops_wraps_until_it_is_adopted,
    EVERY => a_later_version_that_is_destroyed_stops_wraps_no_longer,
    ALSO_NARROW => a_destroyed_version_is_gone_and_nothing_else_is,
    REAL => two_nodes_rotating_at_once_give_one_outcome,
    |place| place.is_real() || place.name == NARROW => the_doctor_finds_the_rung_and_no_way_out_and_leaves_no_key_behind,
    |place| place.name == NSS => the_doctor_sees_that_this_token_gives_keys_away,
    REAL => the_bench_measures_and_leaves_no_key_behind,
    REAL => another_token_under_the_same_label_is_refused_by_name,
    |place| place.rung == Rung::RsaOaep && EVERY(place) => a_ciphertext_without_the_tokens_signature_over_it_is_refused,
    REAL => a_wrong_pin_is_tried_once_however_often_the_server_restarts,
    |place| place.is_remote() => a_remote_token_that_is_killed_and_comes_back_needs_no_restart,
    |place| place.imports => vectors::wycheproofs_vectors_hold,
];

/// A pool of one, and a current master key.
fn with_key(site: &Site) -> (Supervisor, KnownKey) {
    let keys = site.start(Vec::new());
    let key = create(&keys, 1);
    keys.register(vec![key.clone()]);
    (keys, key)
}

fn a_wrapped_key_unwraps_to_itself_by_the_rung_of_this_token(site: &Site) {
    let (keys, master) = with_key(site);
    let key = data_key();
    let wrapped = wrap(&keys, &key).unwrap();
    assert_eq!((wrapped.master, wrapped.rung), (master.id, site.place.rung));
    let kept = WrappedKey::decode(&wrapped.encode()).unwrap();
    assert!(unwrap(&keys, &kept).unwrap().expose() == key.expose());
}

fn another_context_and_every_altered_byte_are_refused_and_the_worker_goes_on(site: &Site) {
    let (keys, _) = with_key(site);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    assert_eq!(error_of(block_on(keys.unwrap(&wrapped, &context(2)))), KeyError::Refused);
    let before = keys.worker_ids();
    // Each byte of a short one; a sample of the long ones, whose unwraps take milliseconds.
    for index in (0..wrapped.ciphertext.len()).step_by(1 + wrapped.ciphertext.len() / 60) {
        let mut altered = wrapped.clone();
        altered.ciphertext[index] ^= 1;
        assert_eq!(error_of(unwrap(&keys, &altered)), KeyError::Refused, "byte {index}");
    }
    for len in [0, 1, wrapped.ciphertext.len() - 1] {
        let shortened = WrappedKey { ciphertext: wrapped.ciphertext[..len].to_vec(), ..wrapped };
        assert_eq!(error_of(unwrap(&keys, &shortened)), KeyError::Refused, "{len} bytes");
    }
    for rung in Rung::ALL.into_iter().filter(|rung| *rung != wrapped.rung) {
        let mistaken = WrappedKey { rung, ..wrapped.clone() };
        assert_eq!(error_of(unwrap(&keys, &mistaken)), KeyError::Refused, "{rung}");
    }
    assert!(unwrap(&keys, &wrapped).is_ok());
    if !site.has_one_session() {
        assert_eq!(keys.worker_ids(), before, "nothing of this costs a worker");
    }
}

fn a_new_version_wraps_and_the_old_one_still_unwraps(site: &Site) {
    let (keys, first) = with_key(site);
    let old = wrap(&keys, &data_key()).unwrap();
    let second = create(&keys, 2);
    keys.register(vec![second.clone()]);
    let new = wrap(&keys, &data_key()).unwrap();
    assert_eq!((old.master, new.master), (first.id, second.id));
    assert!(unwrap(&keys, &old).is_ok() && unwrap(&keys, &new).is_ok());
    let moved = WrappedKey { master: second.id, ..old };
    assert_eq!(error_of(unwrap(&keys, &moved)), KeyError::Refused);
}

fn what_was_wrapped_unwraps_after_a_restart_and_under_another_order_of_rungs(site: &Site) {
    let (keys, master) = with_key(site);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    drop(keys);
    let mut config = site.config.clone();
    for rungs in [vec![Rung::AesGcm], vec![Rung::RsaOaep], vec![Rung::RsaOaep, Rung::AesGcm, Rung::AesKeyWrap]] {
        config.rungs = rungs.clone();
        let keys = Supervisor::start(site.command(), config.clone(), vec![master.clone()]).unwrap();
        assert!(unwrap(&keys, &wrapped).is_ok(), "{rungs:?}");
    }
}

fn two_wraps_of_one_key_share_no_iv(site: &Site) {
    let (keys, _) = with_key(site);
    let key = data_key();
    let wraps: Vec<WrappedKey> = (0..20).map(|_| wrap(&keys, &key).unwrap()).collect();
    let distinct: HashSet<Vec<u8>> = wraps.iter().map(|wrapped| wrapped.ciphertext.clone()).collect();
    // RFC 3394 has no IV, and needs none: data keys are random.
    let expected = if site.place.rung == Rung::AesKeyWrap { 1 } else { wraps.len() };
    assert_eq!(distinct.len(), expected);
}

fn a_retired_version_unwraps_and_the_token_itself_wraps_nothing_under_it(site: &Site) {
    let (keys, master) = with_key(site);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    block_on(keys.retire_master_key(&master.id)).unwrap();
    let refused = wrap(&keys, &data_key());
    assert_eq!(refused, Err(KeyError::Superseded { alias: Alias::default_alias() }), "as a node that has not heard");
    assert!(unwrap(&keys, &wrapped).is_ok());
    block_on(keys.reinstate_master_key(&master.id)).unwrap();
    assert!(wrap(&keys, &data_key()).is_ok());
}

fn a_second_node_finds_the_versions_on_the_token(site: &Site) {
    let (keys, first) = with_key(site);
    let second = create(&keys, 2);
    // A token of one session has room for one node at a time.
    drop(keys);
    let other = site.start(Vec::new());
    let found = block_on(other.list_master_keys()).unwrap();
    let names: Vec<_> = found.iter().map(|key| (key.id, key.version, key.alias.clone())).collect();
    let alias = Alias::default_alias();
    assert_eq!(names, [(first.id, Version(1), alias.clone()), (second.id, Version(2), alias)]);
    assert!(found.iter().all(|key| key.extractable == Some(false) && key.sensitive == Some(true)));
}

fn a_later_version_on_the_token_stops_wraps_until_it_is_adopted(site: &Site) {
    let (keys, first) = with_key(site);
    let second = create(&keys, 2);
    drop(keys);
    // A keyring from before the rotation.
    let keys = site.start(vec![first.clone()]);
    let alias = Alias::default_alias();
    assert_eq!(wrap(&keys, &data_key()), Err(KeyError::Superseded { alias }));
    let adopted = block_on(keys.adopt_master_key(&second.id)).unwrap();
    assert_eq!((adopted.id, adopted.version), (second.id, Version(2)));
    keys.register(vec![adopted.into_known(true)]);
    assert_eq!(wrap(&keys, &data_key()).unwrap().master, second.id);
}

fn a_later_version_that_is_destroyed_stops_wraps_no_longer(site: &Site) {
    let (keys, first) = with_key(site);
    let second = create(&keys, 2);
    drop(keys);
    let keys = site.start(vec![first.clone()]);
    let alias = Alias::default_alias();
    assert_eq!(wrap(&keys, &data_key()), Err(KeyError::Superseded { alias: alias.clone() }));
    block_on(keys.destroy_master_key(&alias, Version(2), &second.id)).unwrap();
    assert_eq!(until("a wrap", || wrap(&keys, &data_key()).ok()).master, first.id);
}

fn a_destroyed_version_is_gone_and_nothing_else_is(site: &Site) {
    let (keys, first) = with_key(site);
    let old = wrap(&keys, &data_key()).unwrap();
    let second = create(&keys, 2);
    keys.register(vec![second.clone()]);
    let alias = Alias::default_alias();
    block_on(keys.destroy_master_key(&alias, Version(7), &first.id)).unwrap();
    assert!(unwrap(&keys, &old).is_ok(), "id and label must both fit");
    block_on(keys.destroy_master_key(&alias, first.version, &first.id)).unwrap();
    assert_eq!(error_of(unwrap(&keys, &old)), KeyError::UnknownMasterKey { id: first.id });
    let left = block_on(keys.list_master_keys()).unwrap();
    assert_eq!(left.iter().map(|key| key.id).collect::<Vec<_>>(), [second.id]);
    assert!(wrap(&keys, &data_key()).is_ok());
    block_on(keys.destroy_master_key(&alias, first.version, &first.id)).unwrap();
}

/// Two supervisors stand for two nodes; a mutex around a version for the keyring's compare-and-set.
fn two_nodes_rotating_at_once_give_one_outcome(site: &Site) {
    let (one, first) = with_key(site);
    let two = site.start(vec![first.clone()]);
    let keyring = std::sync::Mutex::new(first.clone());
    let rotate = |node: &Supervisor, seen: &KnownKey| {
        let created = block_on(node.create_master_key(&first.alias, Version(seen.version.0 + 1))).unwrap();
        let mut current = keyring.lock().unwrap();
        if current.id == seen.id {
            *current = created.into_known(true);
        } else {
            block_on(node.destroy_master_key(&created.alias, created.version, &created.id)).unwrap();
        }
    };
    let rounds = match site.place.rung {
        Rung::AesGcm => 100,
        Rung::AesKeyWrap => 20,
        // Two key pairs each time.
        Rung::RsaOaep => 3,
    };
    for _ in 0..rounds {
        let seen = keyring.lock().unwrap().clone();
        std::thread::scope(|scope| {
            scope.spawn(|| rotate(&one, &seen));
            scope.spawn(|| rotate(&two, &seen));
        });
        let winner = keyring.lock().unwrap().clone();
        assert_eq!(winner.version.0, seen.version.0 + 1);
        for node in [&one, &two] {
            node.register(vec![winner.clone()]);
            assert_eq!(wrap(node, &data_key()).unwrap().master, winner.id);
        }
    }
    let left = block_on(one.list_master_keys()).unwrap();
    let versions: Vec<u32> = left.iter().map(|key| key.version.0).collect();
    assert_eq!(versions, (1..=rounds + 1).collect::<Vec<u32>>(), "each version once");
}

fn the_doctor_finds_the_rung_and_no_way_out_and_leaves_no_key_behind(site: &Site) {
    let (keys, _) = with_key(site);
    drop(keys);
    let plan = DoctorPlan { calls: 5, sessions: 8 };
    let report = Supervisor::doctor(&site.command(), &site.config, plan);
    let bad: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(report.rungs.iter().any(|rung| rung.works && rung.rung == site.place.rung), "{:#?}", report.rungs);
    assert_eq!(report.master_keys.len(), 1);
    assert!(report.findings.iter().all(|one| one.advice.is_some() || one.severity == Severity::Good));
    assert!(report.wrap.is_some() && report.sessions.is_some() && report.serial.is_some());
    assert_eq!(site.count_keys(&"5a".repeat(16)), "0", "of those that were made to be thrown away");
    // What is printed with --json is read back.
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("\\u0000"), "{text}");
    assert_eq!(serde_json::from_str::<strongroom_hsm::DoctorReport>(&text).unwrap(), report);
}

/// What attributes do not tell: this module wraps a key that is not extractable, and copies it into one that is.
fn the_doctor_sees_that_this_token_gives_keys_away(site: &Site) {
    let report = Supervisor::doctor(&site.command(), &site.config, DoctorPlan { calls: 5, sessions: 8 });
    let severity = |about: &str| report.findings.iter().find(|finding| finding.about == about).unwrap().severity;
    assert_eq!(severity("key reads back"), Severity::Good, "its attributes are as they should be");
    assert_eq!(severity("C_WrapKey"), Severity::Bad);
    assert_eq!(severity("C_CopyObject"), Severity::Bad);
}

fn the_bench_measures_and_leaves_no_key_behind(site: &Site) {
    let options = BenchOptions { workers: vec![1, 2], sessions: vec![1, 2], each: Duration::from_millis(100) };
    let report = bench(&site.command(), &site.config, &options).unwrap();
    assert_eq!(report.rung, site.place.rung);
    assert_eq!(report.through_workers.len(), 8);
    assert!(
        report.through_workers.iter().all(|row| row.rates.wraps_per_second > 0.0 && row.rates.unwraps_per_second > 0.0)
    );
    assert!(!report.in_process.is_empty());
    let keys = site.start(Vec::new());
    assert_eq!(block_on(keys.list_master_keys()).unwrap(), []);
}

fn another_token_under_the_same_label_is_refused_by_name(site: &Site) {
    let (keys, master) = with_key(site);
    let serial = keys.token_serial().unwrap();
    drop(keys);
    let mut config = site.config.clone();
    config.expected_serial = Some(serial.clone());
    let keys = Supervisor::start(site.command(), config.clone(), vec![master.clone()]).unwrap();
    assert!(wrap(&keys, &data_key()).is_ok());
    drop(keys);
    config.expected_serial = Some("another".to_owned());
    let keys = Supervisor::start(site.command(), config, vec![master]).unwrap();
    match until("an answer", || wrap(&keys, &data_key()).err()) {
        KeyError::Misconfigured(what) => assert!(what.contains(&serial) && what.contains("another"), "{what}"),
        other => panic!("{other}"),
    }
}

/// Three wrong PINs lock some tokens: ten restarts of a server must not.
fn a_wrong_pin_is_tried_once_however_often_the_server_restarts(site: &Site) {
    let (keys, master) = with_key(site);
    drop(keys);
    let PinSource::File(pin_file) = &site.config.pin else { panic!("a file") };
    let right = fs::read(pin_file).unwrap();
    let mut config = site.config.clone();
    config.refusal_file = Some(site.dir.path().join("refused-pin"));
    fs::write(pin_file, "99999999").unwrap();
    for restart in 0..10 {
        let keys = Supervisor::start(site.command(), config.clone(), vec![master.clone()]).unwrap();
        let says = if restart == 0 { "refuses the PIN" } else { "so it is not tried again" };
        match until("an answer", || wrap(&keys, &data_key()).err()) {
            KeyError::Misconfigured(what) => assert!(what.contains(says), "{what}"),
            other => panic!("{other}"),
        }
    }
    let kept = fs::read_to_string(site.dir.path().join("refused-pin")).unwrap();
    assert!(!kept.contains("99999999"));
    fs::write(pin_file, right).unwrap();
    let keys = Supervisor::start(site.command(), config, vec![master]).unwrap();
    assert!(wrap(&keys, &data_key()).is_ok(), "it is not locked, and the right PIN is tried");
    assert!(!site.dir.path().join("refused-pin").exists());
}

fn a_remote_token_that_is_killed_and_comes_back_needs_no_restart(site: &Site) {
    let (keys, _) = with_key(site);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    for _ in 0..3 {
        site.kill_server();
        let begun = Instant::now();
        assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
        assert!(begun.elapsed() < Duration::from_secs(20), "told long before the deadline of 60 s");
        site.start_server();
        until("the token", || unwrap(&keys, &wrapped).ok());
        assert!(wrap(&keys, &data_key()).is_ok());
    }
}

/// Whoever has the public key makes ciphertexts that decrypt; what the token signed is another.
fn a_ciphertext_without_the_tokens_signature_over_it_is_refused(site: &Site) {
    let (keys, _) = with_key(site);
    let [one, two] = [(); 2].map(|()| wrap(&keys, &data_key()).unwrap());
    let middle = 3 + usize::from(u16::from_be_bytes([one.ciphertext[1], one.ciphertext[2]]));
    let spliced = [&one.ciphertext[..middle], &two.ciphertext[middle..]].concat();
    let forged = WrappedKey { ciphertext: spliced, ..one.clone() };
    assert_eq!(error_of(unwrap(&keys, &forged)), KeyError::Refused);
    assert!(unwrap(&keys, &one).is_ok());
}
