//! Where the body of an answer ends, and what of it has come (RFC 9112, 6 and 7).

use super::answer_head::{Malformed, end_of_head};
use crate::proxy::framing::chunk_size;
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Frame;
use hyper::http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

/// A longer line before a chunk is a mistake, bytes.
const LONGEST_LINE: usize = 4096;
/// A longer trailer section is a mistake, bytes and lines.
const LONGEST_TRAILERS: usize = 16 * 1024;
const MOST_TRAILERS: usize = 100;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoder(Place);

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// So many bytes are still to come.
    Length(u64),
    UntilEnd,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Over,
}

impl Decoder {
    pub(super) fn none() -> Decoder {
        Decoder(Place::Over)
    }

    pub(super) fn length(length: u64) -> Decoder {
        Decoder(if length == 0 { Place::Over } else { Place::Length(length) })
    }

    pub(super) fn chunked() -> Decoder {
        Decoder(Place::ChunkSize)
    }

    pub(super) fn until_end() -> Decoder {
        Decoder(Place::UntilEnd)
    }

    pub(super) fn is_over(&self) -> bool {
        self.0 == Place::Over
    }

    /// Bytes that are still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.0 {
            Place::Length(left) => Some(left),
            Place::Over => Some(0),
            Place::UntilEnd | Place::ChunkSize | Place::Chunk(_) | Place::ChunkEnd | Place::Trailers => None,
        }
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        match self.0 {
            Place::UntilEnd | Place::Over => self.0 = Place::Over,
            Place::Length(_) | Place::ChunkSize | Place::Chunk(_) | Place::ChunkEnd | Place::Trailers => {
                return Err(Malformed);
            }
        }
        Ok(())
    }

    /// Takes the next piece of the body off what has come; none while there is none.
    pub(super) fn take(&mut self, came: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Malformed> {
        while !came.is_empty() {
            match self.0 {
                Place::Over => return Ok(None),
                Place::UntilEnd => return Ok(Some(Frame::data(came.split().freeze()))),
                Place::Length(left) => {
                    let (data, left) = take_some(came, left);
                    self.0 = if left == 0 { Place::Over } else { Place::Length(left) };
                    return Ok(Some(data));
                }
                Place::Chunk(left) => {
                    let (data, left) = take_some(came, left);
                    self.0 = if left == 0 { Place::ChunkEnd } else { Place::Chunk(left) };
                    return Ok(Some(data));
                }
                Place::ChunkSize => {
                    let Some(end) = memchr(b'\n', came) else {
                        return if came.len() > LONGEST_LINE { Err(Malformed) } else { Ok(None) };
                    };
                    let size = came[..end].strip_suffix(b"\r").and_then(chunk_size).ok_or(Malformed)?;
                    came.advance(end + 1);
                    self.0 = if size == 0 { Place::Trailers } else { Place::Chunk(size) };
                }
                Place::ChunkEnd => match came.get(..2) {
                    Some(b"\r\n") => {
                        came.advance(2);
                        self.0 = Place::ChunkSize;
                    }
                    None if came[0] == b'\r' => return Ok(None),
                    Some(_) | None => return Err(Malformed),
                },
                Place::Trailers => return self.take_trailers(came),
            }
        }
        Ok(None)
    }

    fn take_trailers(&mut self, came: &mut BytesMut) -> Result<Option<Frame<Bytes>>, Malformed> {
        if came.starts_with(b"\r\n") {
            came.advance(2);
            self.0 = Place::Over;
            return Ok(None);
        }
        let Some(end) = end_of_head(came) else {
            return if came.len() > LONGEST_TRAILERS { Err(Malformed) } else { Ok(None) };
        };
        let section = came.split_to(end);
        let mut room = [httparse::EMPTY_HEADER; MOST_TRAILERS];
        let Ok(httparse::Status::Complete((length, lines))) = httparse::parse_headers(&section, &mut room) else {
            return Err(Malformed);
        };
        if length != section.len() {
            return Err(Malformed);
        }
        self.0 = Place::Over;
        let mut trailers = HeaderMap::with_capacity(lines.len());
        for line in lines {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Malformed)?;
            trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| Malformed)?);
        }
        Ok(Some(Frame::trailers(trailers)))
    }
}

/// Data, and how much is left of it then.
fn take_some(came: &mut BytesMut, left: u64) -> (Frame<Bytes>, u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(came.len());
    (Frame::data(came.split_to(here).freeze()), left - here as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data, the trailers, and what is left when it is over.
    type Decoded = (Vec<u8>, Vec<String>, Vec<u8>);

    /// Pieces arrive as they are cut.
    fn decode(mut decoder: Decoder, pieces: &[&[u8]]) -> Result<Decoded, Malformed> {
        let (mut data, mut trailers, mut came) = (Vec::new(), Vec::new(), BytesMut::new());
        for piece in pieces {
            came.extend_from_slice(piece);
            while let Some(frame) = decoder.take(&mut came)? {
                match frame.into_data() {
                    Ok(more) => data.extend_from_slice(&more),
                    Err(frame) => {
                        let of_frame = frame.into_trailers().unwrap();
                        trailers
                            .extend(of_frame.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())));
                    }
                }
            }
        }
        if !decoder.is_over() {
            decoder.end()?;
        }
        Ok((data, trailers, came.to_vec()))
    }

    /// The status and the body of an answer, when there is one.
    fn answer(pieces: &[&[u8]]) -> Result<Option<(u16, Decoded)>, Malformed> {
        let mut came = BytesMut::new();
        for (at, piece) in pieces.iter().enumerate() {
            came.extend_from_slice(piece);
            if let Some(head) = super::super::answer_head::take(&mut came, false)? {
                let rest: Vec<&[u8]> = std::iter::once(&came[..]).chain(pieces[at + 1..].iter().copied()).collect();
                return Ok(Some((head.parts.status.as_u16(), decode(head.body, &rest)?)));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        let (data, _, left) = decode(Decoder::length(5), &[b"he", b"llo more"]).unwrap();
        assert_eq!((&data[..], &left[..]), (&b"hello"[..], &b" more"[..]));
        assert_eq!(decode(Decoder::length(5), &[b"hell"]), Err(Malformed));
        assert_eq!(decode(Decoder::none(), &[b"x"]).unwrap().2, b"x");
        assert_eq!(decode(Decoder::until_end(), &[b"a", b"b"]).unwrap().0, b"ab");
    }

    #[test]
    fn what_is_no_chunk_is_malformed() {
        for body in [
            "x\r\n",
            "-1\r\n",
            "fffffffffffffffff\r\nx",
            "1\nx\r\n0\r\n\r\n",
            "1\r\nxx\r\n0\r\n\r\n",
            "0\r\n: y\r\n\r\n",
            "\r\n",
        ] {
            assert_eq!(decode(Decoder::chunked(), &[body.as_bytes()]), Err(Malformed), "{body:?}");
        }
        let long = format!("1;{}", "x".repeat(LONGEST_LINE));
        assert_eq!(decode(Decoder::chunked(), &[long.as_bytes()]), Err(Malformed));
        let long = format!("0\r\nx: {}", "x".repeat(LONGEST_TRAILERS));
        assert_eq!(decode(Decoder::chunked(), &[long.as_bytes()]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn chunks_are_the_same_however_they_are_cut(
            chunks in proptest::collection::vec("[a-z]{1,20}", 0..6),
            has_trailers in any::<bool>(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let trailers = if has_trailers { "X-Sum: 7\r\nX-B: c\r\n" } else { "" };
            let mut text: String = chunks.iter().map(|chunk| format!("{:X};e=\"v\" \r\n{chunk}\r\n", chunk.len())).collect();
            text += &format!("0\r\n{trailers}\r\nnext");
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            ends.extend([0, text.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let (data, told, left) = decode(Decoder::chunked(), &pieces).unwrap();
            prop_assert_eq!(data, chunks.concat().into_bytes());
            prop_assert_eq!(told, if has_trailers { vec!["x-sum=7".to_owned(), "x-b=c".to_owned()] } else { Vec::new() });
            prop_assert_eq!(&left[..], &b"next"[..]);
            let short = &text.as_bytes()[..text.len() - "next".len() - 1];
            prop_assert_eq!(decode(Decoder::chunked(), &[short]), Err(Malformed));
        }

        #[test]
        fn whatever_an_origin_says_is_taken_the_same_however_it_is_cut(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 100 Continue\r\n\r\n"), Just("HTTP/1.0 404\r\n"),
                    Just("Content-Length: 3\r\n"), Just("Transfer-Encoding: chunked\r\n"), Just("Connection: close, a\r\n"),
                    Just("a: b\r\n"), Just("\r\n"), Just("\n"), Just("\r"), Just("3\r\nabc\r\n"), Just("0\r\n"), Just("\0"), Just(" "),
                ],
                0..20,
            ),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let text = words.concat();
            let mut ends: Vec<usize> = cuts.iter().filter(|_| !text.is_empty()).map(|cut| cut.index(text.len())).collect();
            ends.extend([0, text.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(answer(&pieces), answer(&[text.as_bytes()]));
        }
    }
}
