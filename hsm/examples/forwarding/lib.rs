//! A PKCS#11 module for this crate's tests: hands every call on to a real module, and goes wrong where it is told to.
//!
//! The file `fault` beside the one that SOFTHSM2_CONF or KRYOPTIC_CONF names says how: its first line is the path of the
//! real module, each further one a fault (see [`fault`]), a way in which tokens make the IV of AES-GCM (see [`iv`]), or one
//! in which they refuse keys (see [`keys`]). It is read at every call, so that a test changes it under a running worker.

#![allow(unsafe_code, non_snake_case, reason = "PKCS#11 is a C interface")]
#![allow(clippy::missing_safety_doc, missing_docs, reason = "the standard is the documentation")]
#![allow(clippy::expect_used, reason = "a module for tests that cannot go on fails")]
#![allow(clippy::multiple_unsafe_ops_per_block, reason = "a shim of C calls, for tests only")]

mod fault;
mod iv;
mod keys;

use cryptoki_sys::*;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Lists {
    real: CK_FUNCTION_LIST,
    ours: CK_FUNCTION_LIST,
    /// Of a module of version 3, whose first functions are the same.
    ours_3: Option<CK_FUNCTION_LIST_3_0>,
    _library: Pkcs11,
}

static LISTS: OnceLock<Option<Lists>> = OnceLock::new();

fn lists() -> Option<&'static Lists> {
    LISTS.get_or_init(load).as_ref()
}

/// The real module's functions.
fn real() -> &'static CK_FUNCTION_LIST {
    &lists().expect("a function of ours was called, so there is a list").real
}

/// CK_INTERFACE is a struct of pointers that live as long as the process.
struct Interface(CK_INTERFACE);
// SAFETY: never written to.
unsafe impl Sync for Interface {}
// SAFETY: never written to.
unsafe impl Send for Interface {}

static INTERFACE: OnceLock<Interface> = OnceLock::new();

#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(out: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    let Some(lists) = lists() else { return CKR_GENERAL_ERROR };
    // SAFETY: the caller gives a valid place for the pointer; the list is never written to through it.
    unsafe { *out = (&raw const lists.ours).cast_mut() };
    CKR_OK
}

/// None for a module of version 2: then C_GetFunctionList is asked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetInterface(
    _name: *mut CK_UTF8CHAR,
    _version: *mut CK_VERSION,
    out: *mut *mut CK_INTERFACE,
    _flags: CK_FLAGS,
) -> CK_RV {
    let Some(lists) = lists() else { return CKR_GENERAL_ERROR };
    let Some(list) = &lists.ours_3 else { return CKR_OK };
    let interface = INTERFACE.get_or_init(|| {
        Interface(CK_INTERFACE {
            pInterfaceName: c"PKCS 11".as_ptr().cast_mut().cast(),
            pFunctionList: (&raw const *list).cast_mut().cast(),
            flags: 0,
        })
    });
    // SAFETY: the caller gives a valid place for the pointer.
    unsafe { *out = (&raw const interface.0).cast_mut() };
    CKR_OK
}

fn load() -> Option<Lists> {
    // SAFETY: loading the real module runs its initialisers, which are sound.
    let library = unsafe { Pkcs11::new(PathBuf::from(fault::module()?)) }.ok()?;
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the pointer.
    if unsafe { library.C_GetFunctionList(&raw mut list) } != CKR_OK {
        return None;
    }
    // SAFETY: CKR_OK promises a valid list, which lives as long as the library.
    let real = unsafe { *list };
    let mut ours = real;
    ours.C_GetFunctionList = Some(C_GetFunctionList);
    ours.C_Initialize = Some(initialize);
    ours.C_GetSlotList = Some(slot_list);
    ours.C_OpenSession = Some(open_session);
    ours.C_CloseSession = Some(close_session);
    ours.C_Login = Some(log_in);
    ours.C_FindObjectsInit = Some(find_objects_init);
    ours.C_GetAttributeValue = Some(attribute_value);
    ours.C_GenerateKey = Some(keys::generate);
    ours.C_GenerateKeyPair = Some(keys::generate_pair);
    ours.C_EncryptInit = Some(encrypt_init);
    ours.C_Encrypt = Some(encrypt);
    ours.C_DecryptInit = Some(decrypt_init);
    ours.C_Decrypt = Some(decrypt);
    let ours_3 = version_3(&library).map(|mut list| {
        list.C_Initialize = ours.C_Initialize;
        list.C_GetSlotList = ours.C_GetSlotList;
        list.C_OpenSession = ours.C_OpenSession;
        list.C_CloseSession = ours.C_CloseSession;
        list.C_Login = ours.C_Login;
        list.C_FindObjectsInit = ours.C_FindObjectsInit;
        list.C_GetAttributeValue = ours.C_GetAttributeValue;
        list.C_GenerateKey = ours.C_GenerateKey;
        list.C_GenerateKeyPair = ours.C_GenerateKeyPair;
        list.C_EncryptInit = ours.C_EncryptInit;
        list.C_Encrypt = ours.C_Encrypt;
        list.C_DecryptInit = ours.C_DecryptInit;
        list.C_Decrypt = ours.C_Decrypt;
        list
    });
    Some(Lists { real, ours, ours_3, _library: library })
}

fn version_3(library: &Pkcs11) -> Option<CK_FUNCTION_LIST_3_0> {
    if library.C_GetInterface.is_err() {
        return None;
    }
    let mut interface = std::ptr::null_mut();
    // SAFETY: `interface` is a valid place for the pointer; the name and the version may be null.
    let value = unsafe { library.C_GetInterface(std::ptr::null_mut(), std::ptr::null_mut(), &raw mut interface, 0) };
    if value != CKR_OK || interface.is_null() {
        return None;
    }
    // SAFETY: CKR_OK promises a valid interface, whose list begins with its version.
    let (version, list) = unsafe {
        let list = (*interface).pFunctionList;
        (*list.cast::<CK_VERSION>(), list)
    };
    // SAFETY: lists of later versions of 3 begin as that of 3.0.
    (version.major == 3).then(|| unsafe {
        let mut list = *list.cast::<CK_FUNCTION_LIST_3_0>();
        list.version.minor = 0;
        list
    })
}

/// Calls the real function, unless this call is to fail.
macro_rules! forward {
    ($name:ident($($argument:expr),*)) => {
        match fault::of(stringify!($name)) {
            Some(value) => value,
            None => match real().$name {
                // SAFETY: the caller's arguments, handed on.
                Some(function) => unsafe { function($($argument),*) },
                None => CKR_FUNCTION_NOT_SUPPORTED,
            },
        }
    };
}
pub(crate) use forward;

/// The arguments of C_Initialize as NSS knows them: with a string that the standard does not have.
#[repr(C)]
struct NssArguments {
    standard: CK_C_INITIALIZE_ARGS,
    reserved: *mut std::ffi::c_void,
}

/// With the fault `initialize TEXT`, gives NSS the text that it does not start without.
unsafe extern "C" fn initialize(arguments: *mut std::ffi::c_void) -> CK_RV {
    let text = fault::argument("initialize").and_then(|text| std::ffi::CString::new(text).ok());
    let Some(text) = text else { return forward!(C_Initialize(arguments)) };
    let mut ours = NssArguments { standard: CK_C_INITIALIZE_ARGS::default(), reserved: std::ptr::null_mut() };
    ours.standard.flags = CKF_OS_LOCKING_OK;
    ours.standard.pReserved = text.into_raw().cast();
    forward!(C_Initialize((&raw mut ours).cast()))
}

unsafe extern "C" fn slot_list(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    if fault::is("lost") {
        // SAFETY: the caller gives a place for the count.
        unsafe { *count = 0 };
        return CKR_OK;
    }
    forward!(C_GetSlotList(present, slots, count))
}

static SESSIONS: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn open_session(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut std::ffi::c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    let limit = fault::argument("sessions").and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
    if SESSIONS.load(Ordering::SeqCst) >= limit {
        return CKR_SESSION_COUNT;
    }
    let value = forward!(C_OpenSession(slot, flags, application, notify, session));
    if value == CKR_OK {
        SESSIONS.fetch_add(1, Ordering::SeqCst);
    }
    value
}

unsafe extern "C" fn close_session(session: CK_SESSION_HANDLE) -> CK_RV {
    let value = forward!(C_CloseSession(session));
    if value == CKR_OK {
        SESSIONS.fetch_sub(1, Ordering::SeqCst);
    }
    value
}

unsafe extern "C" fn log_in(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_BYTE, len: CK_ULONG) -> CK_RV {
    fault::note_login();
    if fault::is("hang-login") {
        fault::hang();
    }
    forward!(C_Login(session, user, pin, len))
}

unsafe extern "C" fn find_objects_init(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    forward!(C_FindObjectsInit(session, template, count))
}

unsafe extern "C" fn attribute_value(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    let value = forward!(C_GetAttributeValue(session, object, template, count));
    if fault::is("leaky") && value == CKR_OK {
        // SAFETY: the caller gave `count` attributes there.
        let attributes = unsafe { std::slice::from_raw_parts_mut(template, count as usize) };
        for attribute in attributes.iter_mut().filter(|one| one.type_ == CKA_EXTRACTABLE && !one.pValue.is_null()) {
            // SAFETY: a buffer for a CK_BBOOL, which the real module has just filled.
            unsafe { *attribute.pValue.cast::<CK_BYTE>() = 1 };
        }
    }
    value
}

unsafe extern "C" fn encrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    if !keys::load(key, keys::Half::Encrypts) {
        return CKR_DEVICE_MEMORY;
    }
    // SAFETY: the caller gives a valid mechanism.
    unsafe { iv::encrypt_init(session, mechanism, key) }
}

unsafe extern "C" fn encrypt(
    session: CK_SESSION_HANDLE,
    plain: *mut CK_BYTE,
    plain_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    fault::slow();
    // SAFETY: the caller's arguments, handed on.
    unsafe { iv::encrypt(session, plain, plain_len, out, out_len) }
}

unsafe extern "C" fn decrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    if !keys::load(key, keys::Half::Decrypts) {
        return CKR_DEVICE_MEMORY;
    }
    // SAFETY: the caller gives a valid mechanism.
    unsafe { iv::decrypt_init(session, mechanism, key) }
}

unsafe extern "C" fn decrypt(
    session: CK_SESSION_HANDLE,
    sealed: *mut CK_BYTE,
    sealed_len: CK_ULONG,
    out: *mut CK_BYTE,
    out_len: *mut CK_ULONG,
) -> CK_RV {
    fault::slow();
    if fault::is("crash") || fault::is("crash-once") {
        std::process::abort();
    }
    if fault::is("hang-once") {
        fault::hang();
    }
    // SAFETY: the caller's input, `sealed_len` bytes long.
    let digits = fault::hex(unsafe { std::slice::from_raw_parts(sealed, sealed_len as usize) });
    if fault::argument("poison").is_some_and(|poison| poison == digits) {
        std::process::abort();
    }
    if fault::argument("hang").is_some_and(|hang| hang == digits) {
        fault::hang();
    }
    // SAFETY: the caller's arguments, handed on.
    let value = unsafe { iv::decrypt(session, sealed, sealed_len, out, out_len) };
    if value == CKR_OK && !out.is_null() && fault::is("wrong-key") {
        // SAFETY: CKR_OK and a buffer: at least one byte was written to it.
        unsafe { *out ^= 1 };
    }
    value
}
