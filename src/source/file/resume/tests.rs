use super::*;
use crate::runtime::LogFiles;
use crate::source::file::listing;

/// Where reading stopped at the end of a listed file.
fn end_of(file: &ListedFile) -> StreamCheckpoint {
    let mut opened = Generation::open_listed(file).unwrap();
    opened.seek_to_end().unwrap();
    opened.resume_here()
}

#[test]
fn streams_resume_each_in_its_own_file_and_one_whose_file_is_gone_in_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogFiles::numbered(dir.path().join("x-json.log"));
    let rotated = dir.path().join("x-json.log.1");
    std::fs::write(&rotated, "{\"log\":\"first\"}\n").unwrap();
    std::fs::write(&log.path, "{\"log\":\"second one\"}\n").unwrap();
    let listed = listing::list(&log).unwrap().files;
    let saved = [end_of(&listed[0]), end_of(&listed[1])];
    let (first, second) = (saved[0].offset, saved[1].offset);
    let checkpoint = |listed: &[ListedFile]| {
        plan(listed, &saved, false, 7, &mut Search::default())
            .unwrap()
            .unwrap()
    };

    let found = checkpoint(&listed);
    let front = found.front.map(|front| front.read_offset());
    assert_eq!((found.first, front), (0, Some(first)));
    assert_eq!(found.accepted.within(7), [first, u64::MAX]);
    assert_eq!(found.accepted.within(8), [0, second]);
    assert!(found.lost.is_none() && found.by_time == [false, false]);

    std::fs::remove_file(&rotated).unwrap();
    let left = checkpoint(&listing::list(&log).unwrap().files);
    assert_eq!((left.first, left.front.is_none()), (0, true));
    assert_eq!(left.accepted.within(7), [0, second]);
    assert!(matches!(left.lost, Some(Lost::Generation(_))));
}
