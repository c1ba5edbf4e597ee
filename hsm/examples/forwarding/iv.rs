//! The ways in which tokens make the IV of AES-GCM, played over a real module that takes the caller's.
//!
//! `iv handed-back`: whatever stands in the caller's buffer is replaced. `iv zeros-filled`: all but zeros is refused.
//! `iv appended`: only an empty IV is taken, the token's is behind the tag, and decryption is given it apart.
//! `iv appended-both`: the same, and decryption takes it from behind the tag. `iv fixed`: handed back, but always the same
//! one. `iv message`: C_EncryptInit refuses AES-GCM, so that only C_EncryptMessage is left.

use crate::fault;
use crate::forward;
use crate::real;
use cryptoki_sys::*;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const IV_LEN: usize = 12;

/// What a session is in the middle of.
#[derive(Clone)]
enum Pending {
    /// An encryption, whose answer this IV goes behind.
    Append([u8; IV_LEN]),
    /// A decryption, which takes its IV from behind the tag.
    TakeApart { aad: Vec<u8>, tag_bits: CK_ULONG, key: CK_OBJECT_HANDLE },
}

static PENDING: Mutex<Option<HashMap<CK_SESSION_HANDLE, Pending>>> = Mutex::new(None);

fn pending() -> MutexGuard<'static, Option<HashMap<CK_SESSION_HANDLE, Pending>>> {
    let mut held = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    held.get_or_insert_with(HashMap::new);
    held
}

fn remember(session: CK_SESSION_HANDLE, what: Option<Pending>) {
    if let Some(held) = pending().as_mut() {
        match what {
            Some(what) => held.insert(session, what),
            None => held.remove(&session),
        };
    }
}

fn remembered(session: CK_SESSION_HANDLE) -> Option<Pending> {
    pending().as_ref().and_then(|held| held.get(&session).cloned())
}

fn fresh_iv(way: &str) -> [u8; IV_LEN] {
    let mut iv = [7; IV_LEN];
    if way != "fixed" {
        let _ = getrandom::fill(&mut iv);
    }
    iv
}

pub(crate) unsafe fn encrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    remember(session, None);
    let way = fault::argument("iv").unwrap_or_default();
    // SAFETY: the caller gives a valid mechanism.
    if unsafe { (*mechanism).mechanism } != CKM_AES_GCM || way.is_empty() {
        return forward!(C_EncryptInit(session, mechanism, key));
    }
    // SAFETY: of this mechanism, so this is its parameter.
    let mut params = unsafe { *(*mechanism).pParameter.cast::<CK_GCM_PARAMS>() };
    let mut iv = fresh_iv(&way);
    let offered: &mut [u8] = match params.ulIvLen {
        0 => &mut [],
        // SAFETY: the caller's buffer, of that length.
        len => unsafe { std::slice::from_raw_parts_mut(params.pIv, len as usize) },
    };
    match way.as_str() {
        "handed-back" | "fixed" if offered.len() == IV_LEN => offered.copy_from_slice(&iv),
        "zeros-filled" if offered.len() == IV_LEN && offered.iter().all(|byte| *byte == 0) => {
            offered.copy_from_slice(&iv);
        }
        "appended" | "appended-both" if offered.is_empty() => remember(session, Some(Pending::Append(iv))),
        _ => return CKR_MECHANISM_PARAM_INVALID,
    }
    params.pIv = iv.as_mut_ptr();
    params.ulIvLen = IV_LEN as CK_ULONG;
    let mut theirs = gcm(&mut params);
    forward!(C_EncryptInit(session, &raw mut theirs, key))
}

pub(crate) unsafe fn encrypt(
    session: CK_SESSION_HANDLE,
    plain: *mut CK_BYTE,
    plain_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    let value = forward!(C_Encrypt(session, plain, plain_len, out, out_len));
    if let (CKR_OK, Some(Pending::Append(iv))) = (value, remembered(session)) {
        // SAFETY: the caller's length, and a buffer of the length that the call before asked for.
        unsafe {
            if !out.is_null() {
                std::ptr::copy_nonoverlapping(iv.as_ptr(), out.add(*out_len as usize), IV_LEN);
                remember(session, None);
            }
            *out_len += IV_LEN as CK_ULONG;
        }
    }
    value
}

pub(crate) unsafe fn decrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    remember(session, None);
    let way = fault::argument("iv").unwrap_or_default();
    // SAFETY: the caller gives a valid mechanism.
    if unsafe { (*mechanism).mechanism } != CKM_AES_GCM || way != "appended-both" {
        return forward!(C_DecryptInit(session, mechanism, key));
    }
    // SAFETY: of this mechanism, so this is its parameter.
    let params = unsafe { *(*mechanism).pParameter.cast::<CK_GCM_PARAMS>() };
    if params.ulIvLen != 0 {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    // SAFETY: the caller's AAD, of that length.
    let aad = unsafe { std::slice::from_raw_parts(params.pAAD, params.ulAADLen as usize) }.to_vec();
    remember(session, Some(Pending::TakeApart { aad, tag_bits: params.ulTagBits, key }));
    CKR_OK
}

pub(crate) unsafe fn decrypt(
    session: CK_SESSION_HANDLE,
    sealed: *mut CK_BYTE,
    sealed_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    let Some(Pending::TakeApart { mut aad, tag_bits, key }) = remembered(session) else {
        return forward!(C_Decrypt(session, sealed, sealed_len, out, out_len));
    };
    let Some(len) = (sealed_len as usize).checked_sub(IV_LEN) else { return CKR_ENCRYPTED_DATA_LEN_RANGE };
    if out.is_null() {
        // SAFETY: a place for the length; the real module is asked once there is a buffer.
        unsafe { *out_len = len as CK_ULONG };
        return CKR_OK;
    }
    remember(session, None);
    // SAFETY: the last bytes of the caller's input.
    let mut iv = unsafe { std::slice::from_raw_parts(sealed.add(len), IV_LEN) }.to_vec();
    let mut params = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: IV_LEN as CK_ULONG,
        ulIvBits: 8 * IV_LEN as CK_ULONG,
        pAAD: aad.as_mut_ptr(),
        ulAADLen: aad.len() as CK_ULONG,
        ulTagBits: tag_bits,
    };
    let mut mechanism = gcm(&mut params);
    match forward!(C_DecryptInit(session, &raw mut mechanism, key)) {
        CKR_OK => forward!(C_Decrypt(session, sealed, len as CK_ULONG, out, out_len)),
        value => value,
    }
}

fn gcm(params: &mut CK_GCM_PARAMS) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: (&raw mut *params).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
    }
}
