//! The canary of a master key: a value known to everyone, wrapped under the key when the key was made.
//!
//! Return values do not tell a lost HSM from an altered wrapped key (two of them mean both). The canary does: it must
//! open with the key it was made under, and no other key opens it to this value. It is no secret and guards none.

use crate::provider::MasterKeyId;
use aws_lc_rs::digest;

/// What every canary holds.
pub(crate) const VALUE: &[u8; 32] = b"strongroom canary 1: no secret.\n";

/// The AAD of the canary of one master key. Contexts begin with their kind (a small number), this with a letter, so no
/// context has this digest.
pub(crate) fn context(master: &MasterKeyId) -> [u8; 32] {
    let mut input = b"strongroom/canary/1".to_vec();
    input.extend_from_slice(master.as_bytes());
    let mut aad = [0; 32];
    aad.copy_from_slice(digest::digest(&digest::SHA256, &input).as_ref());
    aad
}
