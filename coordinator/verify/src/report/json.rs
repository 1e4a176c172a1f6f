//! The report as one JSON object.

use std::io::{self, BufWriter, Write};

use reachproof_model::net::escaped_json;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::report::Report;

/// Containers of a report whose items stand in lines of their own: the report itself, and each of its parts.
const SPREAD: usize = 2;

/// Size of the pieces in which JSON is handed on, in bytes: a serializer writes some bytes at a time, and each such call
/// would otherwise go through a pointer.
const PIECE: usize = 1 << 16;

/// Writes `report` as one JSON object with a line feed at the end, safe for a terminal: a line for each finding, gap or
/// answer, so that a report of many flows is neither twice as large as it need be nor one line.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> Result<(), serde_json::Error> {
    in_pieces(out, |out| lines(report, SPREAD, out))
}

/// Lets `write` write to `out` in pieces of [`PIECE`] bytes.
pub(super) fn in_pieces(
    out: &mut dyn Write,
    write: impl FnOnce(&mut BufWriter<&mut dyn Write>) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    let mut pieces = BufWriter::with_capacity(PIECE, out);
    write(&mut pieces)?;
    pieces.flush().map_err(serde_json::Error::io)
}

/// Returns the report as one JSON object.
///
/// # Errors
/// When a value cannot be written as JSON.
pub fn render(report: &Report) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    write(report, &mut bytes)?;
    String::from_utf8(bytes).map_err(|error| serde_json::Error::io(io::Error::other(error)))
}

/// Writes `value` as JSON whose `spread` outermost containers have their items in lines of their own, and a line feed.
pub(super) fn lines(
    value: &impl Serialize,
    spread: usize,
    out: &mut impl Write,
) -> Result<(), serde_json::Error> {
    let formatter = Lines {
        spread,
        depth: 0,
        is_empty: true,
    };
    value.serialize(&mut Serializer::with_formatter(&mut *out, formatter))?;
    out.write_all(b"\n").map_err(serde_json::Error::io)
}

/// How the outermost containers are laid out.
struct Lines {
    spread: usize,
    /// Containers that are open.
    depth: usize,
    /// Whether the one that is closed next has no item.
    is_empty: bool,
}

impl Lines {
    fn open<W: ?Sized + Write>(&mut self, mark: &[u8], out: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        out.write_all(mark)
    }

    fn close<W: ?Sized + Write>(&mut self, mark: &[u8], out: &mut W) -> io::Result<()> {
        let is_spread = self.depth <= self.spread && !self.is_empty;
        self.depth = self.depth.saturating_sub(1);
        self.is_empty = false;
        if is_spread {
            self.line(out)?;
        }
        out.write_all(mark)
    }

    fn item<W: ?Sized + Write>(&mut self, is_first: bool, out: &mut W) -> io::Result<()> {
        self.is_empty = false;
        if !is_first {
            out.write_all(b",")?;
        }
        if self.depth <= self.spread {
            self.line(out)?;
        }
        Ok(())
    }

    fn line<W: ?Sized + Write>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(b"  "))
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(b"[", out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(b"]", out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(first, out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(b"{", out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(b"}", out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.item(first, out)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(if self.depth <= self.spread {
            b": "
        } else {
            b":"
        })
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if fragment.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return out.write_all(fragment.as_bytes());
        }
        out.write_all(escaped_json(fragment).as_bytes())
    }
}
