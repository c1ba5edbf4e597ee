//! The key file, version 1: what lies in it, and how it is replaced.
//!
//! Magic `SRMK` (4), version (1; 1), Argon2id memory in KiB (4), passes (4), lanes (4), salt (16); then a small sealing (see
//! the engine) under the key that Argon2id v1.3 makes of the passphrase, with these 33 bytes as context, of: number of keys
//! (4), then for each alias, version (4), CKA_ID (16), whether it wraps (1), the key (32). Integers are big-endian.

use super::failed;
use crate::error::KeyError;
use crate::provider::{Alias, MasterKeyId, Version};
use crate::software::SoftwareKey;
use crate::wire::{Malformed, Reader, Writer};
use argon2::{Algorithm, Argon2, Params};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use strongroom_engine::{Context, ContextDigest, DataKey, Kind, open_small, seal_small};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"SRMK";
const VERSION: u8 = 1;
const HEADER_LEN: usize = 33;
const LABEL: &str = "strongroom/keyfile/1";

/// RFC 9106, second recommended option: 64 MiB, 3 passes, 4 lanes.
const COST: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

/// A file that asks for more is not one of ours, but one that is to make the server hang.
const COST_MAX: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 64 };

#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A key file that its passphrase has opened.
pub(super) struct KeyFile {
    path: PathBuf,
    header: [u8; HEADER_LEN],
    /// Made of the passphrase, once: the salt stays as long as the file does.
    parent: DataKey,
}

impl KeyFile {
    /// Opens it, or makes it where that may be.
    pub(super) fn open(path: &Path, passphrase: &[u8], may_make: bool) -> Result<(Self, Vec<SoftwareKey>), KeyError> {
        let sealed = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make => return Self::make(path, passphrase),
            Err(error) => return Err(failed("read key file", path, &error)),
        };
        let (header, cost) = read_header(&sealed).ok_or_else(|| damaged(path))?;
        let file = Self { path: path.to_owned(), header, parent: derive(passphrase, &header, cost)? };
        let held = file.unseal(&sealed)?;
        Ok((file, held))
    }

    fn make(path: &Path, passphrase: &[u8]) -> Result<(Self, Vec<SoftwareKey>), KeyError> {
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(MAGIC);
        header[4] = VERSION;
        header[5..9].copy_from_slice(&COST.memory_kib.to_be_bytes());
        header[9..13].copy_from_slice(&COST.passes.to_be_bytes());
        header[13..17].copy_from_slice(&COST.lanes.to_be_bytes());
        getrandom::fill(&mut header[17..])
            .map_err(|_| KeyError::Misconfigured("the operating system gave no random bytes".to_owned()))?;
        let mut file = Self { path: path.to_owned(), header, parent: derive(passphrase, &header, COST)? };
        let held = file.locked(|file| {
            // Another process may have been quicker: its file is never replaced.
            if file.path.exists() {
                return Err(KeyError::away("the key file was made by another process just now: start again"));
            }
            file.write(&[]).map(|()| Vec::new())
        })?;
        Ok((file, held))
    }

    /// Does the work while no other process reads or writes.
    pub(super) fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, KeyError>) -> Result<T, KeyError> {
        let path = beside(&self.path, ".lock");
        let unlockable = |error| failed("lock", &path, &error);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(unlockable)?;
        lock.lock().map_err(unlockable)?;
        work(self)
    }

    /// What the file holds now.
    pub(super) fn read(&self) -> Result<Vec<SoftwareKey>, KeyError> {
        let sealed = fs::read(&self.path).map_err(|error| failed("read key file", &self.path, &error))?;
        match read_header(&sealed) {
            Some((header, _)) if header == self.header => self.unseal(&sealed),
            _ => Err(KeyError::Misconfigured(format!(
                "key file {} was put in place of the one that this process opened: restart it",
                self.path.display()
            ))),
        }
    }

    /// Replaces the file: whole and durable, or as before.
    pub(super) fn write(&self, held: &[SoftwareKey]) -> Result<(), KeyError> {
        let plain = encode(held);
        let body = seal_small(&self.parent, LABEL, &context(&self.header), &plain)
            .map_err(|error| KeyError::Misconfigured(format!("the key file cannot be sealed: {error}")))?;
        let made = beside(&self.path, ".new");
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let replace = || {
            let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&made)?;
            out.write_all(&self.header)?;
            out.write_all(&body)?;
            out.sync_all()?;
            fs::rename(&made, &self.path)?;
            File::open(folder)?.sync_all()
        };
        replace().map_err(|error: io::Error| failed("write key file", &self.path, &error))
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Vec<SoftwareKey>, KeyError> {
        let body = sealed.get(HEADER_LEN..).unwrap_or_default();
        let plain = open_small(&self.parent, LABEL, &context(&self.header), body).map_err(|_| damaged(&self.path))?;
        decode(&plain).map_err(|_| damaged(&self.path))
    }
}

fn read_header(sealed: &[u8]) -> Option<([u8; HEADER_LEN], Cost)> {
    let (header, _) = sealed.split_first_chunk::<HEADER_LEN>()?;
    let mut input = Reader::new(header);
    let known = input.array().ok()? == *MAGIC && input.u8().ok()? == VERSION;
    let cost = Cost { memory_kib: input.u32().ok()?, passes: input.u32().ok()?, lanes: input.u32().ok()? };
    let bounded =
        cost.memory_kib <= COST_MAX.memory_kib && cost.passes <= COST_MAX.passes && cost.lanes <= COST_MAX.lanes;
    (known && bounded).then_some((*header, cost))
}

fn derive(passphrase: &[u8], header: &[u8; HEADER_LEN], cost: Cost) -> Result<DataKey, KeyError> {
    let unusable = |error: argon2::Error| KeyError::Misconfigured(format!("Argon2id of the passphrase: {error}"));
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(unusable)?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase, &header[17..], key.as_mut_slice())
        .map_err(unusable)?;
    Ok(DataKey::from_bytes(&mut key))
}

fn context(header: &[u8; HEADER_LEN]) -> ContextDigest {
    Context { object_key: header, ..Context::new(Kind::File) }.digest()
}

fn encode(held: &[SoftwareKey]) -> Zeroizing<Vec<u8>> {
    let len = held.iter().map(|key| key.alias.as_str().len() + 57).sum::<usize>() + 4;
    let mut out = Writer::with_capacity(len);
    out.u32(u32::try_from(held.len()).unwrap_or(u32::MAX));
    for key in held {
        out.bytes(key.alias.as_str().as_bytes());
        out.u32(key.version.0);
        out.array(key.id.as_bytes());
        out.u8(key.may_wrap.into());
        out.array(key.secret.expose());
    }
    out.finish()
}

fn decode(plain: &[u8]) -> Result<Vec<SoftwareKey>, Malformed> {
    let mut input = Reader::new(plain);
    let count = input.u32()?;
    let mut one = || {
        Ok(SoftwareKey {
            alias: Alias::new(input.text()?).map_err(|_| Malformed)?,
            version: Version(input.u32()?),
            id: MasterKeyId::new(input.array()?),
            may_wrap: input.u8()? == 1,
            secret: DataKey::copied_from(input.array_ref()?),
        })
    };
    let held = (0..count).map(|_| one()).collect::<Result<_, _>>()?;
    input.finish()?;
    Ok(held)
}

/// Wrong passphrase and altered bytes: deliberately one answer.
fn damaged(path: &Path) -> KeyError {
    KeyError::Misconfigured(format!(
        "key file {} does not open: the passphrase is not its own, or the file is damaged or of another version",
        path.display()
    ))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
