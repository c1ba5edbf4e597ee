//! Workers that die or hang, tokens that go away: what callers see, and that all comes back by itself.

use crate::harness::{LABEL, Token, create, data_key, error_of, example, until, unwrap, wrap};
use pollster::block_on;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;
use strongroom_hsm::{Health, KeyError, MasterKeyAdmin as _, MasterKeys as _, Supervisor};

fn signal(keys: &Supervisor, signal: Signal) {
    for id in keys.worker_ids() {
        kill_process(pid(id), signal).unwrap();
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

#[test]
fn a_killed_worker_costs_no_caller_anything() {
    let (token, keys, _) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    for _ in 0..5 {
        signal(&keys, Signal::KILL);
        assert!(unwrap(&keys, &wrapped).is_ok());
        assert!(wrap(&keys, &data_key()).is_ok());
    }
    assert_eq!(token.starts(), 6);
}

#[test]
fn the_successor_of_an_idle_worker_starts_before_anyone_calls() {
    let (_token, keys, _) = Token::with_key();
    let before = keys.worker_ids();
    signal(&keys, Signal::KILL);
    until("the successor", || {
        let now = keys.worker_ids();
        (now.len() == 1 && now != before).then_some(())
    });
}

#[test]
fn a_hung_module_costs_its_caller_the_deadline_and_nobody_else() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.limits.deadline = Duration::from_millis(500);
    let keys = token.start(vec![master]);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    signal(&keys, Signal::STOP);
    let results: Vec<_> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| unwrap(&keys, &wrapped).map(drop))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let away = results.iter().filter(|result| matches!(result, Err(KeyError::Away { .. }))).count();
    assert_eq!((away, results.iter().filter(|result| result.is_ok()).count()), (1, 3), "{results:?}");
    assert!(wrap(&keys, &data_key()).is_ok());
}

#[test]
fn a_token_that_goes_away_and_comes_back_needs_no_restart() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.limits.probe_every = Duration::from_millis(20);
    let keys = token.start(vec![master]);
    let wrapped = wrap(&keys, &data_key()).unwrap();
    assert_eq!(block_on(keys.health()), Health::Ready);
    let hidden = token.dir.path().join("hidden");
    std::fs::rename(token.tokens(), &hidden).unwrap();
    assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
    assert!(matches!(wrap(&keys, &data_key()), Err(KeyError::Away { .. })));
    until("degraded", || matches!(block_on(keys.health()), Health::Degraded { .. }).then_some(()));
    std::fs::rename(&hidden, token.tokens()).unwrap();
    until("the token", || unwrap(&keys, &wrapped).ok());
    assert_eq!(block_on(keys.health()), Health::Ready);
}

#[test]
fn an_idle_pool_notices_a_lost_token_by_itself() {
    let (mut token, keys, master) = Token::with_key();
    drop(keys);
    token.config.limits.probe_every = Duration::from_millis(20);
    let keys = token.start(vec![master]);
    until("ready", || (block_on(keys.health()) == Health::Ready).then_some(()));
    std::fs::rename(token.tokens(), token.dir.path().join("hidden")).unwrap();
    until("degraded", || matches!(block_on(keys.health()), Health::Degraded { .. }).then_some(()));
}

#[test]
fn a_start_while_the_token_is_away_succeeds_later() {
    let (token, keys, master) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    drop(keys);
    let hidden = token.dir.path().join("hidden");
    std::fs::rename(token.tokens(), &hidden).unwrap();
    let keys = token.start(vec![master]);
    assert!(matches!(error_of(unwrap(&keys, &wrapped)), KeyError::Away { .. }));
    std::fs::rename(&hidden, token.tokens()).unwrap();
    until("the token", || unwrap(&keys, &wrapped).ok());
}

#[test]
fn a_version_that_is_gone_is_told_from_an_hsm_that_is_away() {
    let (token, keys, first) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    let second = create(&keys, 2);
    keys.register(vec![second.clone()]);
    token.tool("destroy", &first.id.to_string());
    assert_eq!(error_of(unwrap(&keys, &wrapped)), KeyError::UnknownMasterKey { id: first.id });
    assert!(wrap(&keys, &data_key()).is_ok());
    token.tool("destroy", &second.id.to_string());
    assert!(matches!(wrap(&keys, &data_key()), Err(KeyError::Away { .. })));
}

#[test]
fn under_a_damaged_canary_keys_unwrap_but_nothing_is_wrapped() {
    let (token, keys, mut master) = Token::with_key();
    let wrapped = wrap(&keys, &data_key()).unwrap();
    drop(keys);
    master.canary.ciphertext[20] ^= 1;
    let keys = token.start(vec![master]);
    assert!(unwrap(&keys, &wrapped).is_ok());
    assert!(matches!(wrap(&keys, &data_key()), Err(KeyError::Misconfigured(_))));
}

#[test]
fn a_worker_ends_when_its_socket_does() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut worker = Command::new(example("worker")).stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
    drop(ours);
    assert!(worker.wait().unwrap().success());
}

/// Starts a server in small, waits for what `seen` looks for, kills it, and waits until its workers are gone.
fn check_workers_end_with_the_server(token: &Token, seen: impl FnOnce(BufReader<ChildStdout>)) {
    let mut hold = Command::new(example("hold"));
    hold.arg(token.dir.path()).arg(LABEL).arg(&token.config.module).arg(example("worker"));
    hold.arg("--log").arg(token.log()).stdout(Stdio::piped());
    let mut server = hold.spawn().unwrap();
    seen(BufReader::new(server.stdout.take().unwrap()));
    let ids = token.started();
    assert!(!ids.is_empty());
    server.kill().unwrap();
    server.wait().unwrap();
    for id in ids {
        until("the worker's end", || is_gone(id).then_some(()));
    }
}

#[test]
fn idle_workers_end_when_their_server_is_killed() {
    check_workers_end_with_the_server(&Token::new(), |mut out| {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    });
}

#[test]
fn a_worker_that_hangs_in_its_module_ends_when_its_server_is_killed() {
    let mut token = Token::new();
    token.forward();
    token.fault("hang-login");
    check_workers_end_with_the_server(&token, |_| {
        let sign = token.dev.config_file.with_file_name("hanging");
        until("the hang", || sign.exists().then_some(()));
    });
}

/// Ended, even where nobody reaps orphans.
fn is_gone(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    test_kill_process(pid(id)).is_err() || stat.contains(") Z ")
}
