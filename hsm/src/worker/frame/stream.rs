//! Frames on a socket: 4 bytes of length, then the body. Several go in one write, and several are taken by one read.

use std::io::{self, Read, Write};
use zeroize::{Zeroize as _, Zeroizing};

/// The longest frame, in bytes: some thousand known keys, of the longest kind.
pub(super) const FRAME_LEN_MAX: usize = 1 << 23;

/// Bytes of the length in front of each body.
const HEAD_LEN: usize = 4;

/// Bytes taken by one read: more calls than a worker is ever given at once.
const BUFFER_LEN: usize = 8192;

/// Puts a frame behind those that wait for one write. Fails for a body that is too long.
pub(in crate::worker) fn append(frames: &mut Vec<u8>, body: &[u8]) -> io::Result<()> {
    let len = u32::try_from(body.len()).ok().filter(|len| *len as usize <= FRAME_LEN_MAX);
    frames.extend_from_slice(&len.ok_or(io::ErrorKind::InvalidInput)?.to_be_bytes());
    frames.extend_from_slice(body);
    Ok(())
}

/// Several frames in one write.
pub(in crate::worker) fn send(socket: &mut impl Write, bodies: &[Zeroizing<Vec<u8>>]) -> io::Result<()> {
    let total = bodies.iter().map(|body| HEAD_LEN + body.len()).sum();
    let mut frames = Zeroizing::new(Vec::with_capacity(total));
    bodies.iter().try_for_each(|body| append(&mut frames, body))?;
    socket.write_all(&frames)
}

/// Takes frames out of a stream. What it has read ahead is wiped as it is handed out.
pub(in crate::worker) struct FrameReader<R> {
    stream: R,
    ahead: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
}

impl<R: Read> FrameReader<R> {
    pub(in crate::worker) fn new(stream: R) -> Self {
        Self { stream, ahead: Zeroizing::new(vec![0; BUFFER_LEN]), start: 0, end: 0 }
    }

    /// The next body; nothing at the end of the stream, if that is where a frame would begin.
    pub(in crate::worker) fn receive(&mut self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(len) = self.head()? else { return Ok(None) };
        if len > FRAME_LEN_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.start += HEAD_LEN;
        let mut body = Zeroizing::new(vec![0; len]);
        let (here, beyond) = body.split_at_mut(len.min(self.end - self.start));
        self.take(here);
        self.stream.read_exact(beyond)?;
        Ok(Some(body))
    }

    /// Whether the next [`receive`](Self::receive) needs no read.
    pub(in crate::worker) fn is_ready(&self) -> bool {
        let ahead = &self.ahead[self.start..self.end];
        ahead.split_first_chunk().is_some_and(|(head, body)| body.len() >= u32::from_be_bytes(*head) as usize)
    }

    pub(in crate::worker) fn stream(&self) -> &R {
        &self.stream
    }

    /// The length in front of the next body, left where it is.
    fn head(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(head) = self.ahead[self.start..self.end].first_chunk() {
                return Ok(Some(u32::from_be_bytes(*head) as usize));
            }
            if self.fill()? == 0 {
                return if self.start == self.end { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// One read. At most a part of a head is there already, which is moved to the front.
    fn fill(&mut self) -> io::Result<usize> {
        self.ahead.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = self.stream.read(&mut self.ahead[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// Hands out what was read ahead.
    fn take(&mut self, to: &mut [u8]) {
        let taken = &mut self.ahead[self.start..self.start + to.len()];
        to.copy_from_slice(taken);
        taken.zeroize();
        self.start += to.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives at most so many bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let room = to.len().min(self.1);
            self.0.read(&mut to[..room])
        }
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_refused_before_it_is_read() {
        let head = u32::try_from(FRAME_LEN_MAX + 1).unwrap().to_be_bytes();
        let error = FrameReader::new(head.as_slice()).receive().err();
        assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
    }

    #[test]
    fn the_end_between_frames_is_the_end_and_inside_one_is_an_error() {
        assert!(FrameReader::new([].as_slice()).receive().is_ok_and(|body| body.is_none()));
        assert!(FrameReader::new([0, 0].as_slice()).receive().is_err());
        assert!(FrameReader::new([0, 0, 0, 2, 9].as_slice()).receive().is_err());
    }

    #[test]
    fn what_was_handed_out_is_read_ahead_no_longer() {
        let mut frames = Vec::new();
        [b"first".as_slice(), b"second"].iter().for_each(|body| append(&mut frames, body).unwrap());
        let mut reader = FrameReader::new(frames.as_slice());
        assert_eq!(reader.receive().unwrap().unwrap().as_slice(), b"first");
        assert!(reader.is_ready());
        assert!(!reader.ahead.windows(5).any(|bytes| bytes == b"first"));
        assert_eq!(reader.receive().unwrap().unwrap().as_slice(), b"second");
        assert!(!reader.is_ready() && !reader.ahead.windows(6).any(|bytes| bytes == b"second"));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            lens in prop::collection::vec(prop_oneof![0..600_usize, Just(BUFFER_LEN), Just(3 * BUFFER_LEN)], 0..30),
            at_a_time in prop_oneof![1..9_usize, Just(BUFFER_LEN)],
        ) {
            let bodies: Vec<Vec<u8>> = (1_u8..).zip(&lens).map(|(fill, len)| vec![fill; *len]).collect();
            let mut frames = Vec::new();
            bodies.iter().for_each(|body| append(&mut frames, body).unwrap());
            let mut reader = FrameReader::new(Drip(&frames, at_a_time));
            for body in &bodies {
                let read = reader.receive().unwrap().unwrap();
                prop_assert_eq!(&*read, body);
            }
            prop_assert!(reader.receive().unwrap().is_none());
        }
    }
}
