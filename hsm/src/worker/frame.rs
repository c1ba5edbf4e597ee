//! The frames between server and worker: one request and one reply for each wrap or unwrap.
//!
//! A frame is its length (4 bytes, at most [`FRAME_LEN_MAX`]) and its body: kind (1 byte), then fields. Replies come in
//! the order of requests. Bodies carry data keys, so every buffer is wiped; none carries a PIN.

use crate::doctor::{BenchPlan, DoctorPlan};
use crate::error::KeyError;
use crate::pkcs11::{Failure, OpenToken, OpenedToken, Pattern, PinSource, RefusedPin, TokenSelector};
use crate::provider::{Alias, CreatedKey, KnownKey, MasterKeyId, Version};
use crate::rung::Rung;
use crate::wire::{Malformed, Reader, Writer};
use crate::wrapped::WrappedKey;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use strongroom_engine::DataKey;
use zeroize::Zeroizing;

/// The longest frame, in bytes: some thousand known keys.
const FRAME_LEN_MAX: usize = 1 << 20;

/// Holds a wrap or an unwrap without growing.
const CALL_LEN: usize = 512;

/// What the server asks.
pub(crate) enum Request {
    /// First frame: load the module and log in.
    Open {
        token: OpenToken,
        known: Vec<KnownKey>,
    },
    /// More, or other, known keys.
    Know(Vec<KnownKey>),
    /// Open a canary.
    Probe,
    Wrap {
        master: MasterKeyId,
        context: [u8; 32],
        key: DataKey,
    },
    Unwrap {
        wrapped: WrappedKey,
        context: [u8; 32],
    },
    Create {
        alias: Alias,
        version: Version,
    },
    /// Every master key on the token.
    List,
    Adopt(MasterKeyId),
    /// Take CKA_ENCRYPT from a key, or give it back.
    SetWraps {
        master: MasterKeyId,
        wraps: bool,
    },
    Destroy {
        alias: Alias,
        version: Version,
        master: MasterKeyId,
    },
    /// Only frame: what this module and token are and do.
    Doctor(OpenToken, DoctorPlan),
    /// How fast the module is in this process, without frames.
    Bench(BenchPlan),
    /// Only frame: make a token for development.
    MakeToken {
        module: PathBuf,
        label: String,
        pin_file: PathBuf,
        so_pin_file: PathBuf,
    },
}

/// What the worker answers.
pub(crate) enum Reply {
    /// To `Open`: ready.
    Opened(OpenedToken),
    /// To `Know`: what an administrator should read.
    Noted(Vec<String>),
    /// A list or a report, as JSON.
    Json(String),
    Done,
    Wrapped(WrappedKey),
    Unwrapped(DataKey),
    Created(CreatedKey),
    Failed(Failure),
}

impl Request {
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::with_capacity(CALL_LEN);
        match self {
            Self::Open { token, known } => {
                out.u8(1);
                put_open(&mut out, token);
                put_known(&mut out, known);
            }
            Self::Know(known) => {
                out.u8(2);
                put_known(&mut out, known);
            }
            Self::Probe => out.u8(3),
            Self::Wrap { master, context, key } => {
                out.u8(4);
                out.array(master.as_bytes());
                out.array(context);
                out.array(key.expose());
            }
            Self::Unwrap { wrapped, context } => {
                out.u8(5);
                out.bytes(&wrapped.encode());
                out.array(context);
            }
            Self::Create { alias, version } => {
                out.u8(6);
                out.bytes(alias.as_str().as_bytes());
                out.u32(version.0);
            }
            Self::MakeToken { module, label, pin_file, so_pin_file } => {
                out.u8(7);
                put_path(&mut out, module);
                out.bytes(label.as_bytes());
                put_path(&mut out, pin_file);
                put_path(&mut out, so_pin_file);
            }
            Self::List => out.u8(8),
            Self::Adopt(master) => {
                out.u8(9);
                out.array(master.as_bytes());
            }
            Self::SetWraps { master, wraps } => {
                out.u8(10);
                out.array(master.as_bytes());
                out.u8((*wraps).into());
            }
            Self::Destroy { alias, version, master } => {
                out.u8(11);
                out.bytes(alias.as_str().as_bytes());
                out.u32(version.0);
                out.array(master.as_bytes());
            }
            Self::Doctor(token, plan) => {
                out.u8(12);
                put_open(&mut out, token);
                out.u32(plan.calls);
                out.u32(plan.sessions);
            }
            Self::Bench(plan) => {
                out.u8(13);
                out.array(plan.master.as_bytes());
                out.u32(plan.sessions);
                out.u32(plan.milliseconds);
            }
        }
        out.finish()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(body);
        let request = match input.u8()? {
            1 => Self::Open { token: open(&mut input)?, known: known(&mut input)? },
            2 => Self::Know(known(&mut input)?),
            3 => Self::Probe,
            4 => Self::Wrap {
                master: MasterKeyId::new(input.array()?),
                context: input.array()?,
                key: data_key(&mut input)?,
            },
            5 => Self::Unwrap { wrapped: wrapped(&mut input)?, context: input.array()? },
            6 => Self::Create { alias: alias(&mut input)?, version: Version(input.u32()?) },
            7 => Self::MakeToken {
                module: path(&mut input)?,
                label: input.text()?,
                pin_file: path(&mut input)?,
                so_pin_file: path(&mut input)?,
            },
            8 => Self::List,
            9 => Self::Adopt(MasterKeyId::new(input.array()?)),
            10 => Self::SetWraps { master: MasterKeyId::new(input.array()?), wraps: flag(&mut input)? },
            11 => Self::Destroy {
                alias: alias(&mut input)?,
                version: Version(input.u32()?),
                master: MasterKeyId::new(input.array()?),
            },
            12 => Self::Doctor(open(&mut input)?, DoctorPlan { calls: input.u32()?, sessions: input.u32()? }),
            13 => Self::Bench(BenchPlan {
                master: MasterKeyId::new(input.array()?),
                sessions: input.u32()?,
                milliseconds: input.u32()?,
            }),
            _ => return Err(Malformed),
        };
        input.finish()?;
        Ok(request)
    }

    /// Whether it may take far longer than a wrap: a device that makes an RSA key pair takes its time.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Bench(_))
    }

    /// Whether asking twice is as good as once. A key made twice is one key too many on the token.
    pub(crate) fn may_repeat(&self) -> bool {
        !matches!(self, Self::Create { .. } | Self::MakeToken { .. } | Self::Doctor(..) | Self::Bench(_))
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::with_capacity(CALL_LEN);
        match self {
            Self::Opened(opened) => {
                out.u8(1);
                out.bytes(opened.serial.as_bytes());
                put_patterns(&mut out, &opened.patterns);
                put_notes(&mut out, &opened.notes);
            }
            Self::Noted(notes) => {
                out.u8(7);
                put_notes(&mut out, notes);
            }
            Self::Json(text) => {
                out.u8(8);
                out.bytes(text.as_bytes());
            }
            Self::Done => out.u8(2),
            Self::Wrapped(wrapped) => {
                out.u8(3);
                out.bytes(&wrapped.encode());
            }
            Self::Unwrapped(key) => {
                out.u8(4);
                out.array(key.expose());
            }
            Self::Created(created) => {
                out.u8(5);
                out.array(created.id.as_bytes());
                out.u32(created.version.0);
                out.bytes(created.alias.as_str().as_bytes());
                out.bytes(&created.canary.encode());
            }
            Self::Failed(failure) => {
                out.u8(6);
                put_failure(&mut out, failure);
            }
        }
        out.finish()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(body);
        let reply = match input.u8()? {
            1 => Self::Opened(OpenedToken {
                serial: input.text()?,
                patterns: patterns(&mut input)?,
                notes: notes(&mut input)?,
            }),
            2 => Self::Done,
            3 => Self::Wrapped(wrapped(&mut input)?),
            4 => Self::Unwrapped(data_key(&mut input)?),
            5 => Self::Created(CreatedKey {
                id: MasterKeyId::new(input.array()?),
                version: Version(input.u32()?),
                alias: alias(&mut input)?,
                canary: wrapped(&mut input)?,
            }),
            6 => Self::Failed(failure(&mut input)?),
            7 => Self::Noted(notes(&mut input)?),
            8 => Self::Json(input.text()?),
            _ => return Err(Malformed),
        };
        input.finish()?;
        Ok(reply)
    }
}

/// Several frames in one write.
pub(super) fn send(socket: &mut impl Write, bodies: &[Zeroizing<Vec<u8>>]) -> io::Result<()> {
    let total = bodies.iter().map(|body| 4 + body.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(total));
    for body in bodies {
        let len = u32::try_from(body.len()).ok().filter(|len| *len as usize <= FRAME_LEN_MAX);
        out.extend_from_slice(&len.ok_or(io::ErrorKind::InvalidInput)?.to_be_bytes());
        out.extend_from_slice(body);
    }
    socket.write_all(&out)
}

/// The next body; nothing at the end of the stream, if that is where a frame would begin.
pub(super) fn receive(socket: &mut impl Read) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut len = [0; 4];
    match socket.read(&mut len)? {
        0 => return Ok(None),
        count => socket.read_exact(&mut len[count..])?,
    }
    let len = u32::from_be_bytes(len) as usize;
    if len > FRAME_LEN_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = Zeroizing::new(vec![0; len]);
    socket.read_exact(&mut body)?;
    Ok(Some(body))
}

fn put_open(out: &mut Writer, wanted: &OpenToken) {
    put_path(out, &wanted.module);
    put_token(out, &wanted.token);
    put_pin_source(out, &wanted.pin);
    put_optional(out, wanted.serial.as_ref(), |out, serial| out.bytes(serial.as_bytes()));
    put_optional(out, wanted.refused.as_ref(), put_refused);
    out.u8(wanted.may_be_extractable.into());
    out.bytes(&wanted.rungs.iter().map(|rung| *rung as u8).collect::<Vec<u8>>());
    put_optional(out, wanted.patterns.as_ref(), |out, patterns| put_patterns(out, patterns));
}

fn open(input: &mut Reader<'_>) -> Result<OpenToken, Malformed> {
    Ok(OpenToken {
        module: path(input)?,
        token: token(input)?,
        pin: pin_source(input)?,
        serial: optional(input, Reader::text)?,
        refused: optional(input, refused)?,
        may_be_extractable: flag(input)?,
        rungs: input
            .bytes()?
            .iter()
            .map(|number| Rung::try_from(*number).map_err(|_| Malformed))
            .collect::<Result<_, _>>()?,
        patterns: optional(input, patterns)?,
    })
}

fn put_optional<T>(out: &mut Writer, value: Option<&T>, put: impl FnOnce(&mut Writer, &T)) {
    out.u8(value.is_some().into());
    if let Some(value) = value {
        put(out, value);
    }
}

fn optional<'a, T>(
    input: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if flag(input)? { read(input).map(Some) } else { Ok(None) }
}

fn flag(input: &mut Reader<'_>) -> Result<bool, Malformed> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed),
    }
}

fn put_refused(out: &mut Writer, refused: &RefusedPin) {
    out.array(&refused.salt);
    out.array(&refused.mark.to_be_bytes());
}

fn refused(input: &mut Reader<'_>) -> Result<RefusedPin, Malformed> {
    Ok(RefusedPin { salt: input.array()?, mark: u16::from_be_bytes(input.array()?) })
}

fn put_patterns(out: &mut Writer, patterns: &[Pattern]) {
    out.bytes(&patterns.iter().map(|pattern| pattern.number()).collect::<Vec<u8>>());
}

fn patterns(input: &mut Reader<'_>) -> Result<Vec<Pattern>, Malformed> {
    input.bytes()?.iter().map(|number| Pattern::by_number(*number).ok_or(Malformed)).collect()
}

fn put_notes(out: &mut Writer, notes: &[String]) {
    out.u32(u32::try_from(notes.len()).unwrap_or(u32::MAX));
    notes.iter().for_each(|note| out.bytes(note.as_bytes()));
}

fn notes(input: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let count = input.u32()?;
    (0..count).map(|_| input.text()).collect()
}

fn put_path(out: &mut Writer, path: &Path) {
    out.bytes(path.as_os_str().as_bytes());
}

fn path(input: &mut Reader<'_>) -> Result<PathBuf, Malformed> {
    Ok(OsString::from_vec(input.bytes()?.to_vec()).into())
}

fn put_token(out: &mut Writer, token: &TokenSelector) {
    match token {
        TokenSelector::Label(label) => {
            out.u8(1);
            out.bytes(label.as_bytes());
        }
        TokenSelector::Serial(serial) => {
            out.u8(2);
            out.bytes(serial.as_bytes());
        }
        TokenSelector::Slot(slot) => {
            out.u8(3);
            out.u64(*slot);
        }
    }
}

fn token(input: &mut Reader<'_>) -> Result<TokenSelector, Malformed> {
    match input.u8()? {
        1 => Ok(TokenSelector::Label(input.text()?)),
        2 => Ok(TokenSelector::Serial(input.text()?)),
        3 => Ok(TokenSelector::Slot(input.u64()?)),
        _ => Err(Malformed),
    }
}

fn put_pin_source(out: &mut Writer, pin: &PinSource) {
    match pin {
        PinSource::File(path) => {
            out.u8(1);
            put_path(out, path);
        }
        PinSource::Credential(name) => {
            out.u8(2);
            out.bytes(name.as_bytes());
        }
    }
}

fn pin_source(input: &mut Reader<'_>) -> Result<PinSource, Malformed> {
    match input.u8()? {
        1 => Ok(PinSource::File(path(input)?)),
        2 => Ok(PinSource::Credential(input.text()?)),
        _ => Err(Malformed),
    }
}

fn put_known(out: &mut Writer, known: &[KnownKey]) {
    out.u32(u32::try_from(known.len()).unwrap_or(u32::MAX));
    for key in known {
        out.bytes(key.alias.as_str().as_bytes());
        out.u32(key.version.0);
        out.array(key.id.as_bytes());
        out.bytes(&key.canary.encode());
        out.u8(key.current.into());
        out.u8(key.enabled.into());
    }
}

fn known(input: &mut Reader<'_>) -> Result<Vec<KnownKey>, Malformed> {
    let count = input.u32()?;
    let mut one = || {
        Ok(KnownKey {
            alias: alias(input)?,
            version: Version(input.u32()?),
            id: MasterKeyId::new(input.array()?),
            canary: wrapped(input)?,
            current: flag(input)?,
            enabled: flag(input)?,
        })
    };
    (0..count).map(|_| one()).collect()
}

fn alias(input: &mut Reader<'_>) -> Result<Alias, Malformed> {
    Alias::new(input.text()?).map_err(|_| Malformed)
}

fn wrapped(input: &mut Reader<'_>) -> Result<WrappedKey, Malformed> {
    WrappedKey::decode(input.bytes()?).map_err(|_| Malformed)
}

fn data_key(input: &mut Reader<'_>) -> Result<DataKey, Malformed> {
    Ok(DataKey::from_bytes(&mut input.array()?))
}

fn put_failure(out: &mut Writer, failure: &Failure) {
    let text = |out: &mut Writer, kind: u8, text: &str| {
        out.u8(kind);
        out.bytes(text.as_bytes());
    };
    match failure {
        Failure::Lost(reason) => text(out, 1, reason),
        Failure::PinRefused { what, refused } => {
            text(out, 2, what);
            put_optional(out, refused.as_ref(), put_refused);
        }
        Failure::Call(KeyError::Away { reason }) => text(out, 3, reason),
        Failure::Call(KeyError::Misconfigured(what)) => text(out, 4, what),
        Failure::Call(KeyError::NoSuchAlias { alias }) => text(out, 5, alias.as_str()),
        Failure::Call(KeyError::UnknownMasterKey { id }) => {
            out.u8(6);
            out.array(id.as_bytes());
        }
        Failure::Call(KeyError::Refused) => out.u8(7),
        Failure::Stale(reason) => text(out, 10, reason),
        Failure::Call(KeyError::Superseded { alias }) => text(out, 8, alias.as_str()),
        Failure::Call(KeyError::Disabled { id }) => {
            out.u8(9);
            out.array(id.as_bytes());
        }
    }
}

fn failure(input: &mut Reader<'_>) -> Result<Failure, Malformed> {
    Ok(match input.u8()? {
        1 => Failure::Lost(input.text()?),
        2 => Failure::PinRefused { what: input.text()?, refused: optional(input, refused)? },
        3 => Failure::Call(KeyError::Away { reason: input.text()? }),
        4 => Failure::Call(KeyError::Misconfigured(input.text()?)),
        5 => Failure::Call(KeyError::NoSuchAlias { alias: alias(input)? }),
        6 => Failure::Call(KeyError::UnknownMasterKey { id: MasterKeyId::new(input.array()?) }),
        7 => Failure::Call(KeyError::Refused),
        8 => Failure::Call(KeyError::Superseded { alias: alias(input)? }),
        10 => Failure::Stale(input.text()?),
        9 => Failure::Call(KeyError::Disabled { id: MasterKeyId::new(input.array()?) }),
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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
            Request::Wrap {
                master: MasterKeyId::new([3; 16]),
                context: [4; 32],
                key: DataKey::from_bytes(&mut [6; 32]),
            },
            Request::Unwrap { wrapped: wrapped_sample(), context: [4; 32] },
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

    #[test]
    fn a_frame_longer_than_the_limit_is_refused_before_it_is_read() {
        let head = u32::try_from(FRAME_LEN_MAX + 1).unwrap().to_be_bytes();
        assert_eq!(receive(&mut head.as_slice()).err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
    }

    #[test]
    fn the_end_between_frames_is_the_end_and_inside_one_is_an_error() {
        assert!(receive(&mut [].as_slice()).is_ok_and(|body| body.is_none()));
        assert!(receive(&mut [0, 0, 0, 2, 9].as_slice()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = (Request::decode(&bytes).is_ok(), Reply::decode(&bytes).is_ok());
        }
    }
}
