//! The frames between server and worker: one request and one reply for each wrap or unwrap.
//!
//! A frame is its length and its body: kind (1 byte), then fields; [`stream`] puts them on a socket. Replies come in the
//! order of requests. Bodies carry data keys, so every buffer is wiped; none carries a PIN.

mod fields;
mod stream;

use crate::doctor::{BenchPlan, DoctorPlan};
use crate::pkcs11::{Failure, OpenToken, OpenedToken};
use crate::provider::{Alias, CreatedKey, KnownKey, MasterKeyId, Version};
use crate::wire::{Malformed, Reader, Writer};
use crate::wrapped::WrappedKey;
use fields::{
    alias, data_key, failure, flag, known, notes, open, path, patterns, put_failure, put_known, put_notes, put_open,
    put_path, put_patterns, wrapped,
};
use std::path::PathBuf;
use strongroom_engine::DataKey;
use zeroize::Zeroizing;

pub(super) use stream::{FrameReader, append, send};

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
    /// Both, under another master key.
    Rewrap {
        master: MasterKeyId,
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
    /// Before that, now and then: the token is slow, and answers.
    Opening,
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
            Self::Rewrap { master, wrapped, context } => {
                out.u8(14);
                out.array(master.as_bytes());
                out.bytes(&wrapped.encode());
                out.array(context);
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
            14 => Self::Rewrap {
                master: MasterKeyId::new(input.array()?),
                wrapped: wrapped(&mut input)?,
                context: input.array()?,
            },
            _ => return Err(Malformed),
        };
        input.finish()?;
        Ok(request)
    }

    /// Whether it may take far longer than a wrap: a device that makes an RSA key pair takes its time.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Bench(_))
    }

    /// Whether requests go before it.
    pub(crate) fn is_background(&self) -> bool {
        matches!(self, Self::Rewrap { .. })
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
            Self::Opening => out.u8(9),
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
            9 => Self::Opening,
            _ => return Err(Malformed),
        };
        input.finish()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests;
