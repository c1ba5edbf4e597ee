//! PINs, tokens and keys that are not as they should be, and what a worker may not hold.

use crate::harness::{LABEL, Token, create, data_key, example, run, until, wrap};
use pollster::block_on;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use strongroom_hsm::{
    Health, KeyError, KnownKey, MasterKeyId, MasterKeys as _, PinSource, TokenSelector, WorkerCommand, WrappedKey,
    make_softhsm_token,
};

fn check_misconfigured(token: &Token, known: Vec<KnownKey>, says: &str) {
    let keys = token.start(known);
    match until("an answer", || wrap(&keys, &data_key()).err()) {
        KeyError::Misconfigured(what) => assert!(what.contains(says), "{what}"),
        other => panic!("{other}"),
    }
    assert!(matches!(block_on(keys.health()), Health::Degraded { .. }));
}

#[test]
fn a_refused_pin_is_tried_once_and_again_only_when_its_file_changes() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.limits.workers = 3;
    let right = fs::read(&token.dev.pin_file).unwrap();
    fs::write(&token.dev.pin_file, "wrong\n").unwrap();
    let before = token.starts();
    let keys = token.start(vec![master]);
    for _ in 0..20 {
        assert!(matches!(wrap(&keys, &data_key()), Err(KeyError::Misconfigured(_))));
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(token.starts(), before + 1, "one worker, one login");
    fs::write(&token.dev.pin_file, [right, b"\n".to_vec()].concat()).unwrap();
    until("the login", || wrap(&keys, &data_key()).ok());
}

#[test]
fn a_pin_that_cannot_be_read_is_named_by_its_file() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    fs::write(&token.dev.pin_file, "\n").unwrap();
    check_misconfigured(&token, vec![master.clone()], "is empty");
    token.config.pin = PinSource::File(token.dir.path().join("nowhere"));
    check_misconfigured(&token, vec![master.clone()], "nowhere");
    token.config.pin = PinSource::Credential("../pin".to_owned());
    check_misconfigured(&token, vec![master], "no name of a systemd credential");
}

#[test]
fn a_systemd_credential_is_found_under_its_folder() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.environment.push(("CREDENTIALS_DIRECTORY".to_owned(), token.dir.path().join("token").into()));
    token.config.pin = PinSource::Credential("pin".to_owned());
    assert!(wrap(&token.start(vec![master]), &data_key()).is_ok());
}

#[test]
fn a_module_or_worker_that_is_not_there_is_named() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.module = "/nowhere/libpkcs11.so".into();
    check_misconfigured(&token, vec![master], "/nowhere/libpkcs11.so");
}

#[test]
fn an_extractable_key_is_refused() {
    let (token, keys, master) = Token::with_key();
    drop(keys);
    let id = MasterKeyId::new([0xee; 16]);
    token.tool("extractable", &id.to_string());
    let canary = WrappedKey { master: id, ..master.canary.clone() };
    check_misconfigured(&token, vec![KnownKey { id, canary, ..master }], "is extractable");
}

#[test]
fn two_keys_with_one_id_are_refused() {
    let (token, keys, master) = Token::with_key();
    drop(keys);
    token.tool("extractable", &master.id.to_string());
    check_misconfigured(&token, vec![master], "2 keys on the token have CKA_ID");
}

#[test]
fn a_token_is_found_by_serial_too() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.token = TokenSelector::Serial("0".to_owned());
    let keys = token.start(vec![master.clone()]);
    let KeyError::Away { reason } = until("an answer", || wrap(&keys, &data_key()).err()) else { panic!("not away") };
    let serial = reason.split("(serial ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    token.config.token = TokenSelector::Serial(serial.to_owned());
    assert!(wrap(&token.start(vec![master]), &data_key()).is_ok());
}

#[test]
fn neither_pin_nor_the_servers_environment_reach_the_worker_but_what_is_configured_does() {
    let mut token = Token::new();
    token.config.environment.push(("VENDOR_CONF".to_owned(), "/etc/vendor".into()));
    let keys = token.start(Vec::new());
    create(&keys, 1);
    let pin = fs::read(&token.dev.pin_file).unwrap();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the control: this process has variables of its own");
    for id in keys.worker_ids() {
        let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap();
        assert!(!contains(&arguments, &pin));
        match fs::read(format!("/proc/{id}/environ")) {
            Ok(environment) => {
                assert!(!contains(&environment, &pin));
                assert!(!contains(&environment, b"CARGO_MANIFEST_DIR"));
                assert!(
                    contains(&environment, b"SOFTHSM2_CONF=") && contains(&environment, b"VENDOR_CONF=/etc/vendor")
                );
            }
            // What an ordinary user sees of a process that is not dumpable.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
    }
}

#[test]
fn a_worker_leaves_no_core_dump() {
    let (_token, keys, _) = Token::with_key();
    for id in keys.worker_ids() {
        let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        // Soft, hard: the soft one alone is 0 on many machines, and could be raised.
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    }
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_token_that_exists_is_never_made_again() {
    let (token, keys, _) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    let command = WorkerCommand { program: example("worker"), args: Vec::new() };
    assert!(make_softhsm_token(&command, token.dir.path(), LABEL).unwrap() == token.dev);
    assert!(crate::harness::unwrap(&keys, &wrapped).is_ok());
}

#[test]
fn a_half_made_token_is_cleared_away_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let making = dir.path().join("token.making-0123456789abcdef");
    fs::create_dir_all(making.join("tokens/half")).unwrap();
    fs::write(making.join("so-pin"), "left behind").unwrap();
    let command = WorkerCommand { program: example("worker"), args: Vec::new() };
    make_softhsm_token(&command, dir.path(), LABEL).unwrap();
    assert!(!making.exists());
    assert!(dir.path().join("token/softhsm2.conf").exists());
}

#[test]
fn the_pins_of_a_made_token_are_for_its_owner_only() {
    let token = Token::new();
    let folder = token.dir.path().join("token");
    for name in ["pin", "so-pin"] {
        let file = folder.join(name);
        assert_eq!(fs::metadata(&file).unwrap().permissions(), Permissions::from_mode(0o100_600), "{name}");
        assert_eq!(fs::read(&file).unwrap().len(), 32, "{name}");
    }
}

#[test]
fn a_token_whose_folder_has_moved_still_works() {
    let (mut token, keys, master) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    drop(keys);
    let elsewhere = token.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(token.dir.path().join("token"), elsewhere.join("token")).unwrap();
    let moved = strongroom_hsm::DevToken::find(&elsewhere).unwrap().unwrap();
    token.config = moved.module_config(LABEL, token.config.aliases.clone());
    let keys = token.start(vec![master]);
    assert!(crate::harness::unwrap(&keys, &wrapped).is_ok());
    moved.sync().unwrap();
}

#[test]
fn the_second_of_two_like_labels_makes_the_token_ambiguous() {
    let (token, keys, master) = Token::with_key();
    drop(keys);
    let mut util = Command::new("softhsm2-util");
    util.args(["--init-token", "--free", "--label", LABEL, "--so-pin", "12345678", "--pin", "12345678"]);
    run(util.env("SOFTHSM2_CONF", &token.dev.config_file));
    let keys = token.start(vec![master]);
    let Err(KeyError::Misconfigured(what)) = wrap(&keys, &data_key()) else { panic!("not refused") };
    assert_eq!(what.matches("(serial ").count(), 2, "{what}");
}
