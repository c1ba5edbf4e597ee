//! What frames are made of: one pair of functions for each type, to put it and to read it.

use crate::error::KeyError;
use crate::pkcs11::{Failure, OpenToken, Pattern, PinSource, RefusedPin, TokenSelector};
use crate::provider::{Alias, KnownKey, MasterKeyId, Version};
use crate::rung::Rung;
use crate::wire::{Malformed, Reader, Writer};
use crate::wrapped::WrappedKey;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use strongroom_engine::DataKey;

pub(super) fn put_open(out: &mut Writer, wanted: &OpenToken) {
    put_path(out, &wanted.module);
    put_token(out, &wanted.token);
    put_pin_source(out, &wanted.pin);
    put_optional(out, wanted.serial.as_ref(), |out, serial| out.bytes(serial.as_bytes()));
    put_optional(out, wanted.refused.as_ref(), put_refused);
    out.u8(wanted.may_be_extractable.into());
    out.bytes(&wanted.rungs.iter().map(|rung| *rung as u8).collect::<Vec<u8>>());
    put_optional(out, wanted.patterns.as_ref(), |out, patterns| put_patterns(out, patterns));
}

pub(super) fn open(input: &mut Reader<'_>) -> Result<OpenToken, Malformed> {
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

pub(super) fn flag(input: &mut Reader<'_>) -> Result<bool, Malformed> {
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

pub(super) fn put_patterns(out: &mut Writer, patterns: &[Pattern]) {
    out.bytes(&patterns.iter().map(|pattern| pattern.number()).collect::<Vec<u8>>());
}

pub(super) fn patterns(input: &mut Reader<'_>) -> Result<Vec<Pattern>, Malformed> {
    input.bytes()?.iter().map(|number| Pattern::by_number(*number).ok_or(Malformed)).collect()
}

pub(super) fn put_notes(out: &mut Writer, notes: &[String]) {
    out.u32(u32::try_from(notes.len()).unwrap_or(u32::MAX));
    notes.iter().for_each(|note| out.bytes(note.as_bytes()));
}

pub(super) fn notes(input: &mut Reader<'_>) -> Result<Vec<String>, Malformed> {
    let count = input.u32()?;
    (0..count).map(|_| input.text()).collect()
}

pub(super) fn put_path(out: &mut Writer, path: &Path) {
    out.bytes(path.as_os_str().as_bytes());
}

pub(super) fn path(input: &mut Reader<'_>) -> Result<PathBuf, Malformed> {
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

pub(super) fn put_known(out: &mut Writer, known: &[KnownKey]) {
    out.u32(u32::try_from(known.len()).unwrap_or(u32::MAX));
    for key in known {
        out.bytes(key.alias.as_str().as_bytes());
        out.u32(key.version.0);
        out.array(key.id.as_bytes());
        out.bytes(&key.canary.encode());
        out.u8(key.current.into());
        out.u8(key.enabled.into());
        out.u32(key.begun.0);
    }
}

pub(super) fn known(input: &mut Reader<'_>) -> Result<Vec<KnownKey>, Malformed> {
    let count = input.u32()?;
    let mut one = || {
        Ok(KnownKey {
            alias: alias(input)?,
            version: Version(input.u32()?),
            id: MasterKeyId::new(input.array()?),
            canary: wrapped(input)?,
            current: flag(input)?,
            enabled: flag(input)?,
            begun: Version(input.u32()?),
        })
    };
    (0..count).map(|_| one()).collect()
}

pub(super) fn alias(input: &mut Reader<'_>) -> Result<Alias, Malformed> {
    Alias::new(input.text()?).map_err(|_| Malformed)
}

pub(super) fn wrapped(input: &mut Reader<'_>) -> Result<WrappedKey, Malformed> {
    WrappedKey::decode(input.bytes()?).map_err(|_| Malformed)
}

pub(super) fn data_key(input: &mut Reader<'_>) -> Result<DataKey, Malformed> {
    input.array_ref().map(DataKey::copied_from)
}

pub(super) fn put_failure(out: &mut Writer, failure: &Failure) {
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

pub(super) fn failure(input: &mut Reader<'_>) -> Result<Failure, Malformed> {
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
