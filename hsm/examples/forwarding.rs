//! A PKCS#11 module for this crate's tests: hands every call on to SoftHSM, and goes wrong where it is told to.
//!
//! The file `fault` beside the one that SOFTHSM2_CONF names says how: its first line is the path of the real module, its
//! second one of the faults below. `poison` and the hexadecimal of a
//! ciphertext crashes at that one only. A fault that ends in `-once` wipes that line before it strikes.

#![allow(unsafe_code, non_snake_case, reason = "PKCS#11 is a C interface")]
#![allow(clippy::missing_safety_doc, missing_docs, reason = "the standard is the documentation")]

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_BYTE, CK_FUNCTION_LIST, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CK_USER_TYPE,
    CKA_EXTRACTABLE, CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR, CKR_OK,
};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

struct Lists {
    real: CK_FUNCTION_LIST,
    ours: CK_FUNCTION_LIST,
    _library: cryptoki_sys::Pkcs11,
}

static LISTS: OnceLock<Lists> = OnceLock::new();

#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(out: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    if LISTS.get().is_none() {
        let Some(lists) = load() else { return CKR_GENERAL_ERROR };
        let _ = LISTS.set(lists);
    }
    let Some(lists) = LISTS.get() else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller gives a valid place for the pointer; the list is never written to through it.
    unsafe { *out = (&raw const lists.ours).cast_mut() };
    CKR_OK
}

fn load() -> Option<Lists> {
    // SAFETY: loading SoftHSM runs its initialisers, which are sound.
    let library = unsafe { cryptoki_sys::Pkcs11::new(PathBuf::from(fault_file_lines()?.0)) }.ok()?;
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the pointer.
    if unsafe { library.C_GetFunctionList(&raw mut list) } != CKR_OK {
        return None;
    }
    // SAFETY: CKR_OK promises a valid list, which lives as long as the library.
    let real = unsafe { *list };
    let mut ours = real;
    ours.C_GetFunctionList = Some(C_GetFunctionList);
    ours.C_Decrypt = Some(decrypt);
    ours.C_GetAttributeValue = Some(attribute_value);
    ours.C_Login = Some(log_in);
    Some(Lists { real, ours, _library: library })
}

unsafe extern "C" fn decrypt(
    session: CK_SESSION_HANDLE,
    sealed: *mut CK_BYTE,
    sealed_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    let fault = fault();
    match fault.as_str() {
        "crash" | "crash-once" => std::process::abort(),
        "hang-once" => hang(),
        _ => {}
    }
    if let Some(digits) = fault.strip_prefix("poison ")
        // SAFETY: the caller's input, `sealed_len` bytes long.
        && hex(unsafe { std::slice::from_raw_parts(sealed, sealed_len as usize) }) == digits
    {
        std::process::abort();
    }
    let Some(real) = LISTS.get().and_then(|lists| lists.real.C_Decrypt) else { return CKR_FUNCTION_NOT_SUPPORTED };
    // SAFETY: the caller's arguments, handed on unchanged.
    let value = unsafe { real(session, sealed, sealed_len, out, out_len) };
    if fault == "wrong-key" && value == CKR_OK && !out.is_null() {
        // SAFETY: CKR_OK and a buffer: at least one byte was written to it.
        unsafe { *out ^= 1 };
    }
    value
}

unsafe extern "C" fn attribute_value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let Some(real) = LISTS.get().and_then(|lists| lists.real.C_GetAttributeValue) else {
        return CKR_FUNCTION_NOT_SUPPORTED;
    };
    // SAFETY: the caller's arguments, handed on unchanged.
    let value = unsafe { real(session, object, template, count) };
    if fault() == "leaky" && value == CKR_OK {
        // SAFETY: the caller gave `count` attributes there.
        let attributes = unsafe { std::slice::from_raw_parts_mut(template, count as usize) };
        for attribute in attributes.iter_mut().filter(|one| one.type_ == CKA_EXTRACTABLE && !one.pValue.is_null()) {
            // SAFETY: a buffer for a CK_BBOOL, which the real module has just filled.
            unsafe { *attribute.pValue.cast::<CK_BYTE>() = 1 };
        }
    }
    value
}

unsafe extern "C" fn log_in(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_BYTE, len: CK_ULONG) -> CK_RV {
    if fault() == "hang-login" {
        hang();
    }
    let Some(real) = LISTS.get().and_then(|lists| lists.real.C_Login) else { return CKR_FUNCTION_NOT_SUPPORTED };
    // SAFETY: the caller's arguments, handed on unchanged.
    unsafe { real(session, user, pin, len) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Leaves a file `hanging` beside the fault, so that a test knows when.
fn hang() -> ! {
    if let Some(file) = fault_file() {
        let _ = std::fs::write(file.with_file_name("hanging"), "");
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// The fault to commit now.
fn fault() -> String {
    let Some((module, fault)) = fault_file_lines() else { return String::new() };
    if fault.ends_with("-once")
        && let Some(file) = fault_file()
    {
        let _ = std::fs::write(file, module);
    }
    fault
}

fn fault_file() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("SOFTHSM2_CONF")?).with_file_name("fault"))
}

fn fault_file_lines() -> Option<(String, String)> {
    let text = std::fs::read_to_string(fault_file()?).ok()?;
    let mut lines = text.lines();
    Some((lines.next()?.to_owned(), lines.next().unwrap_or_default().to_owned()))
}
