//! How the rows of a keyring are read. A value of the wrong length or type is damage, never a default.

use rusqlite::types::FromSql;
use rusqlite::{Connection, Params, Row};
use strongroom_engine::{ContextDigest, KeyId, Kind};
use strongroom_hsm::{Alias, MasterKeyId, Version, WrappedKey};

pub(super) use crate::commit::rows;
use crate::error::KeyringError;
use crate::id::SessionId;
use crate::keyring::{AliasRow, KeyRow, MasterKeyRow, MasterKeyState, Tally, Wrapped};

/// In the order that [`key_row`] reads.
pub(super) const KEY_COLUMNS: &str = "id, kind, wrapped, context, session, parent";
/// Of [`KEY_COLUMNS`].
pub(super) const KEY_COLUMN_COUNT: usize = 6;
/// In the order that [`master_key_row`] reads.
pub(super) const MASTER_KEY_COLUMNS: &str =
    "alias, version, id, current, canary, state, after_ms, created_ms, wraps, begun";

pub(super) fn key_row(row: &Row<'_>) -> Result<KeyRow, KeyringError> {
    let wrapped = wrapped(field(row, 2)?)?;
    if field::<[u8; 16]>(row, 5)? != *wrapped.parent() {
        return Err(KeyringError::Damaged("a wrapped key and its row name different parents".to_owned()));
    }
    Ok(KeyRow {
        id: KeyId::from_bytes(field(row, 0)?),
        kind: kind(field(row, 1)?)?,
        wrapped,
        context: ContextDigest::from_bytes(field(row, 3)?),
        session: SessionId::from_bytes(field(row, 4)?),
    })
}

pub(super) fn master_key_row(row: &Row<'_>) -> Result<MasterKeyRow, KeyringError> {
    Ok(MasterKeyRow {
        alias: alias(row, 0)?,
        version: Version(field(row, 1)?),
        id: MasterKeyId::new(field(row, 2)?),
        current: field(row, 3)?,
        canary: wrapped_key(row, 4)?,
        state: state(row, 5)?,
        created_ms: count(row, 7)?,
        wraps: count(row, 8)?,
        begun: Version(field(row, 9)?),
    })
}

/// Of the columns alias, rotation_days.
pub(super) fn alias_row(row: &Row<'_>) -> Result<AliasRow, KeyringError> {
    Ok(AliasRow { alias: alias(row, 0)?, rotation_days: field(row, 1)? })
}

/// Of the columns parent, kind, count.
pub(super) fn tally(row: &Row<'_>) -> Result<Tally, KeyringError> {
    Ok(Tally { parent: MasterKeyId::new(field(row, 0)?), kind: kind(field(row, 1)?)?, count: count(row, 2)? })
}

/// As `state` and `after_ms` keep it.
pub(super) fn state_numbers(state: MasterKeyState) -> (u8, i64) {
    match state {
        MasterKeyState::Enabled => (0, 0),
        MasterKeyState::Disabled => (1, 0),
        MasterKeyState::PendingDestruction { after_ms } => (2, integer(after_ms)),
        MasterKeyState::Destroyed => (3, 0),
    }
}

/// As [`state`]; nothing where there is no master key.
pub(super) fn state_if_any(row: &Row<'_>, index: usize) -> Result<Option<MasterKeyState>, KeyringError> {
    match field::<Option<u8>>(row, index)? {
        None => Ok(None),
        Some(_) => state(row, index).map(Some),
    }
}

/// Of the columns state and after_ms, which begin at `index`.
fn state(row: &Row<'_>, index: usize) -> Result<MasterKeyState, KeyringError> {
    match field::<u8>(row, index)? {
        0 => Ok(MasterKeyState::Enabled),
        1 => Ok(MasterKeyState::Disabled),
        2 => Ok(MasterKeyState::PendingDestruction { after_ms: count(row, index + 1)? }),
        3 => Ok(MasterKeyState::Destroyed),
        other => Err(KeyringError::Damaged(format!("a master key has state {other}"))),
    }
}

/// As SQLite keeps it. Beyond 2^63 nothing that we count ever comes; it would be kept as the largest.
pub(super) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn count(row: &Row<'_>, index: usize) -> Result<u64, KeyringError> {
    let number: i64 = field(row, index)?;
    u64::try_from(number).map_err(|_| KeyringError::Damaged(format!("a column that counts holds {number}")))
}

fn alias(row: &Row<'_>, index: usize) -> Result<Alias, KeyringError> {
    Alias::new(field::<String>(row, index)?).map_err(|error| KeyringError::Damaged(error.to_string()))
}

/// The first byte of a key under a bucket key; a [`WrappedKey`] begins with another.
const UNDER_BUCKET_KEY: u8 = 2;

/// The first byte of a key under a customer's key.
const UNDER_CUSTOMER_KEY: u8 = 3;

/// As the column `wrapped` keeps it.
pub(super) fn wrapped_bytes(wrapped: &Wrapped) -> Vec<u8> {
    match wrapped {
        Wrapped::ByMaster(wrapped) => wrapped.encode(),
        Wrapped::ByBucketKey { bucket_key, sealed } => {
            [&[UNDER_BUCKET_KEY], bucket_key.as_bytes().as_slice(), sealed].concat()
        }
        Wrapped::ByCustomerKey { sealed } => [&[UNDER_CUSTOMER_KEY], sealed.as_slice()].concat(),
    }
}

fn wrapped(bytes: Vec<u8>) -> Result<Wrapped, KeyringError> {
    match bytes.split_first() {
        Some((&UNDER_BUCKET_KEY, rest)) => {
            let (bucket_key, sealed) = rest
                .split_first_chunk()
                .ok_or_else(|| KeyringError::Damaged("a key under a bucket key was cut short".to_owned()))?;
            Ok(Wrapped::ByBucketKey { bucket_key: KeyId::from_bytes(*bucket_key), sealed: sealed.to_vec() })
        }
        Some((&UNDER_CUSTOMER_KEY, sealed)) => Ok(Wrapped::ByCustomerKey { sealed: sealed.to_vec() }),
        _ => {
            WrappedKey::decode(&bytes).map(Wrapped::ByMaster).map_err(|error| KeyringError::Damaged(error.to_string()))
        }
    }
}

fn wrapped_key(row: &Row<'_>, index: usize) -> Result<WrappedKey, KeyringError> {
    let bytes: Vec<u8> = field(row, index)?;
    WrappedKey::decode(&bytes).map_err(|error| KeyringError::Damaged(error.to_string()))
}

/// The kinds that a keyring holds.
fn kind(number: u8) -> Result<Kind, KeyringError> {
    [Kind::DataKey, Kind::BucketKey, Kind::CatalogKey, Kind::StoreKey]
        .into_iter()
        .find(|kind| *kind as u8 == number)
        .ok_or_else(|| KeyringError::Damaged(format!("a wrapped key has kind {number}")))
}

pub(super) fn change(connection: &Connection, sql: &str, parameters: impl Params) -> Result<(), KeyringError> {
    connection.prepare_cached(sql)?.execute(parameters)?;
    Ok(())
}

pub(super) fn field<T: FromSql>(row: &Row<'_>, index: usize) -> Result<T, KeyringError> {
    Ok(row.get(index)?)
}
