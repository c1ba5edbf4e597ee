//! C_GetTokenInfo once more, past the crate, for modules whose clock field does not hold a time.
//!
//! One such module says that it has a clock and leaves the field blank, which the crate refuses as a whole. Only the module
//! that is loaded already is asked, and only the fields without the clock are taken.

#![allow(unsafe_code, reason = "PKCS#11 is a C interface, and the crate's list of functions is private")]

use cryptoki::slot::{Slot, TokenInfo};
use cryptoki_sys::{CK_SLOT_ID, CK_TOKEN_INFO, CKF_CLOCK_ON_TOKEN, CKR_OK};
use std::path::Path;

/// What the token in this slot tells of itself, without the time.
pub(super) fn without_clock(module: &Path, slot: Slot) -> Option<TokenInfo> {
    // SAFETY: this module is loaded and initialised in this process already, so its initialisers do not run again.
    let library = unsafe { cryptoki_sys::Pkcs11::new(module) }.ok()?;
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the pointer.
    if unsafe { library.C_GetFunctionList(&raw mut list) } != CKR_OK || list.is_null() {
        return None;
    }
    // SAFETY: CKR_OK promises a valid list, which lives as long as the library.
    let function = unsafe { (*list).C_GetTokenInfo }?;
    let mut info = CK_TOKEN_INFO::default();
    // SAFETY: the function is of this library, and `info` is a valid place for the answer.
    if unsafe { function(slot.id() as CK_SLOT_ID, &raw mut info) } != CKR_OK {
        return None;
    }
    info.flags &= !CKF_CLOCK_ON_TOKEN;
    TokenInfo::try_from(info).ok()
}
