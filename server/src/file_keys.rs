//! The wrapped keys that lie beside a sealed file, in a file of their own.
//!
//! A sealed file names its key by id, so such a file may hold several: while one sealed file takes another's place, both
//! keys stand in it, and a crash between the two steps costs nothing. Wrapped keys are not secret. What is not exactly in
//! this format is refused, and never written over.
//!
//! ```text
//! strongroom-keys/1
//! <key id: 32 hexadecimal digits> <wrapped key, encoded, in hexadecimal>
//! ```
//! Lower case, one line a key, each ended by a line feed. The wrap's context has kind "data key" and the key id where an
//! object has its write id; all other fields are empty.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use strongroom_engine::{Context, ContextDigest, Existing, KeyId, Kind, Target, WriteError};
use strongroom_hsm::WrappedKey;

const FIRST_LINE: &str = "strongroom-keys/1";

/// More than a thousand keys.
const LEN_MAX: u64 = 1 << 20;

/// Why the keys beside a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileKeysError {
    /// Name another, or correct its permissions.
    #[error("cannot read the wrapped keys in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else has the name, or it was altered: nothing was written to it.
    #[error("{path} is not a file of wrapped keys, or was altered: name another, or restore it")]
    NotKeys {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to another sealed file.
    #[error("{path} has no key {id}: name the file that was made with the sealed one")]
    NoSuchKey {
        /// The file.
        path: PathBuf,
        /// The key that the sealed file names.
        id: KeyId,
    },
    /// As the disk says.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The wrapped keys of one such file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileKeys(BTreeMap<KeyId, WrappedKey>);

impl FileKeys {
    /// What the file at `path` holds; nothing where there is none.
    ///
    /// # Errors
    /// [`FileKeysError::Read`] and [`FileKeysError::NotKeys`].
    pub fn read(path: &Path) -> Result<Self, FileKeysError> {
        let read = |source| FileKeysError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file.map_err(read)?,
        };
        let mut bytes = Vec::new();
        file.take(LEN_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        let keys = str::from_utf8(&bytes).ok().filter(|text| text.len() as u64 <= LEN_MAX).and_then(Self::parse);
        keys.ok_or_else(|| FileKeysError::NotKeys { path: path.to_owned() })
    }

    /// Writes them to `path`, in the place of what is there, in one step; or removes that, where there are none.
    ///
    /// # Errors
    /// [`FileKeysError::Write`]; what was there then still is.
    pub fn write(&self, path: &Path) -> Result<(), FileKeysError> {
        if self.0.is_empty() {
            return match std::fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    Err(WriteError::Failed { path: path.to_owned(), source }.into())
                }
                _ => Ok(()),
            };
        }
        let target = Target::create(path, Existing::Replace)?;
        target.write_at(self.to_text().as_bytes(), 0)?;
        Ok(target.keep()?)
    }

    /// Adds a key.
    pub fn insert(&mut self, id: KeyId, wrapped: WrappedKey) {
        self.0.insert(id, wrapped);
    }

    /// Takes a key out.
    pub fn remove(&mut self, id: KeyId) {
        self.0.remove(&id);
    }

    /// The key with this id, of the file that was read from `path`.
    ///
    /// # Errors
    /// [`FileKeysError::NoSuchKey`].
    pub fn of(&self, id: KeyId, path: &Path) -> Result<&WrappedKey, FileKeysError> {
        self.0.get(&id).ok_or_else(|| FileKeysError::NoSuchKey { path: path.to_owned(), id })
    }

    fn to_text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        for (id, wrapped) in &self.0 {
            let _ = write!(text, "{id} "); // a String never refuses
            for byte in wrapped.encode() {
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let mut keys = BTreeMap::new();
        for line in lines {
            let (id, wrapped) = line.split_once(' ')?;
            let wrapped = WrappedKey::decode(&from_hexadecimal(wrapped)?).ok()?;
            if keys.insert(id.parse().ok()?, wrapped).is_some() {
                return None;
            }
        }
        Some(Self(keys))
    }
}

/// What the data key `id` of a file is wrapped for.
pub fn wrap_context(id: &KeyId) -> ContextDigest {
    Context { write_id: id.as_bytes(), ..Context::new(Kind::DataKey) }.digest()
}

/// Lower case only, so that there is one text for each key.
fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, odd) = text.as_bytes().as_chunks::<2>();
    odd.is_empty().then(|| pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strongroom_hsm::{MasterKeyId, Rung};

    use super::*;

    fn id(byte: u8) -> KeyId {
        KeyId::from_bytes([byte; 16])
    }

    fn wrapped(byte: u8) -> WrappedKey {
        WrappedKey { master: MasterKeyId::new([byte; 16]), rung: Rung::AesGcm, ciphertext: vec![byte; 63] }
    }

    fn two() -> FileKeys {
        FileKeys([(id(1), wrapped(3)), (id(2), wrapped(4))].into())
    }

    #[test]
    fn keys_that_were_written_are_read_and_without_any_the_file_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.key");
        assert_eq!(FileKeys::read(&path).unwrap(), FileKeys::default());
        two().write(&path).unwrap();
        assert_eq!(FileKeys::read(&path).unwrap(), two());
        assert_eq!(*FileKeys::read(&path).unwrap().of(id(2), &path).unwrap(), wrapped(4));
        assert!(matches!(two().of(id(3), &path), Err(FileKeysError::NoSuchKey { .. })));
        FileKeys::default().write(&path).unwrap();
        assert!(!path.exists());
        FileKeys::default().write(&path).unwrap();
    }

    #[test]
    fn what_is_not_exactly_in_the_format_is_refused() {
        let text = two().to_text();
        for len in 0..text.len() {
            let line_end = text[..len].ends_with('\n');
            assert_eq!(FileKeys::parse(&text[..len]).is_some(), line_end, "{len} bytes");
        }
        let line = text.lines().nth(1).unwrap();
        for altered in [
            text.replace("/1", "/2"),
            text.to_uppercase(),
            text.replace('\n', "\r\n"),
            format!("{text}{line}\n"), // twice the same id
            format!("{text}\n"),
        ] {
            assert!(FileKeys::parse(&altered).is_none(), "{altered}");
        }
    }

    #[test]
    fn a_file_that_is_something_else_is_named_and_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff my diary").unwrap();
        assert!(matches!(FileKeys::read(file.path()), Err(FileKeysError::NotKeys { path }) if path == file.path()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = FileKeys::parse(&text);
            let _ = FileKeys::parse(&format!("{FIRST_LINE}\n{text}\n"));
        }
    }
}
