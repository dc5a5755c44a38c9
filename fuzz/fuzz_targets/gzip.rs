//! Compressed files. First with the input as the file: the result is that of flate2, in
//! reads of any size, and damage is reported. Then with the input as the content: every
//! position in it is found again.

#![no_main]
#![allow(
    clippy::disallowed_methods,
    reason = "a fuzz target reads what it wrote itself"
)]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;

use flate2::read::{GzEncoder, MultiGzDecoder};
use flate2::Compression;
use fluent_bit_container_logs::delivery::checkpoint::fingerprint::{
    Fingerprint, Marker, HEAD_BYTES,
};
use fluent_bit_container_logs::delivery::checkpoint::StreamCheckpoint;
use fluent_bit_container_logs::source::file::gzip::{read_head, GzipContent};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{memfd_create, MemfdFlags};

fn file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory"));
    file.write_all(bytes).expect("room");
    file.rewind().expect("a file");
    file
}

fuzz_target!(|data: &[u8]| {
    let Some((size, data)) = data.split_first() else {
        return;
    };

    let mut plain = Vec::new();
    let end = MultiGzDecoder::new(data).read_to_end(&mut plain);
    assert_eq!(
        read_head(&Arc::new(file(data))),
        plain[..plain.len().min(HEAD_BYTES)]
    );
    let mut content = GzipContent::new(file(data));
    let mut unpacked = Vec::new();
    while !content.is_at_end && unpacked.len() <= plain.len() {
        let mut buffer = vec![0; usize::from(*size) + 1];
        let filled = content.fill(&mut buffer);
        unpacked.extend_from_slice(&buffer[..filled]);
    }
    assert_eq!(unpacked, plain);
    assert_eq!(content.damage.is_some(), end.is_err());

    let mut packed = Vec::new();
    GzEncoder::new(data, Compression::fast())
        .read_to_end(&mut packed)
        .expect("compressible");
    for offset in [
        0,
        usize::from(*size).min(data.len()),
        data.len() / 2,
        data.len(),
    ] {
        let resume = StreamCheckpoint {
            fingerprint: Fingerprint::of(data),
            marker: Marker::of(&data[..offset]),
            offset: offset as u64,
            ..StreamCheckpoint::default()
        };
        let mut content = GzipContent::new(file(&packed));
        let found = content.seek(&resume).expect("memory does not fail");
        if data.is_empty() {
            continue;
        }
        assert_eq!(
            found,
            Some(true),
            "the position is in it, in the first slice"
        );
        let mut rest = vec![0; data.len() + 1];
        let filled = content.fill(&mut rest);
        let before = offset - resume.marker.length as usize;
        assert_eq!(&rest[..filled], &data[before..]);
    }
});
