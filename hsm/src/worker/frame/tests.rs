//! Every frame, whole, cut short, and made of any bytes.

use super::*;
use crate::error::KeyError;
use crate::pkcs11::{Failure, Pattern, PinSource, RefusedPin, TokenSelector};
use crate::rung::Rung;
use proptest::prelude::*;

fn wrapped_sample() -> WrappedKey {
    WrappedKey { master: MasterKeyId::new([3; 16]), rung: Rung::AesGcm, ciphertext: vec![5; 63] }
}

fn requests() -> Vec<Request> {
    let alias = Alias::default_alias();
    let known = vec![KnownKey {
        alias: alias.clone(),
        version: Version(7),
        id: MasterKeyId::new([3; 16]),
        canary: wrapped_sample(),
        current: true,
        enabled: false,
        begun: Version(8),
    }];
    let open_token = |token, pin| OpenToken {
        module: "/m.so".into(),
        token,
        pin,
        serial: Some("s".into()),
        refused: Some(RefusedPin { salt: [1; 16], mark: 7 }),
        may_be_extractable: true,
        rungs: Rung::ALL.to_vec(),
        patterns: Some(vec![Pattern::KeyWrap]),
    };
    let open = |token, pin| Request::Open { token: open_token(token, pin), known: known.clone() };
    vec![
        open(TokenSelector::Label("a".into()), PinSource::File("/pin".into())),
        open(TokenSelector::Serial("b".into()), PinSource::Credential("pin".into())),
        open(TokenSelector::Slot(u64::MAX), PinSource::File("/pin".into())),
        Request::Know(known.clone()),
        Request::Probe,
        Request::Wrap { master: MasterKeyId::new([3; 16]), context: [4; 32], key: DataKey::from_bytes(&mut [6; 32]) },
        Request::Unwrap { wrapped: wrapped_sample(), context: [4; 32] },
        Request::Rewrap { master: MasterKeyId::new([4; 16]), wrapped: wrapped_sample(), context: [4; 32] },
        Request::Create { alias: alias.clone(), version: Version(8) },
        Request::List,
        Request::Adopt(MasterKeyId::new([3; 16])),
        Request::SetWraps { master: MasterKeyId::new([3; 16]), wraps: true },
        Request::Destroy { alias, version: Version(8), master: MasterKeyId::new([3; 16]) },
        Request::Doctor(
            open_token(TokenSelector::Slot(1), PinSource::File("/pin".into())),
            DoctorPlan { calls: 1, sessions: 2 },
        ),
        Request::Bench(BenchPlan { master: MasterKeyId::new([3; 16]), sessions: 1, milliseconds: 2 }),
        Request::MakeToken {
            module: "/m.so".into(),
            label: "l".into(),
            pin_file: "/p".into(),
            so_pin_file: "/s".into(),
        },
    ]
}

fn replies() -> Vec<Reply> {
    let id = MasterKeyId::new([3; 16]);
    let alias = Alias::default_alias();
    let failures = [
        Failure::Lost("l".into()),
        Failure::Stale("s".into()),
        Failure::PinRefused { what: "p".into(), refused: Some(RefusedPin { salt: [1; 16], mark: 7 }) },
        Failure::Call(KeyError::Superseded { alias: alias.clone() }),
        Failure::Call(KeyError::Disabled { id }),
        Failure::Call(KeyError::away("a")),
        Failure::Call(KeyError::Misconfigured("m".into())),
        Failure::Call(KeyError::NoSuchAlias { alias: alias.clone() }),
        Failure::Call(KeyError::UnknownMasterKey { id }),
        Failure::Call(KeyError::Refused),
    ];
    let mut all = vec![
        Reply::Opened(OpenedToken {
            serial: "s".into(),
            patterns: vec![Pattern::Oaep],
            notes: vec!["note".into(), String::new()],
        }),
        Reply::Noted(vec!["note".into()]),
        Reply::Json("{}".into()),
        Reply::Done,
        Reply::Opening,
        Reply::Wrapped(wrapped_sample()),
        Reply::Unwrapped(DataKey::from_bytes(&mut [6; 32])),
        Reply::Created(CreatedKey { id, version: Version(8), alias, canary: wrapped_sample() }),
    ];
    all.extend(failures.map(Reply::Failed));
    all
}

#[test]
fn every_frame_is_read_as_it_was_written_and_refused_when_cut_short() {
    for body in requests().iter().map(Request::encode) {
        assert!(Request::decode(&body).is_ok_and(|read| read.encode() == body), "request {}", body[0]);
        (0..body.len()).for_each(|len| assert!(Request::decode(&body[..len]).is_err(), "request {}", body[0]));
    }
    for body in replies().iter().map(Reply::encode) {
        assert!(Reply::decode(&body).is_ok_and(|read| read.encode() == body), "reply {}", body[0]);
        (0..body.len()).for_each(|len| assert!(Reply::decode(&body[..len]).is_err(), "reply {}", body[0]));
    }
}

#[test]
fn a_frame_with_a_key_never_outgrows_its_buffer() {
    for body in requests().iter().filter(|request| matches!(request, Request::Wrap { .. })).map(Request::encode) {
        assert!(body.len() <= CALL_LEN);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
        let _ = (Request::decode(&bytes).is_ok(), Reply::decode(&bytes).is_ok());
    }
}
