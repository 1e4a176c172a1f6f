//! From bytes to text: gzip by content, byte order marks, UTF-16 as Windows PowerShell writes it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use reachproof_model::describe::Nature;

use super::FILE_BYTES_MAX;

/// First bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// First bytes of archives and of other compressions: zip, zstd, bzip2, xz.
const ARCHIVES: [&[u8]; 4] = [
    b"PK\x03\x04",
    &[0x28, 0xb5, 0x2f, 0xfd],
    b"BZh",
    &[0xfd, b'7', b'z'],
];
/// Where a tar archive says that it is one.
const TAR: std::ops::Range<usize> = 257..262;

/// Reads a regular file, at most [`FILE_BYTES_MAX`] of it. A FIFO, a device or a directory is an error at once: opening or
/// reading it could wait for ever.
///
/// # Errors
/// [`io::Error`] for what cannot be read, is no regular file, or is too large.
pub(super) fn of_file(path: &Path) -> io::Result<Vec<u8>> {
    // A file may grow, and what the kernel makes while it is read states no length.
    limited(opened(path)?)
}

/// Opens a regular file of at most [`FILE_BYTES_MAX`]; anything else is an error at once.
///
/// # Errors
/// [`io::Error`] for what cannot be read, is no regular file, or is too large.
pub(crate) fn opened(path: &Path) -> io::Result<File> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        let kind = io::ErrorKind::InvalidInput;
        return Err(io::Error::new(kind, "not a regular file"));
    }
    check_length(metadata.len())?;
    File::open(path)
}

/// Reads all that a reader has, at most [`FILE_BYTES_MAX`].
pub(super) fn limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    check_length(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    Ok(bytes)
}

/// Refuses a file of more than [`FILE_BYTES_MAX`].
fn check_length(bytes: u64) -> io::Result<()> {
    if bytes <= FILE_BYTES_MAX {
        return Ok(());
    }
    let kind = io::ErrorKind::FileTooLarge;
    Err(io::Error::new(
        kind,
        format!("larger than {FILE_BYTES_MAX} bytes"),
    ))
}

/// Whether bytes look like JSON, or like something that may become it.
pub(super) fn may_be_json(first: &[u8]) -> bool {
    if first.starts_with(&GZIP) {
        return true;
    }
    let text = text(first.to_vec()).unwrap_or_default();
    text.trim_start().starts_with(['{', '['])
}

/// The text of a file's bytes.
///
/// # Errors
/// [`Nature`] of what is no text: an archive, a damaged gzip file, other bytes.
pub(super) fn text(bytes: Vec<u8>) -> Result<String, Nature> {
    let bytes = if bytes.starts_with(&GZIP) {
        limited(MultiGzDecoder::new(bytes.as_slice())).map_err(|_| Nature::DamagedGzip)?
    } else {
        bytes
    };
    let is_archive = ARCHIVES.iter().any(|start| bytes.starts_with(start))
        || bytes.get(TAR).is_some_and(|name| name == b"ustar");
    if is_archive {
        return Err(Nature::Archive);
    }
    decoded(bytes)
}

/// UTF-8 or UTF-16, by their marks; without a mark UTF-16 is known by its zero bytes, which JSON begins with.
fn decoded(bytes: Vec<u8>) -> Result<String, Nature> {
    match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest.to_vec()),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [first, 0, ..] if *first != 0 => utf16(&bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(&bytes, u16::from_be_bytes),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, Nature> {
    let text = String::from_utf8(bytes).map_err(|_| Nature::NoText)?;
    // Zero bytes and the like are no text, whatever their encoding.
    if text.contains('\0') {
        return Err(Nature::NoText);
    }
    Ok(text)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Nature> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Nature::NoText);
    }
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    let text = String::from_utf16(&units).map_err(|_| Nature::NoText)?;
    // Two files that were written one behind the other have a mark each.
    Ok(text.replace('\u{feff}', ""))
}
