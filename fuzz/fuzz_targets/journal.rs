//! An entry of systemd's journal, and libsystemd's cursor. The first byte selects:
//!
//! - an even one: the rest is an entry, its fields separated by 0xff. What is made of it is in its
//!   fields, and nothing makes an entry that its sender could not write one of a runtime's.
//! - an odd one: the rest is a cursor. What it is parsed to is what its own text is parsed to.

#![no_main]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use fluent_bit_container_logs::delivery::checkpoint::JournalPlace;
use fluent_bit_container_logs::format::position::Stream;
use fluent_bit_container_logs::runtime::log_driver::JournalWriter;
use fluent_bit_container_logs::source::journal::cursor;
use fluent_bit_container_logs::source::journal::scan::{Scan, Step};
use fluent_bit_container_logs::source::journal::seam::{Journal, Seek};
use fluent_bit_container_logs::source::journal::trust::Writer;
use libfuzzer_sys::fuzz_target;

/// Separates fields: no UTF-8 has it.
const SEPARATOR: u8 = 0xff;

const PLACE: JournalPlace = JournalPlace {
    sequence: 1,
    number: 1,
    received: 1_700_000_000_000_000,
};

/// Fields and attributes that are kept have bounds; see `src/source/journal/entry.rs`.
const MOST_ATTR_BYTES: usize = 32 * (64 + 4096 + 8) + 8;

/// A journal with one entry.
struct Played {
    fields: Vec<Vec<u8>>,
    is_stepped: bool,
    notices: File,
}

impl Journal for Played {
    fn select(&mut self, _: &[&[u8]]) -> io::Result<()> {
        Ok(())
    }

    fn seek(&mut self, _: Seek) -> io::Result<()> {
        Ok(())
    }

    fn step(&mut self) -> io::Result<bool> {
        Ok(!std::mem::replace(&mut self.is_stepped, true))
    }

    fn step_back(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn place(&mut self) -> io::Result<JournalPlace> {
        Ok(PLACE)
    }

    fn fields(&mut self, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.fields.iter().for_each(|field| visit(field));
        Ok(())
    }

    fn refresh(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn notices(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

fn entry(data: &[u8]) {
    let fields: Vec<Vec<u8>> = data
        .split(|byte| *byte == SEPARATOR)
        .map(<[u8]>::to_vec)
        .collect();
    let last = |name: &str| {
        let values = fields
            .iter()
            .filter_map(|it| it.strip_prefix(name.as_bytes()));
        values.filter_map(|it| it.strip_prefix(b"=")).next_back()
    };
    let journal = Played {
        fields: fields.clone(),
        is_stepped: false,
        notices: File::open("/dev/null").expect("it is there"),
    };
    let mut scan = Scan::begin(Box::new(journal), None, Seek::Head).expect("it can be read");
    let until = Instant::now() + Duration::from_secs(60);
    match scan.step(until).expect("it can be read") {
        Step::End | Step::Pause => {}
        Step::Suppressed(unit, entries) => {
            assert_eq!(last("_TRANSPORT"), Some(&b"driver"[..]));
            let text = last("MESSAGE").expect("it names the unit");
            assert!(text.ends_with(unit.as_bytes()));
            assert_eq!(scan.suppressed(), Some(entries));
        }
        Step::Entry(id, place) => {
            assert_eq!(place, PLACE);
            if scan.suppressed().is_some() {
                assert_eq!(last("_TRANSPORT"), Some(&b"driver"[..]));
                return;
            }
            assert_eq!(last("CONTAINER_ID_FULL"), Some(id.to_string().as_bytes()));
            for (program, uid) in [(JournalWriter::Dockerd, 0), (JournalWriter::Conmon, 1000)] {
                if scan.sender().is(&Writer { program, uid }) {
                    assert_eq!(last("_TRANSPORT"), Some(&b"journal"[..]));
                    let said = std::str::from_utf8(last("_UID").expect("a user")).expect("digits");
                    assert_eq!(said.parse(), Ok(uid));
                }
            }
            let text = last("MESSAGE").expect("it has a text");
            let is_error = last("PRIORITY") == Some(b"3");
            let is_piece = last("CONTAINER_PARTIAL_MESSAGE") == Some(b"true");
            if let Some(ordinal) = scan.ordinal() {
                assert!(ordinal.number > 0);
            }
            let entry = scan.entry(place);
            assert_eq!(entry.text, text.strip_suffix(b"\n").unwrap_or(text));
            assert_eq!(entry.stream == Stream::Stderr, is_error);
            assert_eq!(entry.ends_line, !is_piece);
            assert!(
                entry.attrs.len() <= MOST_ATTR_BYTES,
                "{}",
                entry.attrs.len()
            );
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    if mode % 2 == 0 {
        entry(data);
    } else if let Some(place) = cursor::parse(data) {
        assert!(!place.is_none());
        assert_eq!(
            cursor::parse(cursor::format(&place).as_bytes()),
            Some(place)
        );
    }
});
