//! The passphrase: read from a file of its own, for its owner only.

use super::failed;
use crate::error::KeyError;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Longer than anyone types.
const LEN_MAX: usize = 4096;

/// Its bytes, without one newline at the end. Warns where others may read the file.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let unreadable = |error| failed("read passphrase file", path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.mode();
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LEN_MAX + 64));
    file.take(LEN_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    if bytes.is_empty() || bytes.len() > LEN_MAX {
        let shown = path.display();
        return Err(KeyError::Misconfigured(format!("passphrase file {shown} must hold 1 to {LEN_MAX} bytes")));
    }
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others may use the passphrase file: run chmod 600 on it");
    }
    Ok(bytes)
}
