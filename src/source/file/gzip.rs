//! Reads a rotated file that dockerd compressed. It is a stream, so decompressed bytes that
//! were not handled are carried over to the next read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::bufread::GzDecoder;

use crate::delivery::checkpoint::fingerprint::HEAD_BYTES;
use crate::delivery::checkpoint::StreamCheckpoint;
use crate::runtime::bounded_file::read_at_most;
use crate::runtime::file::{read_up_to, stat_file};

/// Limit on the gzip members of one file. dockerd and gzip write one; a file of millions of
/// empty members would block the reader without yielding a byte.
const MOST_MEMBERS: usize = 1000;

/// Limit on the bytes of a file that are read beyond twice what was decompressed of it. The blocks
/// of a stream may be empty: gigabytes of them would block the reader without yielding a byte.
const MOST_EMPTY: u64 = 1 << 20;
/// The same where only the beginning is wanted; dockerd's header has an extra field.
const MOST_EMPTY_OF_FIRST: u64 = 64 * 1024;

/// Bytes that a seek decompresses per slice: some 10 ms of text. A gigabyte takes seconds,
/// during which no other log would be read.
pub const SEEK_BYTES: u64 = 4 << 20;

/// Reads a file from its start without moving the file's own offset.
struct FromStart {
    /// `None` while it is closed.
    file: Option<Arc<File>>,
    offset: u64,
    /// Behind it, reading fails.
    limit: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.offset > self.limit {
            let reason = "too much of it is empty";
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let Some(file) = &self.file else {
            return Err(io::Error::other("it is closed"));
        };
        let count = file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// The decompressed bytes of a file's members, one after another.
struct Members {
    /// `None` only if a member could not be taken out.
    decoder: Option<GzDecoder<BufReader<FromStart>>>,
    members: usize,
    /// Bytes decompressed.
    yielded: u64,
    /// Limit on the bytes read beyond twice those.
    most_empty: u64,
}

impl Members {
    fn of(file: &Arc<File>, most_empty: u64) -> Members {
        let file = Some(Arc::clone(file));
        Members {
            decoder: Some(GzDecoder::new(BufReader::new(FromStart {
                file,
                offset: 0,
                limit: most_empty,
            }))),
            members: 1,
            yielded: 0,
            most_empty,
        }
    }

    fn set_file(&mut self, file: Option<Arc<File>>) {
        if let Some(decoder) = &mut self.decoder {
            decoder.get_mut().get_mut().file = file;
        }
    }
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.decoder else {
                return Ok(0);
            };
            decoder.get_mut().get_mut().limit = 2 * self.yielded + self.most_empty;
            let count = decoder.read(buffer)?;
            self.yielded += count as u64;
            if count > 0 || buffer.is_empty() || decoder.get_mut().fill_buf()?.is_empty() {
                return Ok(count);
            }
            if self.members == MOST_MEMBERS {
                let reason = format!("it has more than {MOST_MEMBERS} members");
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            self.members += 1;
            self.decoder = self
                .decoder
                .take()
                .map(|member| GzDecoder::new(member.into_inner()));
        }
    }
}

/// How long the content of a compressed file is, modulo 2^32, as its end says: that of its last part, if
/// it is one of several.
pub fn unpacked_size(file: &File) -> io::Result<u32> {
    let mut size = [0; 4];
    let end = stat_file(file)?.1;
    read_up_to(file, &mut size, end.saturating_sub(4))?;
    Ok(u32::from_le_bytes(size))
}

/// A compressed file being read.
pub struct GzipContent {
    /// The open file; `None` while it is closed.
    file: Option<Arc<File>>,
    decoder: Members,
    /// Bytes that a seek has decompressed.
    passed: u64,
    /// Marker and unfinished line of the last read.
    pub carried: Vec<u8>,
    /// Whether the end of the stream has been reached.
    pub is_at_end: bool,
    /// What is wrong with the stream, once detected.
    pub damage: Option<String>,
}

impl GzipContent {
    /// Begins at the start of the file.
    pub fn new(file: File) -> GzipContent {
        let file = Arc::new(file);
        GzipContent {
            decoder: Members::of(&file, MOST_EMPTY),
            file: Some(file),
            passed: 0,
            carried: Vec::new(),
            is_at_end: false,
            damage: None,
        }
    }

    /// The open file.
    pub fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref()
    }

    /// Closes the file, or goes on where it was with `file`, which is the same one.
    pub fn set_file(&mut self, file: Option<File>) {
        self.file = file.map(Arc::new);
        self.decoder.set_file(self.file.clone());
    }

    /// Fills the buffer with what was carried over and what follows. Fewer bytes than the
    /// buffer's length mean the end.
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

    /// Decompresses up to a checkpoint, one slice per call. Returns whether the checkpoint was
    /// taken from this file, or `None` if another slice is needed to tell. If it was,
    /// [`GzipContent::carried`] holds the bytes of the checkpoint's marker.
    pub fn seek(&mut self, checkpoint: &StreamCheckpoint) -> io::Result<Option<bool>> {
        if let (0, Some(file)) = (self.passed, &self.file) {
            let mut head = vec![0; checkpoint.fingerprint.length as usize];
            let is_read = read_exact(&mut Members::of(file, MOST_EMPTY), &mut head)?;
            if !is_read || !checkpoint.fingerprint.matches(&head) {
                return Ok(Some(false));
            }
        }
        let marker_bytes = checkpoint.marker.length;
        let before = checkpoint.offset.saturating_sub(u64::from(marker_bytes));
        let wanted = before.saturating_sub(self.passed).min(SEEK_BYTES);
        let passed = io::copy(&mut (&mut self.decoder).take(wanted), &mut io::sink());
        if passed.ok() != Some(wanted) {
            return Ok(Some(false));
        }
        self.passed += wanted;
        if self.passed < before {
            return Ok(None);
        }
        self.carried = vec![0; marker_bytes as usize];
        let is_read = read_exact(&mut self.decoder, &mut self.carried)?;
        Ok(Some(is_read && checkpoint.marker.matches(&self.carried)))
    }
}

/// Returns `false` if the stream ends or is damaged before `buffer` is full.
fn read_exact(members: &mut Members, buffer: &mut [u8]) -> io::Result<bool> {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match members.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if [UnexpectedEof, InvalidData, InvalidInput].contains(&error.kind()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Reads up to [`HEAD_BYTES`] of the decompressed data, wherever reading is. A file that ends in
/// mid-stream still has a head.
pub fn read_head(file: &Arc<File>) -> Vec<u8> {
    read_first(file, HEAD_BYTES)
}

/// Whether it is whole and holds nothing: logrotate compresses an empty log, too.
pub fn is_empty(file: &File) -> bool {
    let Ok(file) = file.try_clone() else {
        return false;
    };
    let mut members = Members::of(&Arc::new(file), MOST_EMPTY_OF_FIRST);
    matches!(members.read(&mut [0]), Ok(0))
}

/// Reads up to `most` bytes of the decompressed data, wherever reading is.
pub fn read_first(file: &Arc<File>, most: usize) -> Vec<u8> {
    let mut first = Vec::new();
    let _ = read_at_most(
        Members::of(file, MOST_EMPTY_OF_FIRST),
        most as u64,
        &mut first,
    );
    first
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
        let mut encoder = flate2::GzBuilder::new()
            .extra(extra)
            .write(file.as_file_mut(), flate2::Compression::fast());
        let text: Vec<u8> = (0..5000u32).map(|number| (number % 251) as u8).collect();
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        crate::fuzz_seeds::keep("gzip", [b"\x02", &bytes[..]].concat());
        let mut content = GzipContent::new(file.reopen().unwrap());
        assert_eq!(content.fill(&mut vec![0; 3000]), 3000);
        assert_eq!(read_head(content.file().unwrap()), text[..HEAD_BYTES]);
        let mut rest = vec![0; 3000];
        assert_eq!(content.fill(&mut rest), 2000, "it goes on where it was");
        assert_eq!(rest[..2000], text[3000..]);
    }

    /// A file of millions of empty members is read only up to the limit; a few members are all
    /// read.
    #[test]
    fn members_are_read_one_after_the_other_up_to_a_number() {
        let member = |text: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let content = |bytes: &[u8]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            GzipContent::new(file.reopen().unwrap())
        };
        let mut buffer = vec![0; 100];
        let mut few = content(&[member(b"one "), member(b""), member(b"two")].concat());
        assert_eq!(few.fill(&mut buffer), 7);
        assert_eq!(
            (&buffer[..7], few.is_at_end, &few.damage),
            (&b"one two"[..], true, &None)
        );
        let mut many = content(&[member(b"").repeat(1_000_000), member(b"behind")].concat());
        assert_eq!(many.fill(&mut buffer), 0);
        assert_eq!(
            many.damage.as_deref(),
            Some("it has more than 1000 members")
        );
        assert!(read_head(many.file().unwrap()).is_empty());
    }

    /// Only so much is read of a stream that yields nothing; flushes after each line are no
    /// reason to stop.
    #[test]
    fn empty_blocks_are_read_up_to_a_limit() {
        let (header, empty) = ([31, 139, 8, 0, 0, 0, 0, 0, 0, 255], [0, 0, 0, 255, 255]);
        let stored = [0, 4, 0, 251, 255, b't', b'e', b'x', b't'];
        let content = |parts: &[&[u8]]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&parts.concat()).unwrap();
            GzipContent::new(file.reopen().unwrap())
        };
        let mut buffer = vec![0; 8000];
        let mut hostile = content(&[&header, &empty.repeat(4 << 20), &stored]);
        assert_eq!(hostile.fill(&mut buffer), 0);
        assert_eq!(hostile.damage.as_deref(), Some("too much of it is empty"));
        let read = |members: &mut Members| {
            let input = members.decoder.as_mut().unwrap().get_mut().get_mut();
            input.offset
        };
        assert!(read(&mut hostile.decoder) < 2 * MOST_EMPTY);
        let mut first = Members::of(hostile.file().unwrap(), MOST_EMPTY_OF_FIRST);
        assert!(!read_exact(&mut first, &mut [0; 4]).unwrap());
        assert!(read(&mut first) < 2 * MOST_EMPTY_OF_FIRST);
        assert!(read_first(hostile.file().unwrap(), 4).is_empty());
        let checkpoint = StreamCheckpoint {
            offset: 4,
            ..StreamCheckpoint::default()
        };
        let mut sought = GzipContent::new(hostile.file().unwrap().try_clone().unwrap());
        assert_eq!(sought.seek(&checkpoint).unwrap(), Some(false));

        // Entries that are flushed one by one.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut written = 0;
        for number in 0..5_000_u64 {
            let entry = format!("{:x}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            encoder.write_all(entry.as_bytes()).unwrap();
            encoder.flush().unwrap();
            written += entry.len();
        }
        let members = encoder.finish().unwrap().repeat(20);
        assert!(members.len() as u64 > MOST_EMPTY);
        let mut flushed = content(&[&members]);
        let mut yielded = 0;
        while !flushed.is_at_end {
            yielded += flushed.fill(&mut buffer);
        }
        assert_eq!((yielded, &flushed.damage), (20 * written, &None));
    }
}
