//! The frames between server and worker: one request and one reply for each wrap or unwrap.
//!
//! A frame is its length (4 bytes, at most [`FRAME_LEN_MAX`]) and its body: kind (1 byte), then fields. Replies come in
//! the order of requests. Bodies carry data keys, so every buffer is wiped; none carries a PIN.

use crate::error::KeyError;
use crate::pkcs11::{Failure, PinSource, TokenSelector};
use crate::provider::{Alias, CreatedKey, KnownKey, MasterKeyId, Version};
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
        module: PathBuf,
        token: TokenSelector,
        pin: PinSource,
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
    /// To `Open`: ready, with what an administrator should read.
    Opened(Vec<String>),
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
            Self::Open { module, token, pin, known } => {
                out.u8(1);
                put_path(&mut out, module);
                put_token(&mut out, token);
                put_pin_source(&mut out, pin);
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
        }
        out.finish()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(body);
        let request = match input.u8()? {
            1 => Self::Open {
                module: path(&mut input)?,
                token: token(&mut input)?,
                pin: pin_source(&mut input)?,
                known: known(&mut input)?,
            },
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
            _ => return Err(Malformed),
        };
        input.finish()?;
        Ok(request)
    }

    /// Whether asking twice is as good as once. A key made twice is one key too many on the token.
    pub(crate) fn may_repeat(&self) -> bool {
        !matches!(self, Self::Create { .. } | Self::MakeToken { .. })
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::with_capacity(CALL_LEN);
        match self {
            Self::Opened(notes) => {
                out.u8(1);
                out.u32(u32::try_from(notes.len()).unwrap_or(u32::MAX));
                notes.iter().for_each(|note| out.bytes(note.as_bytes()));
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
            1 => {
                let count = input.u32()?;
                Self::Opened((0..count).map(|_| input.text()).collect::<Result<_, _>>()?)
            }
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
            current: input.u8()? == 1,
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
        Failure::PinRefused(what) => text(out, 2, what),
        Failure::Call(KeyError::Away { reason }) => text(out, 3, reason),
        Failure::Call(KeyError::Misconfigured(what)) => text(out, 4, what),
        Failure::Call(KeyError::NoSuchAlias { alias }) => text(out, 5, alias.as_str()),
        Failure::Call(KeyError::UnknownMasterKey { id }) => {
            out.u8(6);
            out.array(id.as_bytes());
        }
        Failure::Call(KeyError::Refused) => out.u8(7),
    }
}

fn failure(input: &mut Reader<'_>) -> Result<Failure, Malformed> {
    Ok(match input.u8()? {
        1 => Failure::Lost(input.text()?),
        2 => Failure::PinRefused(input.text()?),
        3 => Failure::Call(KeyError::Away { reason: input.text()? }),
        4 => Failure::Call(KeyError::Misconfigured(input.text()?)),
        5 => Failure::Call(KeyError::NoSuchAlias { alias: alias(input)? }),
        6 => Failure::Call(KeyError::UnknownMasterKey { id: MasterKeyId::new(input.array()?) }),
        7 => Failure::Call(KeyError::Refused),
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
        }];
        let open = |token, pin| Request::Open { module: "/m.so".into(), token, pin, known: known.clone() };
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
            Request::Create { alias, version: Version(8) },
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
            Failure::PinRefused("p".into()),
            Failure::Call(KeyError::away("a")),
            Failure::Call(KeyError::Misconfigured("m".into())),
            Failure::Call(KeyError::NoSuchAlias { alias: alias.clone() }),
            Failure::Call(KeyError::UnknownMasterKey { id }),
            Failure::Call(KeyError::Refused),
        ];
        let mut all = vec![
            Reply::Opened(vec!["note".into(), String::new()]),
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
