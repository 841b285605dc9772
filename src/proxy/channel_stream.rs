//! The channel's frames on a Unix stream, for both of its ends: words and descriptors in, words and descriptors out.

use super::channel::LONGEST_FRAME;
use crate::linux::descriptors::{self, MOST_DESCRIPTORS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The length that every frame begins with, bytes.
const HEADER: usize = 4;
/// What is read at once. A frame's buffer grows with what has come, not with what was announced.
const PIECE: usize = 16 * 1024;
/// A larger buffer is not kept for the next frame.
const KEPT: usize = 64 * 1024;

/// What is no frame. The connection that it came on is over.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("a frame of {0} bytes is longer than {LONGEST_FRAME}")]
    TooLong(usize),
    #[error("a frame's words are not known")]
    Words(#[source] serde_json::Error),
    #[error("more than {MOST_DESCRIPTORS} descriptors came along with one frame")]
    Descriptors,
    #[error("it ended within a frame")]
    CutShort,
}

/// Why nothing more comes or goes.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the other side sent no frame")]
    Malformed(#[from] Malformed),
    #[error("the channel broke")]
    Broken(#[from] io::Error),
}

/// A frame's words, and the descriptors that came along.
#[derive(Debug)]
pub struct Frame<T> {
    pub words: T,
    pub descriptors: Vec<OwnedFd>,
}

/// The first frame's words and its length in bytes; none while it is incomplete.
///
/// # Errors
/// What can never become a frame.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Option<(T, usize)>, Malformed> {
    let Some(whole) = announced(bytes)? else { return Ok(None) };
    let Some(words) = bytes.get(HEADER..whole) else { return Ok(None) };
    Ok(Some((serde_json::from_slice(words).map_err(Malformed::Words)?, whole)))
}

/// A frame of these words.
///
/// # Errors
/// It would be longer than [`LONGEST_FRAME`].
pub fn encode<T: Serialize>(words: &T) -> Result<Vec<u8>, Malformed> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, words).map_err(Malformed::Words)?;
    let length = frame.len() - HEADER;
    let header = u32::try_from(length).ok().filter(|_| length <= LONGEST_FRAME).ok_or(Malformed::TooLong(length))?;
    frame[..HEADER].copy_from_slice(&header.to_le_bytes());
    Ok(frame)
}

/// The first frame's length with its header; none before the header is there.
fn announced(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
    if length > LONGEST_FRAME { Err(Malformed::TooLong(length)) } else { Ok(Some(HEADER + length)) }
}

/// Both ways of one connection.
pub fn both_ways<In, Out>(stream: UnixStream) -> (Incoming<In>, Outgoing<Out>) {
    let stream = Arc::new(stream);
    let incoming = Incoming { stream: stream.clone(), bytes: Vec::new(), descriptors: Vec::new(), words: PhantomData };
    (incoming, Outgoing { stream, words: PhantomData })
}

/// What the other side says.
#[derive(Debug)]
pub struct Incoming<T> {
    stream: Arc<UnixStream>,
    /// Of one frame, never of the next one: what comes along with these bytes belongs to it.
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    words: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Incoming<T> {
    /// The next frame; none at the end. It may be given up while it waits, and asked again.
    ///
    /// # Errors
    /// Nothing more will come: what was received makes no frame, or the connection broke.
    pub async fn next(&mut self) -> Result<Option<Frame<T>>, ChannelError> {
        loop {
            if let Some((words, _)) = decode(&self.bytes)? {
                self.bytes.clear();
                self.bytes.shrink_to(KEPT);
                return Ok(Some(Frame { words, descriptors: std::mem::take(&mut self.descriptors) }));
            }
            let wanted = announced(&self.bytes)?.unwrap_or(HEADER) - self.bytes.len();
            if self.read(wanted.min(PIECE)).await? == 0 {
                return if self.bytes.is_empty() { Ok(None) } else { Err(Malformed::CutShort.into()) };
            }
            if self.descriptors.len() > MOST_DESCRIPTORS {
                return Err(Malformed::Descriptors.into());
            }
        }
    }

    async fn read(&mut self, most: usize) -> io::Result<usize> {
        let Incoming { stream, bytes, descriptors, .. } = self;
        let before = bytes.len();
        let read = stream
            .async_io(Interest::READABLE, || {
                bytes.resize(before + most, 0);
                let read = descriptors::receive(&**stream, &mut bytes[before..], descriptors);
                bytes.truncate(before + read.as_ref().copied().unwrap_or(0));
                read
            })
            .await;
        match read {
            // The other side was killed with something of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            read => read,
        }
    }
}

/// What we say.
#[derive(Debug)]
pub struct Outgoing<T> {
    stream: Arc<UnixStream>,
    words: PhantomData<fn(T)>,
}

impl<T: Serialize> Outgoing<T> {
    /// Says it, as soon as there is room. Given up in between it leaves half a frame, and the connection is of no more
    /// use.
    ///
    /// # Errors
    /// Nobody reads any more, or it is more than a frame can carry.
    pub async fn send(&mut self, words: &T, descriptors: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        if descriptors.len() > MOST_DESCRIPTORS {
            return Err(Malformed::Descriptors.into());
        }
        let frame = encode(words)?;
        let mut rest = frame.as_slice();
        let mut along = descriptors;
        while !rest.is_empty() {
            let stream = &self.stream;
            let sent = stream.async_io(Interest::WRITABLE, || descriptors::send(&**stream, rest, along)).await?;
            rest = &rest[sent..];
            along = &[];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
