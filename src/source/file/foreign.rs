//! What a file is that the runtime did not name: part of a log, an archive that cannot be read,
//! or something else. Its content shows that, of which only the beginning is read; of an archive that is
//! being made, its name.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::layout::{Layout, Stretch};
use crate::format::position::Timestamp;
use crate::runtime::file::{open_regular, stat_file, FileId};
use crate::runtime::safe_path::SafePath;
use crate::source::file::content::Content;
use crate::source::file::gzip;

/// Bytes read of a file: dockerd's longest entry (98,371 bytes) and its attributes.
const FIRST_BYTES: usize = 128 * 1024;
/// Bytes that show how a file is compressed.
const MAGIC_BYTES: usize = 8;
const GZIP: &[u8] = b"\x1f\x8b";
/// Compression that is recognised and cannot be read.
const UNSUPPORTED: [(&[u8], &str); 11] = [
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x9d", "compress"),
    (b"\x5d\0\0", "lzma"),
    (b"PK\x03\x04", "zip"),
    (b"\x89LZO\0\r\n\x1a", "lzop"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"LZIP", "lzip"),
    (b"\xff\x06\0\0sNaP", "snappy"),
];
/// The reason for what nothing else tells: brotli has no magic, and what is encrypted looks like anything.
const UNKNOWN: &str = "it is neither text nor an archive that can be read, but perhaps compressed or encrypted; only gzip can be read";

/// How the names of compressed files end.
const ARCHIVES: [&str; 21] = [
    ".gz", ".zst", ".xz", ".bz2", ".lz4", ".Z", ".lzma", ".zip", ".lzo", ".7z", ".lz", ".br",
    ".sz", ".lrz", ".rar", ".gpg", ".pgp", ".asc", ".age", ".enc", ".tar",
];

/// Later than all entries.
pub const BEHIND_ALL: Timestamp = Timestamp {
    seconds: i64::MAX,
    nanos: 0,
};

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Examined {
    /// Entries of a log.
    Log {
        /// The time of its first entry; [`BEHIND_ALL`] if that is not whole.
        first: Timestamp,
        /// Whether each of them ends at a line feed.
        is_lines: bool,
        /// Whether it is compressed.
        is_gzip: bool,
    },
    /// Compressed in a way that cannot be read, with the reason.
    Unsupported(String),
    /// Something else.
    Other,
}

/// Examines the file at `path`. Fails with `NotFound` if the name now belongs to another file
/// than `id`. `expected` is its format if it may begin with damage; otherwise that must show in
/// its first bytes.
pub fn examine(path: &SafePath, id: FileId, expected: Option<Layout>) -> io::Result<Examined> {
    let file = open_regular(path)?;
    if stat_file(&file)?.0 != id {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut bytes = vec![0; MAGIC_BYTES];
    let mut content = Content::new(file, false);
    let length = content.fill(&mut bytes, 0)?;
    let magic = &bytes[..length];
    if let Some((_, name)) = UNSUPPORTED
        .iter()
        .find(|(begin, _)| magic.starts_with(begin))
    {
        let reason = format!("it is compressed with {name}, and only gzip can be read");
        return Ok(Examined::Unsupported(reason));
    }
    let is_gzip = magic.starts_with(GZIP);
    let first = match is_gzip {
        true => gzip::read_first(&Arc::new(content.file()?.try_clone()?), FIRST_BYTES),
        false => read_first(&mut content)?,
    };
    let detected = Layout::detect(&first);
    let time = detected.or(expected).and_then(|layout| {
        // The end of its first entry may still come.
        let is_begun = expected.is_some()
            && detected.is_some()
            && layout.measure(&first) == Stretch::Incomplete;
        let unknown = (is_begun && !is_gzip).then_some(BEHIND_ALL);
        Some((layout, layout.first_time(&first).or(unknown)?))
    });
    Ok(match time {
        Some((layout, first)) => Examined::Log {
            first,
            is_lines: layout.is_lines(),
            is_gzip,
        },
        None if is_gzip && gzip::is_empty(content.file()?) => Examined::Other,
        None if is_gzip => {
            Examined::Unsupported("no log entry could be decompressed from it".to_owned())
        }
        None if is_binary(&first) || is_named_as_archive(path) => {
            Examined::Unsupported(UNKNOWN.to_owned())
        }
        None => Examined::Other,
    })
}

/// Whether these bytes are not those of a text.
fn is_binary(bytes: &[u8]) -> bool {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    let is_cut = |error: std::str::Utf8Error| error.error_len().is_none();
    let is_text = std::str::from_utf8(bytes).map_or_else(is_cut, |_| true);
    !is_text || bytes.iter().any(is_control)
}

fn is_named_as_archive(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(has_end_of_archive)
}

/// What a file with this name may be an archive of, or the beginning of one: a program may write it
/// under a name for the time being (`NAME.gz.tmp`, `.NAME.gz.Xy12`).
pub fn originals_of(path: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let name = name.strip_prefix('.').unwrap_or(name);
    ARCHIVES
        .iter()
        .flat_map(|end| name.match_indices(end))
        .map(|(at, _)| path.with_file_name(&name[..at]))
}

/// Whether a file has the name of an archive.
pub fn has_end_of_archive(name: &str) -> bool {
    ARCHIVES.iter().any(|end| name.ends_with(end))
}

/// Reads the first bytes of a file, without the hole of NULs that a copy may begin with.
fn read_first(content: &mut Content) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; FIRST_BYTES];
    let from = content.data_after(0).unwrap_or(0);
    let length = content.fill(&mut bytes, from)?;
    bytes.truncate(length);
    let nuls = bytes.iter().take_while(|byte| **byte == 0).count();
    if Layout::detect(&bytes).is_none() {
        bytes.drain(..nuls);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::file::stat_path;
    use std::io::Write;

    const ENTRY: &[u8] =
        b"{\"log\":\"x\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20Z\"}\n";

    fn gzip_of(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn kind_of(bytes: &[u8]) -> Examined {
        let dir = tempfile::tempdir().unwrap();
        let path = SafePath::from(dir.path().join("file"));
        std::fs::write(&path, bytes).unwrap();
        examine(&path, stat_path(&path).unwrap().0, None).unwrap()
    }

    #[test]
    fn a_log_is_recognised_compressed_or_not_and_behind_a_hole() {
        let log = |is_gzip| Examined::Log {
            first: Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            },
            is_lines: true,
            is_gzip,
        };
        assert_eq!(kind_of(ENTRY), log(false));
        assert_eq!(kind_of(&[&[0; 5000], ENTRY].concat()), log(false));
        assert_eq!(kind_of(&gzip_of(ENTRY)), log(true));
        let long = [&b"{\"log\":\""[..], &[b'x'; 98_000], &ENTRY[9..]].concat();
        assert_eq!(kind_of(&long), log(false), "the time is behind the text");
    }

    #[test]
    fn an_archive_of_an_empty_log_holds_nothing_and_one_that_is_cut_off_may() {
        let empty = gzip_of(b"");
        assert_eq!(kind_of(&empty), Examined::Other);
        let unsupported = |bytes| matches!(kind_of(bytes), Examined::Unsupported(_));
        assert!(unsupported(&empty[..empty.len() - 1]));
        assert!(unsupported(&empty[..10]));
    }

    #[test]
    fn what_cannot_be_decompressed_is_told_from_what_is_no_log() {
        for (begin, name) in UNSUPPORTED {
            let kind = kind_of(&[begin, &[7; 100]].concat());
            assert!(matches!(&kind, Examined::Unsupported(reason) if reason.contains(name)));
        }
        assert!(matches!(
            kind_of(&gzip_of(b"text\n")),
            Examined::Unsupported(_)
        ));
        // What is not compressed in any known way.
        assert_eq!(
            kind_of(&[0x8b, 0x03, 0x80, 0xff, 7]),
            Examined::Unsupported(UNKNOWN.to_owned())
        );
        for other in [
            &b""[..],
            b"text\n",
            b"{\"Name\":\"/web\"}\n",
            b"127.0.0.1 localhost\n",
        ] {
            assert_eq!(kind_of(other), Examined::Other);
        }
    }

    #[test]
    fn a_log_that_begins_with_damage_is_recognised_where_it_is_expected() {
        let dir = tempfile::tempdir().unwrap();
        let path = SafePath::from(dir.path().join("file"));
        std::fs::write(&path, [b"m\"}\n", ENTRY].concat()).unwrap();
        let (id, _) = stat_path(&path).unwrap();
        assert_eq!(examine(&path, id, None).unwrap(), Examined::Other);
        let expected = examine(&path, id, Some(Layout::JsonLines)).unwrap();
        assert!(matches!(expected, Examined::Log { .. }));
        std::fs::write(&path, &ENTRY[..20]).unwrap();
        let begun = examine(&path, id, Some(Layout::JsonLines)).unwrap();
        assert!(matches!(begun, Examined::Log { first, .. } if first == BEHIND_ALL));
    }

    #[test]
    fn another_file_under_the_name_is_not_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = SafePath::from(dir.path().join("file"));
        std::fs::write(&path, ENTRY).unwrap();
        let (id, _) = stat_path(&path).unwrap();
        let other = FileId { birth: 1, ..id };
        let error = examine(&path, other, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
