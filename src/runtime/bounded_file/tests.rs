use std::os::unix::fs::symlink;

use super::*;

fn file_of(size: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    file
}

const KINDS: [FileKind; 7] = [
    FileKind::ContainerConfig,
    FileKind::PodmanList,
    FileKind::UsersPodmanList,
    FileKind::UsersContainerConfig,
    FileKind::UsersSetting,
    FileKind::Proc,
    FileKind::Setting,
];

#[test]
fn a_file_at_the_limit_is_read_and_one_byte_more_is_refused_by_name_size_and_limit() {
    for kind in KINDS {
        let limit = kind.limit();
        assert_eq!(
            read(file_of(limit).path(), kind).unwrap().len() as u64,
            limit,
            "{kind:?}"
        );
        let file = file_of(limit + 1);
        let error = read(file.path(), kind).unwrap_err();
        let size = limit + 1;
        let said = format!(
            "{}: it has {size} bytes, more than the limit of {limit}",
            file.path().display()
        );
        assert_eq!(error.to_string(), said);
        assert!(matches!(error, BoundedReadError::TooLarge { .. }));
    }
}

/// A sparse file: it takes no disk space and would fill all memory.
#[test]
fn a_sparse_file_of_three_gibibytes_is_refused_unread() {
    let error = read(file_of(3 << 30).path(), FileKind::ContainerConfig).unwrap_err();
    assert!(
        matches!(
            error,
            BoundedReadError::TooLarge {
                size: 0xc000_0000,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_that_claims_no_size_is_read_to_the_limit_and_no_further() {
    let status = read_text(Path::new("/proc/self/status"), FileKind::Proc).unwrap();
    assert!(status.contains("Name:"), "{status}");
    let mut bytes = Vec::new();
    assert_eq!(
        read_at_most(io::repeat(7), 1_000, &mut bytes).unwrap(),
        1_000
    );
    assert_eq!(bytes, [7; 1_000]);
}

#[test]
fn what_is_no_regular_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    for path in [pipe.as_path(), dir.path(), Path::new("/dev/zero")] {
        for kind in KINDS {
            let error = read(path, kind).unwrap_err();
            assert!(
                matches!(error, BoundedReadError::NotRegular { .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn a_symlink_is_followed_where_only_the_administrator_can_put_one() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    std::fs::write(&file, "text").unwrap();
    symlink(&file, &link).unwrap();
    for kind in KINDS {
        assert_eq!(
            read(&link, kind).is_ok(),
            kind.follows_symlinks(),
            "{kind:?}"
        );
    }
}

#[test]
fn a_listing_ends_at_its_limit_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..5 {
        std::fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    assert_eq!(
        list(dir.path(), 5).unwrap().filter(Result::is_ok).count(),
        5
    );
    let listed: io::Result<Vec<_>> = list(dir.path(), 4).unwrap().collect();
    assert!(listed
        .unwrap_err()
        .to_string()
        .contains("more than 4 entries"));
    // Even if errors are ignored, listing an endless directory ends.
    assert_eq!(list(dir.path(), 4).unwrap().flatten().count(), 4);
}
