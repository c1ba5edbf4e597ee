//! The first access key, and the file that hands it to the store's owner.
//!
//! The file is in the AWS shared-credentials format, mode 0600. It is written as `credentials.new` before the store is
//! founded and gets its name once the key is in the catalog: whoever finds `credentials` can use it, and a start that
//! was interrupted anywhere goes on with the same key. The server never reads `credentials` itself: once the owner has
//! moved it away, nothing makes another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use strongroom_engine::{DataKey, RandomFailed};
use zeroize::Zeroizing;

/// An access key: what a client signs with.
pub struct AccessKey {
    /// 20 characters; no secret.
    pub id: String,
    /// 40 characters.
    pub secret: Zeroizing<String>,
}

impl AccessKey {
    /// A new one, at random.
    ///
    /// # Errors
    /// The operating system's random source failed.
    pub fn generate() -> Result<Self, RandomFailed> {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let (id, secret) = (DataKey::generate()?, DataKey::generate()?);
        // 90 random bits: never drawn twice. Five bits of a byte pick one of 32 letters, each as likely as the others.
        let letters = id.expose()[..18].iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
        // 240 random bits.
        let secret = base64_simd::STANDARD.encode_to_string(&secret.expose()[..30]);
        Ok(Self { id: "AK".chars().chain(letters).collect(), secret: Zeroizing::new(secret) })
    }

    /// As a file in the AWS shared-credentials format.
    pub fn to_file_text(&self) -> Zeroizing<String> {
        let (id, secret) = (&self.id, self.secret.as_str());
        Zeroizing::new(format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"))
    }

    fn from_file_text(text: &str) -> Option<Self> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
        let (id, secret) = (value("aws_access_key_id")?.trim(), value("aws_secret_access_key")?.trim());
        let whole = text.ends_with('\n') && id.len() == 20 && secret.len() == 40;
        whole.then(|| Self { id: id.to_owned(), secret: Zeroizing::new(secret.to_owned()) })
    }
}

/// `DIR/credentials`, and its form before the key is in the catalog.
pub struct CredentialsFile {
    folder: PathBuf,
}

impl CredentialsFile {
    /// The one in `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Where the owner finds it.
    pub fn path(&self) -> PathBuf {
        self.folder.join("credentials")
    }

    fn pending_path(&self) -> PathBuf {
        self.folder.join("credentials.new")
    }

    /// The key that a first start wrote down and did not finish with.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn pending(&self) -> io::Result<Option<AccessKey>> {
        match fs::read_to_string(self.pending_path()).map(Zeroizing::new) {
            // Half written: nobody has used it, as writing comes before founding.
            Ok(text) => Ok(AccessKey::from_file_text(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes down a key that is to be added to the catalog; durable on return.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_pending(&self, key: &AccessKey) -> io::Result<()> {
        let path = self.pending_path();
        // One that exists may have another mode.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(key.to_file_text().as_bytes())?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// The key is in the catalog: the file gets its name; durable on return.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn publish(&self) -> io::Result<()> {
        fs::rename(self.pending_path(), self.path())?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_pending_key_survives_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = CredentialsFile::in_folder(folder.path());
        assert!(file.pending().unwrap().is_none());
        let key = AccessKey::generate().unwrap();
        assert_eq!((key.id.len(), key.secret.len()), (20, 40));
        fs::write(file.pending_path(), "[default]\naws_access").unwrap();
        assert!(file.pending().unwrap().is_none(), "half a file counts as none");
        file.write_pending(&key).unwrap();
        let found = file.pending().unwrap().unwrap();
        assert!(found.id == key.id && found.secret == key.secret);
        file.publish().unwrap();
        assert!(file.pending().unwrap().is_none());
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
