//! The ways in which tokens refuse to make a key, or to load one more.
//!
//! `narrow`: no AES keys, and RSA key pairs only in a writable session, as objects of the token, and for both uses: a
//! template that says what the pair is not for is refused. `room N`: this process makes and loads N keys and no more; one
//! that encrypts and decrypts counts twice, as the two halves of a pair do.

use crate::fault;
use crate::forward;
use crate::real;
use cryptoki_sys::*;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Half {
    Encrypts,
    Decrypts,
}

static LOADED: Mutex<Option<HashSet<(CK_OBJECT_HANDLE, Half)>>> = Mutex::new(None);

/// Whether there is room for this half of a key, which then takes it for the life of the process.
pub(crate) fn load(key: CK_OBJECT_HANDLE, half: Half) -> bool {
    let Some(room) = fault::argument("room").and_then(|room| room.parse().ok()) else { return true };
    let mut held = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    let loaded = held.get_or_insert_with(HashSet::new);
    if loaded.len() < room {
        loaded.insert((key, half));
    }
    loaded.contains(&(key, half))
}

pub(crate) unsafe extern "C" fn generate(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    if fault::is("narrow") {
        return CKR_MECHANISM_INVALID;
    }
    let value = forward!(C_GenerateKey(session, mechanism, template, count, key));
    // SAFETY: the caller's place for a handle, which CKR_OK has filled.
    if value != CKR_OK || load(unsafe { *key }, Half::Encrypts) {
        return value;
    }
    // SAFETY: as above.
    forward!(C_DestroyObject(session, *key));
    CKR_DEVICE_MEMORY
}

pub(crate) unsafe extern "C" fn generate_pair(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    public: *mut CK_ATTRIBUTE,
    public_count: CK_ULONG,
    private: *mut CK_ATTRIBUTE,
    private_count: CK_ULONG,
    public_key: *mut CK_OBJECT_HANDLE,
    private_key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    if fault::is("narrow") {
        // SAFETY: the caller gives so many attributes.
        let asked = unsafe { std::slice::from_raw_parts(public, public_count as usize) };
        if !is_writable(session) {
            return CKR_SESSION_READ_ONLY;
        }
        if says(asked, CKA_TOKEN) != Some(true) {
            return CKR_ATTRIBUTE_VALUE_INVALID;
        }
        if says(asked, CKA_ENCRYPT) == Some(false) || says(asked, CKA_VERIFY) == Some(false) {
            return CKR_GENERAL_ERROR;
        }
    }
    forward!(C_GenerateKeyPair(
        session,
        mechanism,
        public,
        public_count,
        private,
        private_count,
        public_key,
        private_key
    ))
}

fn is_writable(session: CK_SESSION_HANDLE) -> bool {
    let mut info = CK_SESSION_INFO::default();
    forward!(C_GetSessionInfo(session, &raw mut info)) == CKR_OK && info.flags & CKF_RW_SESSION != 0
}

fn says(template: &[CK_ATTRIBUTE], wanted: CK_ATTRIBUTE_TYPE) -> Option<bool> {
    let found = template.iter().find(|attribute| attribute.type_ == wanted)?;
    // SAFETY: an attribute that is a CK_BBOOL.
    Some(unsafe { *found.pValue.cast::<CK_BBOOL>() } != 0)
}
