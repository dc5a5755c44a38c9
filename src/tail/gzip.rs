//! Reading a rotated file that dockerd has compressed: a stream, so what was
//! unpacked and not dealt with is carried over to the next read.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;

use crate::bounded_file::read_at_most;
use crate::checkpoint::Resume;
use crate::fingerprint::HEAD_BYTES;
use crate::format::rfc3339::TimeParser;
use crate::position::Timestamp;

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

/// Up to [`HEAD_BYTES`] from the start of what is compressed. A file that ends
/// in mid-stream still has a head.
pub fn read_head(file: File) -> Vec<u8> {
    let mut head = Vec::new();
    let _ = read_at_most(MultiGzDecoder::new(BufReader::new(file)), HEAD_BYTES as u64, &mut head);
    head
}

/// What dockerd keeps in the extra field of the header.
#[derive(Deserialize)]
struct Extra<'a> {
    #[serde(rename = "lastTime", borrow)]
    last_time: Cow<'a, str>,
}

/// The time of the last record, which dockerd writes into the header as bare
/// JSON in the extra field: `{"lastTime":"2026-11-23T18:34:00Z"}`. `None` where
/// it is missing or zero, as after a rotation right at a start.
pub fn last_time(mut file: File) -> Option<Timestamp> {
    const EXTRA: u8 = 0x04;
    let mut header = [0; 12];
    file.read_exact(&mut header).ok()?;
    if header[..2] != [0x1f, 0x8b] || header[3] & EXTRA == 0 {
        return None;
    }
    let mut extra = vec![0; usize::from(u16::from_le_bytes([header[10], header[11]]))];
    file.read_exact(&mut extra).ok()?;
    let extra: Extra<'_> = serde_json::from_slice(&extra).ok()?;
    let time = TimeParser::default().parse(extra.last_time.as_bytes())?;
    // Before 1970: the year 1 that stands for no time.
    (time.seconds > 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_time_is_read_from_dockerds_own_header() {
        for (extra, want) in [
            (&br#"{"lastTime":"2023-11-14T22:13:20.5Z"}"#[..], Some((1_700_000_000, 500_000_000))),
            (br#"{"lastTime":"0001-01-01T00:00:00Z"}"#, None),
            (b"no JSON", None),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            let mut encoder =
                flate2::GzBuilder::new().extra(extra).write(file.as_file_mut(), flate2::Compression::fast());
            encoder.write_all(b"text").unwrap();
            encoder.finish().unwrap();
            let bytes = std::fs::read(file.path()).unwrap();
            crate::fuzz_seeds::keep("gzip", [b"\x02", &bytes[..]].concat());
            let found = last_time(file.reopen().unwrap()).map(|time| (time.seconds, time.nanos));
            assert_eq!(found, want);
            assert_eq!(read_head(file.reopen().unwrap()), b"text");
        }
    }
}
