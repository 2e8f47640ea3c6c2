//! A body in chunks, taken apart strictly. Pure.
//!
//! Sizes are plain hexadecimal digits; extensions and trailers are read over and bounded; every
//! line ends in CR LF. What is found in trailers is forgotten: nothing may be said there that was
//! not said in the head.

use super::request::{BODY_LIMIT, Refusal};

/// Most digits of a chunk's size: leading zeros are allowed, a number that overflows is not.
const SIZE_DIGITS_LIMIT: usize = 8;
/// Longest line before a chunk, its extensions included: nobody uses those.
const SIZE_LINE_LIMIT: usize = 256;
/// Most bytes of trailers.
const TRAILERS_LIMIT: usize = 4 << 10;
/// Most bytes that framing may cost in one body: as many as the body itself may, since a peer that
/// sends a byte a chunk is wrong or ill-disposed.
const FRAMING_LIMIT: usize = BODY_LIMIT;

/// A decoder in the middle of a body.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    body: Vec<u8>,
    framing: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The size of a chunk: so much so far, in so many digits.
    Size { size: usize, digits: usize },
    /// The extensions behind a size, of which so many bytes were read over.
    Extension { size: usize, read: usize },
    /// The line feed behind a size.
    SizeEnd { size: usize },
    /// The data of a chunk, of which so much is to come.
    Data { left: usize },
    /// The carriage return behind the data.
    DataReturn,
    /// The line feed behind the data.
    DataEnd,
    /// A line behind the last chunk, empty so far or not; so many bytes of them were read.
    Trailer { read: usize, empty: bool },
    /// The line feed of such a line.
    TrailerEnd { read: usize, empty: bool },
    /// The body is whole.
    Done,
}

impl Chunks {
    /// A decoder before the first chunk.
    pub fn new() -> Chunks {
        Chunks { state: State::Size { size: 0, digits: 0 }, body: Vec::new(), framing: 0 }
    }

    /// Takes in what has come, up to the end of the body at most; how many bytes it took.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut taken = 0;
        while taken < bytes.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let piece = &bytes[taken..bytes.len().min(taken + left)];
                self.body.extend_from_slice(piece);
                taken += piece.len();
                self.state = match left - piece.len() {
                    0 => State::DataReturn,
                    left => State::Data { left },
                };
            } else {
                self.framing += 1;
                if self.framing > FRAMING_LIMIT {
                    return Err(Refusal::Malformed("the chunks are too small"));
                }
                self.state = self.step(bytes[taken])?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Whether the body is whole.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many bytes of the body there are so far.
    pub fn held(&self) -> usize {
        self.body.len()
    }

    /// The body.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// What follows one byte of framing.
    fn step(&self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Size { size, digits }, _) => self.step_size(size, digits, byte),
            (State::Extension { size, .. }, b'\r') => Ok(State::SizeEnd { size }),
            (State::Extension { size, read }, b'\t' | b' '..=b'~' | 0x80..)
                if read < SIZE_LINE_LIMIT =>
            {
                Ok(State::Extension { size, read: read + 1 })
            }
            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::Trailer { read: 0, empty: true }),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataReturn, b'\r') => Ok(State::DataEnd),
            (State::DataEnd, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::Trailer { read, empty }, b'\r') => Ok(State::TrailerEnd { read, empty }),
            (State::Trailer { read, empty }, b'\t' | b' '..=b'~' | 0x80..)
                if read < TRAILERS_LIMIT && !(empty && byte.is_ascii_whitespace()) =>
            {
                Ok(State::Trailer { read: read + 1, empty: false })
            }
            (State::TrailerEnd { empty: true, .. }, b'\n') => Ok(State::Done),
            (State::TrailerEnd { read, empty: false }, b'\n') => {
                Ok(State::Trailer { read, empty: true })
            }
            _ => Err(Refusal::Malformed("the chunks are malformed")),
        }
    }

    fn step_size(&self, size: usize, digits: usize, byte: u8) -> Result<State, Refusal> {
        let digit = char::from(byte).to_digit(16).filter(|_| digits < SIZE_DIGITS_LIMIT);
        match (digit, byte) {
            (Some(digit), _) => {
                let size = (size << 4) | digit as usize;
                let fits = size <= BODY_LIMIT - self.body.len();
                let next = State::Size { size, digits: digits + 1 };
                if fits { Ok(next) } else { Err(Refusal::BodyTooLong) }
            }
            (None, b'\r') if digits > 0 => Ok(State::SizeEnd { size }),
            (None, b';') if digits > 0 => Ok(State::Extension { size, read: 0 }),
            (None, _) => Err(Refusal::Malformed("the size of a chunk is malformed")),
        }
    }
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the bytes in pieces of every length; the body, or the status of the refusal, or 0
    /// when the end has not come.
    fn read(bytes: &[u8]) -> Result<(Vec<u8>, usize), u16> {
        let at_once = read_in_pieces(bytes, bytes.len().max(1));
        for length in [1, 2, 3, 7] {
            assert_eq!(read_in_pieces(bytes, length), at_once, "in pieces of {length}");
        }
        at_once
    }

    fn read_in_pieces(bytes: &[u8], length: usize) -> Result<(Vec<u8>, usize), u16> {
        let (mut chunks, mut taken) = (Chunks::new(), 0);
        for piece in bytes.chunks(length) {
            taken += chunks.feed(piece).map_err(Refusal::status)?;
            if chunks.is_done() {
                return Ok((chunks.into_body(), taken));
            }
        }
        Err(0)
    }

    #[test]
    fn bodies() {
        let check = |bytes: &str, expected: Result<&str, u16>| {
            let body = read(bytes.as_bytes()).map(|(body, _)| String::from_utf8(body).unwrap());
            assert_eq!(body.as_deref(), expected.as_ref().map(|b| *b), "{bytes:?}");
        };
        check("0\r\n\r\n", Ok(""));
        check("3\r\nabc\r\n0\r\n\r\n", Ok("abc"));
        check("00000003\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", Ok("abc0123456789"));
        check("3;name=\"v\"\r\nabc\r\n0;x\r\n\r\n", Ok("abc"));
        check("0\r\nTrailer: x\r\nOther: y\r\n\r\n", Ok(""));
        check("3\r\nabc\r\n", Err(0));
        check("3\r\nab", Err(0));
        check("0\r\n", Err(0));
        check("3 \r\nabc\r\n0\r\n\r\n", Err(400));
        check(" 3\r\nabc\r\n0\r\n\r\n", Err(400));
        check("\r\nabc", Err(400));
        check(";x\r\n", Err(400));
        check("g\r\n", Err(400));
        check("0x3\r\n", Err(400));
        check("-3\r\n", Err(400));
        check("+3\r\n", Err(400));
        check("3\nabc\r\n0\r\n\r\n", Err(400));
        check("3\r\nabc\n0\r\n\r\n", Err(400));
        check("3\r\nabcd\r\n0\r\n\r\n", Err(400));
        check("3\r\nab\r\n0\r\n\r\n", Err(400));
        check("3;a\0b\r\nabc", Err(400));
        check("3;a\nb\r\nabc", Err(400));
        check("0\r\nTrailer\n\r\n", Err(400));
        check("0\r\n folded\r\n\r\n", Err(400));
        check("000000003\r\nabc\r\n0\r\n\r\n", Err(400));
    }

    #[test]
    fn what_follows_the_body_is_left() {
        assert_eq!(read_in_pieces(b"1\r\na\r\n0\r\n\r\nGET /", 99), Ok((b"a".to_vec(), 11)));
    }

    #[test]
    fn limits() {
        let check = |bytes: &[u8], expected: u16| {
            let refusal = read_in_pieces(bytes, 4096).unwrap_err();
            assert_eq!(refusal, expected, "{} bytes", bytes.len());
        };
        check(b"100001\r\n", 413);
        check(b"FFFFFFFF\r\n", 413);
        check(&[b"FFFFF\r\n", &vec![b'x'; 0xfffff][..], b"\r\n2\r\n"].concat(), 413);
        check(&[b"1;", &[b'x'; SIZE_LINE_LIMIT + 1][..]].concat(), 400);
        check(&[b"0\r\n", &b"a: b\r\n".repeat(2000)[..]].concat(), 400);
        check(&b"1\r\nx\r\n".repeat(FRAMING_LIMIT / 5 + 1), 400);
        let full = [b"100000\r\n", &vec![b'x'; BODY_LIMIT][..], b"\r\n0\r\n\r\n"].concat();
        assert_eq!(read_in_pieces(&full, 4096).map(|(body, _)| body.len()), Ok(BODY_LIMIT));
    }
}
