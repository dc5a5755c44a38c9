//! Reading a rotated file that dockerd has compressed: a stream, so what was
//! unpacked and not dealt with is carried over to the next read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::bufread::MultiGzDecoder;

use crate::bounded_file::read_at_most;
use crate::checkpoint::Resume;
use crate::fingerprint::HEAD_BYTES;

/// A compressed file under way.
pub struct GzipContent {
    decoder: MultiGzDecoder<BufReader<File>>,
    /// Marker and unfinished line of the last read.
    pub carried: Vec<u8>,
    /// Whether the stream has given all it has.
    pub is_at_end: bool,
    /// What is wrong with it, once that was met.
    pub damage: Option<String>,
}

impl GzipContent {
    /// At the start of the file.
    pub fn new(file: File) -> GzipContent {
        let decoder = MultiGzDecoder::new(BufReader::new(file));
        GzipContent { decoder, carried: Vec::new(), is_at_end: false, damage: None }
    }

    /// The open file.
    pub fn file(&self) -> &File {
        self.decoder.get_ref().get_ref()
    }

    /// Up to [`HEAD_BYTES`] from the start, wherever reading is.
    pub fn head(&self) -> Vec<u8> {
        read_head(FromStart { file: self.file(), offset: 0 })
    }

    /// Fills the buffer with what was carried and what follows; fewer bytes
    /// than it has room for means the end.
    pub fn fill(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = self.carried.len().min(buffer.len());
        buffer[..filled].copy_from_slice(&self.carried[..filled]);
        while filled < buffer.len() && !self.is_at_end {
            match self.decoder.read(&mut buffer[filled..]) {
                Ok(0) => self.is_at_end = true,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_at_end = true;
                    self.damage = Some(error.to_string());
                }
            }
        }
        filled
    }

    /// Unpacks up to a position; gives the bytes from `before` on that were
    /// unpacked so far, the marker first, or `None` where this is not the file.
    /// `head` is a buffer of the fingerprint's length.
    pub fn seek(&mut self, mut head: Vec<u8>, before: u64, resume: &Resume) -> io::Result<Option<Vec<u8>>> {
        if !self.read_exact(&mut head)? || !resume.fingerprint.matches(&head) {
            return Ok(None);
        }
        let head_bytes = head.len() as u64;
        let mut carried = match usize::try_from(before) {
            Ok(before) if before < head.len() => head.split_off(before),
            _ => {
                let passed = io::copy(&mut (&mut self.decoder).take(before - head_bytes), &mut io::sink());
                if passed.ok() != Some(before - head_bytes) {
                    return Ok(None);
                }
                Vec::new()
            }
        };
        let known = head_bytes.max(before);
        let mut rest = vec![0; resume.offset.saturating_sub(known) as usize];
        if !self.read_exact(&mut rest)? {
            return Ok(None);
        }
        carried.extend_from_slice(&rest);
        Ok(Some(carried))
    }

    /// `false` where the stream ends or is damaged before `buffer` is full.
    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match self.decoder.read_exact(buffer) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                    Ok(false)
                }
                _ => Err(error),
            },
        }
    }
}

/// A file from its start, which moves no one's place in it.
struct FromStart<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Up to [`HEAD_BYTES`] from the start of what is compressed. A file that ends
/// in mid-stream still has a head.
pub fn read_head(file: impl Read) -> Vec<u8> {
    let mut head = Vec::new();
    let _ = read_at_most(MultiGzDecoder::new(BufReader::new(file)), HEAD_BYTES as u64, &mut head);
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_head_is_read_from_the_start_wherever_reading_is() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // dockerd's own header has an extra field.
        let extra = &br#"{"lastTime":"2023-11-14T22:13:20.5Z"}"#[..];
        let mut encoder =
            flate2::GzBuilder::new().extra(extra).write(file.as_file_mut(), flate2::Compression::fast());
        let text: Vec<u8> = (0..5000u32).map(|number| (number % 251) as u8).collect();
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        crate::fuzz_seeds::keep("gzip", [b"\x02", &bytes[..]].concat());
        let mut content = GzipContent::new(file.reopen().unwrap());
        assert_eq!(content.fill(&mut vec![0; 3000]), 3000);
        assert_eq!(content.head(), text[..HEAD_BYTES]);
        let mut rest = vec![0; 3000];
        assert_eq!(content.fill(&mut rest), 2000, "it goes on where it was");
        assert_eq!(rest[..2000], text[3000..]);
    }
}
