//! What can go wrong, sorted by what the caller can do about it.
//!
//! No error holds a secret, and everything an attacker could learn from is one variant: `OpenError::Refused` says
//! neither whether key, context, bytes or padding were wrong, nor where.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The system gave no random bytes. Nothing was sealed; trying again later may work.
#[derive(Debug, thiserror::Error)]
#[error("the system's random generator failed: nothing was sealed, check this machine before the next attempt")]
pub struct RandomFailed;

/// AWS-LC refused a well-formed request, which in practice means that it found no memory.
#[derive(Debug, thiserror::Error)]
#[error("the cryptographic library could not do its work: out of memory?")]
pub struct CipherFailed;

/// Why a file was not written. Nothing of it stays under its name.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another file has the name, and was not to be replaced.
    #[error("{path} is there already: name another target, or ask for it to be replaced")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Disk, quota or size limit is used up.
    #[error("no room for {path}: free some, or choose another folder")]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot write {path}: it is not complete")]
    Failed {
        /// The file, or a name for where the bytes went.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl WriteError {
    pub(crate) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Failed { path, source },
        }
    }
}

/// `STRONGROOM_CPU`, or a test, asked for instructions that this processor lacks, or for a path that does not exist.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "this processor has no cipher path {asked:?} ({names} exist): unset STRONGROOM_CPU, or name one that is present",
    names = crate::CpuPath::NAMES.join(", ")
)]
pub struct PathAbsent {
    /// The name that was asked for.
    pub asked: String,
}

/// Why something was not sealed. Whatever was written so far is not a sealed stream: begin again with a new `Sealer`.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No random bytes for salt or key.
    #[error(transparent)]
    Random(#[from] RandomFailed),
    /// The cryptographic library failed.
    #[error(transparent)]
    Cipher(#[from] CipherFailed),
    /// `STRONGROOM_CPU` asks for what this processor lacks.
    #[error(transparent)]
    Path(#[from] PathAbsent),
    /// The caller's mistake: a batch that is not the last must be one or more full segments.
    #[error("a batch of {plain_len} bytes is no whole number of segments of {segment_len} bytes, and not the last")]
    NotWholeSegments {
        /// Plaintext bytes asked for.
        plain_len: usize,
        /// Plaintext bytes of a full segment.
        segment_len: usize,
    },
    /// The caller's mistake: only an empty object has an empty last batch; hold one batch back until the end is seen.
    #[error("the last batch is empty although others came before: hold a batch back until the end is known")]
    EmptyLastBatch,
    /// The caller's mistake: the last batch was handed out already.
    #[error("the last batch of this sealed stream was already handed out")]
    AfterLast,
    /// The caller's mistake: buffers that do not have the lengths the batch was made for.
    #[error("a batch of {plain_len} to {sealed_len} bytes was given buffers of {plain_given} and {sealed_given}")]
    WrongBuffer {
        /// Plaintext bytes of the batch.
        plain_len: usize,
        /// Sealed bytes of the batch.
        sealed_len: usize,
        /// Bytes of the plaintext given.
        plain_given: usize,
        /// Bytes of the buffer given for the sealed segments.
        sealed_given: usize,
    },
    /// More plaintext than one key may encrypt.
    #[error("a sealed stream holds at most {max} bytes: split the object into parts", max = crate::PLAIN_LEN_MAX)]
    TooLong,
    /// The source could not be read.
    #[error("cannot read {path} at byte {offset}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The target could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The caller's cancel flag was set. No target was left behind.
    #[error("cancelled: nothing was kept")]
    Cancelled,
}

/// Why something was not opened. Not one byte of a segment that failed was released.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Wrong key, other object, altered, missing or added bytes: deliberately one answer.
    #[error("sealed stream refused: not sealed with this key for this object, or altered since")]
    Refused,
    /// Not a sealed stream, or one of a later version.
    #[error("sealed stream has format {found:02x?}, which this version does not read: upgrade this node")]
    UnknownFormat {
        /// The magic as found.
        found: [u8; 4],
    },
    /// The caller's mistake, or a short read: the bytes are not whole segments of this layout.
    #[error("{sealed_len} bytes from segment {first} on are not whole segments of this sealed stream")]
    NotWholeSegments {
        /// Index of the first segment.
        first: u64,
        /// Bytes given.
        sealed_len: usize,
    },
    /// The caller's mistake: a room for the plaintext that has not the length asked for.
    #[error("{room_len} bytes of room are needed, {given} were given")]
    WrongBuffer {
        /// Bytes needed, [`Opener::room_len`](crate::Opener::room_len).
        room_len: usize,
        /// Bytes given.
        given: usize,
    },
    /// The cryptographic library failed.
    #[error(transparent)]
    Cipher(#[from] CipherFailed),
    /// `STRONGROOM_CPU` asks for what this processor lacks.
    #[error(transparent)]
    Path(#[from] PathAbsent),
    /// The source could not be read.
    #[error("cannot read {path} at byte {offset}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The target could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The caller's cancel flag was set. No target was left behind.
    #[error("cancelled: nothing was kept")]
    Cancelled,
}
