//! The file that keys come from. It is full of secrets: what is read of it is zeroed when it is dropped, and no copy of it
//! is left behind on the way. What parsers keep for themselves while they read is theirs.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::cli::STDIN;
use crate::commands::console::{Console, Failure};
use crate::commands::key::list::printable;
use crate::config::mask::typed;

/// Most that is read of a file.
const BYTES_MAX: u64 = 256 << 20;
/// What is asked for at first where the size is not known.
const FIRST_BYTES: usize = 64 << 10;
/// Byte order mark.
const MARK: char = '\u{feff}';

/// A file's bytes.
pub(super) struct Source {
    bytes: Zeroizing<Vec<u8>>,
}

impl Source {
    /// Reads the file, or stdin.
    pub(super) fn read(file: &Path, console: &mut Console<'_>) -> Result<Self, Failure> {
        let doing = || format!("failed to read {}", shown(file));
        let bytes = if file == Path::new(STDIN) {
            read_all(console.input, FIRST_BYTES)
        } else {
            File::open(file).and_then(|mut file| {
                let size = file.metadata()?.len().min(BYTES_MAX);
                read_all(&mut file, usize::try_from(size).unwrap_or(FIRST_BYTES))
            })
        };
        let bytes = bytes.map_err(Failure::because(doing()))?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Failure::No(format!("{}: it is larger than 256 MiB: split it", doing())));
        }
        Ok(Self { bytes })
    }

    /// The bytes as they are.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text, without a byte order mark. What is not UTF-8 is replaced by U+FFFD, so that one entry in another encoding
    /// stands in no other's way: in a key, that makes it one that is refused.
    pub(super) fn into_text(mut self, file: &Path) -> Result<Zeroizing<String>, Failure> {
        if self.bytes.starts_with(&[0xff, 0xfe]) || self.bytes.starts_with(&[0xfe, 0xff]) {
            return Err(Failure::No(format!("failed to read {}: it is UTF-16; save it as UTF-8", shown(file))));
        }
        if self.bytes.starts_with(MARK.encode_utf8(&mut [0; 4]).as_bytes()) {
            self.bytes.drain(..MARK.len_utf8());
        }
        let bytes = match String::from_utf8(std::mem::take(&mut *self.bytes)) {
            Ok(text) => return Ok(Zeroizing::new(text)),
            Err(error) => Zeroizing::new(error.into_bytes()),
        };
        // As long as it can become, so that it does not move.
        let mut text = Zeroizing::new(String::with_capacity(bytes.len() * char::REPLACEMENT_CHARACTER.len_utf8()));
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Ok(text)
    }
}

/// The file's name for messages.
pub(super) fn shown(file: &Path) -> String {
    if file == Path::new(STDIN) {
        return "stdin".into();
    }
    printable(&typed(&file.display().to_string()))
}

/// At most one byte more than may be, to see that there are more.
fn read_all(input: &mut dyn Read, expected: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut input = input.take(BYTES_MAX + 1);
    // One more than expected, to see the end without growing.
    let mut bytes = Zeroizing::new(vec![0; expected + 1]);
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            // A vector that grows by itself leaves what it held where it was.
            let mut larger = Zeroizing::new(vec![0; bytes.len() * 2]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
