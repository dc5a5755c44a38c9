use std::sync::{Mutex, OnceLock};

use super::*;
use crate::delivery::checkpoint::CheckpointStore;

/// A journal in memory that fails where it is told to.
#[derive(Default)]
struct Played {
    entries: Vec<JournalPlace>,
    /// Numbers of entries that cannot be read, and how often not.
    failing: Vec<(u64, u32)>,
    opened: u32,
    /// So many steps fail from now on, whatever they step to.
    broken: u32,
    /// When the first one is stepped to, the second one appears before it.
    late: Option<(JournalPlace, JournalPlace)>,
}

#[derive(Clone, Default)]
struct Library(Arc<Mutex<Played>>);

impl JournalLibrary for Library {
    fn open(&self, _: Option<&std::path::Path>) -> io::Result<Box<dyn Journal>> {
        self.0.lock().unwrap().opened += 1;
        Ok(Box::new(Handle {
            played: Arc::clone(&self.0),
            next: 0,
            waker: std::fs::File::open("/dev/null")?,
        }))
    }

    fn check(&self, _: &std::path::Path) -> io::Result<()> {
        Ok(())
    }
}

struct Handle {
    played: Arc<Mutex<Played>>,
    next: usize,
    waker: std::fs::File,
}

const ID: [u8; 32] = [7; 32];

impl Journal for Handle {
    fn select(&mut self, _: &[&[u8]]) -> io::Result<()> {
        Ok(())
    }

    fn seek(&mut self, to: Seek) -> io::Result<()> {
        let played = self.played.lock().unwrap();
        let is_there = |entry: &JournalPlace| match to {
            Seek::Head => true,
            Seek::End => false,
            Seek::Since(time) => entry.received >= time,
            Seek::To(place) if place.sequence == entry.sequence => entry.number >= place.number,
            Seek::To(place) => entry.received >= place.received,
        };
        let first = played.entries.iter().position(is_there);
        self.next = first.unwrap_or(played.entries.len());
        Ok(())
    }

    fn step(&mut self) -> io::Result<bool> {
        let mut played = self.played.lock().unwrap();
        if played.broken > 0 {
            played.broken -= 1;
            return Err(io::Error::other("a removed file"));
        }
        let is_more = self.next < played.entries.len();
        self.next += usize::from(is_more);
        let at = self.next.checked_sub(1).map(|at| played.entries[at]);
        if let Some((_, late)) = played.late.take_if(|(first, _)| Some(*first) == at) {
            played.entries.insert(self.next - 1, late);
            self.next += 1;
        }
        Ok(is_more)
    }

    fn step_back(&mut self) -> io::Result<bool> {
        let is_more = self.next > 1;
        self.next -= usize::from(is_more);
        Ok(is_more)
    }

    fn place(&mut self) -> io::Result<JournalPlace> {
        let entries = &self.played.lock().unwrap().entries;
        let at = self.next.checked_sub(1).and_then(|at| entries.get(at));
        at.copied()
            .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    fn fields(&mut self, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut played = self.played.lock().unwrap();
        let number = played.entries[self.next - 1].number;
        let mut failing = played.failing.iter_mut();
        if let Some((_, times)) = failing.find(|(failing, times)| *failing == number && *times > 0)
        {
            *times -= 1;
            return Err(io::Error::other("damaged"));
        }
        let id = ContainerId::from_bytes(ID);
        visit(format!("CONTAINER_ID_FULL={id}").as_bytes());
        visit(format!("MESSAGE={number}").as_bytes());
        Ok(())
    }

    fn refresh(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn notices(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.waker)
    }
}

fn place(number: u64) -> JournalPlace {
    JournalPlace {
        sequence: 1,
        number,
        received: number * 10,
    }
}

fn link() -> Link {
    Link::new(1_000_000, CheckpointStore::in_memory()).unwrap()
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Reads for all containers until nothing is left.
fn read(journal: &mut SharedJournal, link: &Link) -> Vec<u64> {
    let mut read = Vec::new();
    let deadline = later();
    loop {
        let progress = journal.read_all(later(), link, |_, place, _| read.push(place.number));
        match progress {
            Progress::End => return read,
            Progress::Failed => std::thread::sleep(Duration::from_millis(20)),
            Progress::More | Progress::Stalled => {}
        }
        assert!(Instant::now() < deadline, "{read:?}");
    }
}

/// A folder with a file that the library is asked about.
fn folder() -> &'static std::path::Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("system.journal"), "").unwrap();
        folder
    });
    made.path()
}

fn joined(library: &Library) -> SharedJournal {
    let mut journal = SharedJournal::new(&JournalPath::Folder(folder().to_owned()));
    journal.set_library(Arc::new(library.clone()));
    journal.join(ContainerId::from_bytes(ID), 3).unwrap();
    journal
}

#[test]
fn a_failure_that_passes_costs_no_entry_and_one_that_stays_costs_its_own() {
    let library = Library::default();
    let (mut journal, link) = (joined(&library), link());
    {
        let mut played = library.0.lock().unwrap();
        played.entries = (1..=9).map(place).collect();
        played.failing = vec![(4, 1), (7, u32::MAX)];
    }
    assert_eq!(read(&mut journal, &link), [1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(link.accounts.total().abandoned.generations, 1);
    // What was removed meanwhile is not taken for what could not be read.
    {
        let mut played = library.0.lock().unwrap();
        played.entries = (20..=22).map(place).collect();
        played.failing = vec![(20, 1)];
    }
    journal.all.scan = None;
    assert_eq!(read(&mut journal, &link), [20, 21, 22]);
}

/// They are no entry's, and so cost none.
#[test]
fn several_failures_in_a_row_cost_nothing_if_they_pass() {
    let library = Library::default();
    let (mut journal, link) = (joined(&library), link());
    library.0.lock().unwrap().entries = (1..=3).map(place).collect();
    assert_eq!(read(&mut journal, &link), [1, 2, 3]);
    library.0.lock().unwrap().entries.extend([4, 5].map(place));
    library.0.lock().unwrap().broken = 3;
    assert_eq!(read(&mut journal, &link), [4, 5]);
    assert_eq!(link.accounts.total().abandoned.generations, 0);
}

#[test]
fn nothing_is_open_while_no_container_is_read_from_it() {
    let library = Library::default();
    let (mut journal, link) = (joined(&library), link());
    assert!(journal.notices().is_some());
    assert_eq!(library.0.lock().unwrap().opened, 1);
    journal.leave(&ContainerId::from_bytes(ID), 3);
    assert!(journal.notices().is_none());
    library.0.lock().unwrap().entries = vec![place(1)];
    assert_eq!(read(&mut journal, &link), Vec::<u64>::new());
    assert_eq!(library.0.lock().unwrap().opened, 1);
}

#[test]
fn a_container_is_told_whether_entries_after_its_place_were_removed() {
    let of = |sequence, number| JournalPlace {
        sequence,
        ..place(number)
    };
    // Of another sequence: moved to disk with the same time, or begun anew.
    let (moved, anew) = (of(2, 3), of(2, 9));
    let (lost, whole, gone) = ((Some(true), 0), (Some(false), 0), (None, 1));
    for (last, entries, (was_lost, generations)) in [
        (place(3), vec![place(5), place(6)], lost),
        (place(4), vec![place(5), place(6)], whole),
        (place(5), vec![place(5), place(6)], whole),
        // A deleted file in the middle, and another sequence in between.
        (place(3), vec![place(2), place(3), anew, place(12)], lost),
        (place(3), vec![place(2), place(3), anew, place(4)], whole),
        // The next one tells.
        (place(9), vec![place(5), place(6)], (None, 0)),
        (place(3), vec![moved, anew], whole),
        (place(3).before(), vec![moved, anew], whole),
        (place(3), vec![place(2), anew], gone),
        (of(0, 0), vec![anew], whole),
    ] {
        let library = Library::default();
        let (mut journal, link) = (joined(&library), link());
        library.0.lock().unwrap().entries = entries.clone();
        let container = (ContainerId::from_bytes(ID), 3);
        let mut told = None;
        let from = (Seek::To(last), None);
        let is_behind = |is_lost| told = Some(is_lost);
        let progress = journal.read_own(container, from, later(), &link, is_behind, |_, _| {});
        assert_eq!(
            (progress, told),
            (Progress::End, was_lost),
            "{last:?} {entries:?}"
        );
        let abandoned = link.accounts.total().abandoned;
        assert_eq!(abandoned.generations, generations, "{last:?} {entries:?}");
    }
}

/// journald was stopped, its files were deleted, and it was started again.
#[test]
fn a_journal_that_is_begun_anew_after_a_container_joined_is_said_once() {
    let library = Library::default();
    let (mut journal, link) = (joined(&library), link());
    let container = (ContainerId::from_bytes(ID), 3);
    let from = (Seek::To(place(3)), None);
    journal.read_own(container, from, later(), &link, |_| {}, |_, _| {});
    assert_eq!(read(&mut journal, &link), [0; 0]);
    for number in [9, 10] {
        let anew = JournalPlace {
            sequence: 2,
            ..place(number)
        };
        library.0.lock().unwrap().entries.push(anew);
        assert_eq!(read(&mut journal, &link), [number]);
        assert_eq!(link.accounts.total().abandoned.generations, 1);
    }
}

/// As an open journal goes on: libsystemd notices the new files, and nothing fails.
#[test]
fn a_journal_that_is_begun_anew_while_it_is_read_is_said_and_a_namespace_is_not() {
    for (is_kept, generations) in [(true, 0), (false, 1)] {
        let library = Library::default();
        library.0.lock().unwrap().entries = vec![place(2)];
        let (mut journal, link) = (joined(&library), link());
        let other = JournalPlace {
            sequence: 2,
            ..place(9)
        };
        let entries = match is_kept {
            true => vec![place(2), other],
            // Where the handle is.
            false => vec![other, other],
        };
        library.0.lock().unwrap().entries = entries;
        assert_eq!(read(&mut journal, &link), [9]);
        assert_eq!(link.accounts.total().abandoned.generations, generations);
    }
}

/// What a scan had passed is not forgotten with it.
#[test]
fn entries_that_are_missing_after_a_failure_are_counted() {
    let library = Library::default();
    let (mut journal, link) = (joined(&library), link());
    library.0.lock().unwrap().entries = (1..=3).map(place).collect();
    assert_eq!(read(&mut journal, &link), [1, 2, 3]);
    library.0.lock().unwrap().entries = vec![place(7)];
    library.0.lock().unwrap().broken = 1;
    assert_eq!(read(&mut journal, &link), [7]);
    assert_eq!(link.accounts.total().abandoned.generations, 1);
    // All was deleted, and nothing is known of the numbers.
    let anew = |number| JournalPlace {
        sequence: 2,
        ..place(number)
    };
    for (entries, generations) in [
        // It was moved to disk.
        (
            vec![
                JournalPlace {
                    number: 1,
                    ..anew(7)
                },
                anew(8),
            ],
            1,
        ),
        (vec![anew(20)], 2),
    ] {
        library.0.lock().unwrap().entries = entries.clone();
        library.0.lock().unwrap().broken = 1;
        let last = entries.last().map(|it| it.number);
        assert_eq!(read(&mut journal, &link).last().copied(), last);
        let abandoned = link.accounts.total().abandoned;
        assert_eq!(abandoned.generations, generations, "{entries:?}");
    }
}

/// Two journalds of a machine number their entries each for itself.
#[test]
fn a_turn_over_tells_the_last_entry_of_each_sequence() {
    let library = Library::default();
    let (mut journal, link) = (joined(&library), link());
    let other = |number| JournalPlace {
        sequence: 2,
        ..place(number)
    };
    library.0.lock().unwrap().entries = vec![place(1), place(2), other(7)];
    assert_eq!(read(&mut journal, &link), [1, 2, 7]);
    journal.has_changed = true;
    assert_eq!(journal.take_turn_over(Progress::More), None);
    let ends = [place(2), other(7)];
    assert_eq!(journal.take_turn_over(Progress::End), Some(&ends[..]));
    assert_eq!(journal.turned_over(), ends);
    assert_eq!(journal.take_turn_over(Progress::End), None);
}

/// Everything was removed, and nothing was written since.
#[test]
fn what_was_removed_from_an_empty_journal_is_reported_with_the_next_entry() {
    for (next, generations) in [(9, 1), (4, 0)] {
        let library = Library::default();
        let (mut journal, link) = (joined(&library), link());
        let from = (Seek::To(place(3)), None);
        let container = (ContainerId::from_bytes(ID), 3);
        let is_behind = |_| panic!("nothing is known yet");
        let progress = journal.read_own(container, from, later(), &link, is_behind, |_, _| {});
        assert_eq!(progress, Progress::End);
        library.0.lock().unwrap().entries = vec![place(next)];
        assert_eq!(read(&mut journal, &link), [next]);
        let abandoned = link.accounts.total().abandoned;
        assert_eq!(abandoned.generations, generations, "{next}");
    }
}

/// libsystemd looks into one file after the other: what is written to the first one meanwhile has
/// a smaller number than what is found in the second one.
#[test]
fn an_entry_that_was_passed_over_is_found_and_one_that_is_gone_is_reported() {
    let library = Library::default();
    let (mut journal, link) = (joined(&library), link());
    library.0.lock().unwrap().entries = vec![place(1), place(2), place(4)];
    library.0.lock().unwrap().late = Some((place(4), place(3)));
    assert_eq!(read(&mut journal, &link), [1, 2, 3, 4]);
    assert_eq!(link.accounts.total().abandoned.generations, 0);
    library.0.lock().unwrap().entries.extend([7, 8].map(place));
    assert_eq!(read(&mut journal, &link), [7, 8]);
    assert_eq!(link.accounts.total().abandoned.generations, 1);
}
