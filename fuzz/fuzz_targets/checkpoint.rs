//! A checkpoint file modified by others. The first byte selects:
//!
//! - 0: the input is the file. It opens, is renamed unchanged, or is refused and stays
//!   unchanged; positions saved after that are there at the next start.
//! - 1: a valid file with bytes changed according to the input. Entries that were not
//!   changed stay valid.
//! - 2: a well-formed entry with contents chosen by the input. A log is then read from that
//!   position or from its start, and nothing worse.

#![no_main]
#![allow(
    clippy::disallowed_methods,
    reason = "a fuzz target reads what it wrote itself"
)]

use std::path::PathBuf;
use std::sync::OnceLock;

use fluent_bit_container_logs::delivery::checkpoint::fingerprint::{Fingerprint, Marker};
use fluent_bit_container_logs::delivery::checkpoint::{
    CheckpointError, CheckpointStore, JournalPlace, StreamCheckpoint, TimeCursor,
};
use fluent_bit_container_logs::format::position::Timestamp;
use fluent_bit_container_logs::runtime::id::ContainerId;
use fluent_bit_container_logs::runtime::safe_path::SafePath;
use fluent_bit_container_logs::source::file::generation::{Found, Generation};
use fluent_bit_container_logs_fuzz::folder;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

/// Sizes in the file, as in `src/delivery/checkpoint/store.rs` and `slot.rs`.
const HEADER: usize = 4096;
const SLOT: usize = 512;
const COPY: usize = 256;

const CONTAINERS: u8 = 6;
const NEW: u8 = 0xee;

fn db() -> PathBuf {
    folder().join("db")
}

fn id(byte: u8) -> ContainerId {
    ContainerId::from_bytes([byte; 32])
}

fn resume(seed: u64) -> StreamCheckpoint {
    StreamCheckpoint {
        fingerprint: Fingerprint::of(&seed.to_le_bytes()),
        marker: Marker::of(&seed.to_be_bytes()),
        offset: seed + 100,
        inode: seed,
        birth: seed,
        cursor: TimeCursor {
            time: Timestamp {
                seconds: seed as i64,
                nanos: 1,
            },
            count: 1,
        },
        is_by_time: false,
        is_mid_line: seed % 2 == 1,
        journal: JournalPlace {
            sequence: u128::from(seed % 3 + 1),
            number: seed + 1,
            received: seed,
        },
    }
}

/// A file with an entry for each of the containers, some written often.
fn good_file() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let path = folder().join("good");
        let mut store = CheckpointStore::open(&path).expect("a new file").store;
        for container in 1..=CONTAINERS {
            for round in 0..=container {
                store
                    .advance(id(container), &[Some(resume(u64::from(round))), None])
                    .expect("room");
            }
        }
        drop(store);
        std::fs::read(path).expect("the file")
    })
}

/// Positions saved now are there at the next start.
fn saves(mut store: CheckpointStore) {
    let before: Vec<_> = store
        .containers()
        .into_iter()
        .map(|known| (known, store.saved(&known)))
        .collect();
    for round in 0..3 {
        store
            .advance(id(NEW), &[None, Some(resume(round))])
            .expect("room");
    }
    drop(store);
    let store = CheckpointStore::open(&db()).expect("it opens again").store;
    assert_eq!(
        store.saved(&id(NEW)).map(|[_, stderr]| stderr),
        Some(resume(2))
    );
    for (known, saved) in before.into_iter().filter(|(known, _)| *known != id(NEW)) {
        assert_eq!(store.saved(&known), saved, "{known}");
    }
}

fn clear() {
    for file in std::fs::read_dir(folder()).expect("the folder") {
        let path = file.expect("a file").path();
        if path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("db"))
        {
            std::fs::remove_file(path).expect("a file to remove");
        }
    }
}

/// `None` if it is not ours.
fn open(bytes: &[u8]) -> Option<CheckpointStore> {
    clear();
    std::fs::write(db(), bytes).expect("room");
    let opened = match CheckpointStore::open(&db()) {
        Ok(opened) => opened,
        Err(CheckpointError::NotOurs { .. }) => {
            assert_eq!(
                std::fs::read(db()).expect("it is there"),
                bytes,
                "left as it was"
            );
            assert_eq!(
                std::fs::read_dir(folder())
                    .expect("the folder")
                    .filter(is_a_db)
                    .count(),
                1
            );
            return None;
        }
        Err(error) => panic!("no bytes of ours keep us from starting: {error}"),
    };
    if let Some((_, aside)) = opened.set_aside {
        assert_eq!(
            std::fs::read(aside).expect("it is there"),
            bytes,
            "kept as it was"
        );
    }
    Some(opened.store)
}

fn is_a_db(file: &std::io::Result<std::fs::DirEntry>) -> bool {
    file.as_ref()
        .is_ok_and(|file| file.file_name().to_string_lossy().starts_with("db"))
}

fn changed(script: &[u8]) {
    let mut bytes = good_file().to_vec();
    let mut is_touched = [false; CONTAINERS as usize];
    let mut is_header_touched = false;
    for change in script.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % (bytes.len() + HEADER);
        // Most of the header is unused: half the changes go to the entries.
        let at = if at >= bytes.len() {
            at - bytes.len()
        } else {
            at
        };
        if bytes[at] != change[2] {
            bytes[at] = change[2];
            match at.checked_sub(HEADER) {
                Some(at) => is_touched[at / SLOT] = true,
                None => is_header_touched |= at < 32,
            }
        }
    }
    let Some(store) = open(&bytes) else {
        assert!(
            is_header_touched,
            "only who touches the magic takes it from us"
        );
        return;
    };
    if !is_header_touched {
        for (container, _) in (1..=CONTAINERS)
            .zip(is_touched)
            .filter(|(_, is_touched)| !is_touched)
        {
            let saved = store
                .saved(&id(container))
                .expect("an entry that was not touched");
            assert_eq!(saved[0], resume(u64::from(container)));
        }
    }
    saves(store);
}

/// Bytes preceded by their hash, as in a copy.
fn seal(copy: &mut [u8]) {
    let hash = xxh3_64(&copy[8..COPY]);
    copy[..8].copy_from_slice(&hash.to_le_bytes());
}

fn crafted(input: &[u8]) {
    let [flags, input @ ..] = input else { return };
    let (fields, content) = input.split_at(input.len().min(8 + 2 * 72));
    let mut slot = vec![0; SLOT];
    let (sequence, streams) = fields.split_at(fields.len().min(8));
    slot[8..8 + sequence.len()].copy_from_slice(sequence);
    slot[16..48].fill(1);
    slot[48..48 + streams.len()].copy_from_slice(streams);
    if flags & 1 != 0 {
        // Of the right file, as far as that is defined.
        let length = u32::from_le_bytes([slot[56], slot[57], slot[58], slot[59]]) as usize;
        let head = &content[..length.min(content.len())];
        slot[48..56].copy_from_slice(&xxh3_64(head).to_le_bytes());
    }
    if flags & 2 != 0 {
        let length = u32::from_le_bytes([slot[60], slot[61], slot[62], slot[63]]) as usize;
        let offset = slot[72..80]
            .iter()
            .rev()
            .fold(0usize, |offset, byte| offset << 8 | usize::from(*byte));
        let before = offset.saturating_sub(length).min(content.len());
        let marker = &content[before..before.saturating_add(length).min(content.len())];
        let hash = xxh3_64(marker).to_le_bytes();
        slot[64..72].copy_from_slice(&hash);
    }
    seal(&mut slot);
    if flags & 4 != 0 {
        slot.copy_within(..COPY, COPY);
    }
    let bytes = [&good_file()[..HEADER], &slot].concat();
    let mut store = open(&bytes).expect("its magic is ours");
    let saved = store.take_up(&id(1));
    saves(store);

    let Some([resume, _]) = saved else { return };
    let plain = SafePath::from(folder().join("x-json.log"));
    std::fs::write(&plain, content).expect("room");
    let mut packed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(content, flate2::Compression::fast());
    std::io::Read::read_to_end(&mut encoder, &mut packed).expect("compressible");
    let gzip = SafePath::from(folder().join("x-json.log.1.gz"));
    std::fs::write(&gzip, packed).expect("room");
    for opened in [
        Generation::open(&plain, false),
        Generation::open(&gzip, true),
    ] {
        let mut generation = opened.expect("the file");
        // All of it fits into one slice of an archive.
        let sought = generation
            .seek(&resume)
            .expect("no position is an error of the file");
        if sought.expect("a slice tells") {
            assert!(resume.offset <= content.len() as u64, "past the end");
            let found = generation.read(&mut Vec::new()).expect("readable");
            assert_ne!(found, Found::Truncated);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, bytes)) => {
            if let Some(store) = open(bytes) {
                saves(store);
            }
        }
        Some((1, script)) => changed(script),
        Some((2, input)) => crafted(input),
        _ => {}
    }
});
