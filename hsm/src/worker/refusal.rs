//! The PIN that a token refused last, kept in a small file, so that no restart tries it again.
//!
//! The file holds a salt and 16 bits of a slow hash, never a PIN. It is written before the refusal is told and removed when
//! a login succeeds.

use crate::pkcs11::RefusedPin;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

const HEADER: &str = "strongroom refused pin 1";

pub(super) fn read(file: &Path) -> io::Result<Option<RefusedPin>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    parse(&text).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a file of this program"))
}

pub(super) fn write(file: &Path, refused: &RefusedPin) -> io::Result<()> {
    let salt = u128::from_be_bytes(refused.salt);
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)?;
    writeln!(out, "{HEADER}\n{salt:032x} {:04x}", refused.mark)?;
    out.sync_all()
}

pub(super) fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn parse(text: &str) -> Option<RefusedPin> {
    let (salt, mark) = text.strip_prefix(HEADER)?.trim().split_once(' ')?;
    Some(RefusedPin {
        salt: u128::from_str_radix(salt, 16).ok()?.to_be_bytes(),
        mark: u16::from_str_radix(mark, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_read_back_and_forgotten_when_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("refused-pin");
        assert_eq!(read(&file).unwrap(), None);
        let refused = RefusedPin { salt: [0xa7; 16], mark: 0x0102 };
        write(&file, &refused).unwrap();
        assert_eq!(read(&file).unwrap(), Some(refused));
        remove(&file).unwrap();
        remove(&file).unwrap();
        assert_eq!(read(&file).unwrap(), None);
        fs::write(&file, "something else").unwrap();
        assert!(read(&file).is_err());
    }
}
