use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::written::{database, text, texts, Bucket, Value};
use super::*;

const MOST: usize = 1 << 20;
/// Set for the child process that writes.
const WRITE: &str = "CONTAINER_LOGS_TEST_WRITE_BOLT";

fn file(bytes: &[u8]) -> (tempfile::TempDir, SafePath) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    std::fs::write(&path, bytes).unwrap();
    (dir, SafePath::from(path))
}

/// A bucket `all` with many buckets, each of which has its own key as its `name`.
fn many(count: usize) -> Bucket {
    let bucket = |number: usize| {
        let key = format!("{number:04}");
        (key.clone(), texts(&[("name", &key), ("other", "x")]))
    };
    vec![
        (
            "all".to_owned(),
            Value::Bucket((0..count).map(bucket).collect()),
        ),
        ("text".to_owned(), text("a text")),
    ]
}

fn name(path: &SafePath, most: usize, key: &str) -> Result<Option<Vec<u8>>, BoltError> {
    let read = read(path, most, |tree, root| {
        let Some(all) = tree.bucket_in(root, b"all")? else {
            return Ok(None);
        };
        match tree.bucket_in(&all, key.as_bytes())? {
            Some(bucket) => tree.value_in(&bucket, b"name"),
            None => Ok(None),
        }
    });
    read.map(Option::flatten)
}

#[test]
fn one_of_thousands_is_found_by_reading_a_few_pages_of_them() {
    let (_dir, path) = file(&database(&many(5_000), 7));
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size > 500_000, "{size}");
    for key in ["0000", "0001", "2500", "4998", "4999"] {
        let found = name(&path, 40_000, key).unwrap();
        assert_eq!(found.as_deref(), Some(key.as_bytes()));
    }
    for key in ["", "/", "00000", "25", "25000", "5000", "z"] {
        assert_eq!(name(&path, 40_000, key).unwrap(), None, "{key}");
    }
    let mut seen = Vec::new();
    let mut all = |most| {
        read(&path, most, |tree, root| {
            let all = tree.bucket_in(root, b"all")?.unwrap();
            tree.each(&all, &mut |_, entry| {
                seen.push(entry.key.to_owned());
                Ok(())
            })
        })
    };
    assert!(matches!(all(100_000), Err(BoltError::TooLarge(100_000))));
    seen.clear();
    read(&path, 4 << 20, |tree, root| {
        assert_eq!(tree.value_in(root, b"text")?.unwrap(), b"a text");
        assert!(tree.bucket_in(root, b"text")?.is_none());
        assert_eq!(tree.value_in(root, b"all")?, None);
        let all = tree.bucket_in(root, b"all")?.unwrap();
        tree.each(&all, &mut |_, entry| {
            seen.push(entry.key.to_owned());
            Ok(())
        })
    })
    .unwrap();
    assert!(seen.len() == 5_000 && seen.is_sorted());
}

#[test]
fn an_empty_file_is_about_to_become_a_database_and_another_is_none() {
    let (_dir, empty) = file(b"");
    assert_eq!(name(&empty, MOST, "0000").unwrap(), None);
    let (_dir, other) = file(&[b'x'; 9_000]);
    assert!(matches!(
        name(&other, MOST, "0000"),
        Err(BoltError::NotBolt)
    ));
    let missing = name(&other.join("none"), MOST, "0000");
    assert!(matches!(missing, Err(BoltError::Io(_))), "{missing:?}");
}

#[test]
fn a_file_cut_or_changed_anywhere_is_an_error_or_has_what_was_in_it() {
    let whole = database(&many(100), 7);
    let (_dir, path) = file(&whole);
    let check = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        name(&path, MOST, "0042")
    };
    assert_eq!(check(&whole).unwrap().unwrap(), b"0042");
    for cut in (0..whole.len()).step_by(509) {
        let found = check(&whole[..cut]).ok().flatten();
        assert!(found.is_none_or(|found| found == b"0042"), "cut at {cut}");
    }
    for at in (0..whole.len()).step_by(61) {
        let mut changed = whole.clone();
        changed[at] ^= 0xff;
        let found = check(&changed).ok().flatten().unwrap_or_default();
        assert!(found.len() <= whole.len(), "byte {at}");
    }
}

/// A user says that a page has four billion others, or that pages lead to each other in a circle.
#[test]
fn what_a_user_puts_into_a_page_costs_no_more_than_the_limit() {
    let whole = database(&many(1_000), 7);
    let set = |bytes: &mut [u8], page: usize, at: usize, value: u32| {
        let at = page * 4096 + at;
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    };
    let mut long = whole.clone();
    let mut circle = whole.clone();
    for page in 2..whole.len() / 4096 {
        set(&mut long, page, 12, u32::MAX);
        set(&mut circle, page, 8, u32::from(BRANCH) | 0xff << 16);
        for element in 0..200 {
            set(&mut circle, page, 16 + 16 * element, 0);
            set(&mut circle, page, 24 + 16 * element, 2);
        }
    }
    for bytes in [long, circle] {
        let (_dir, path) = file(&bytes);
        assert!(name(&path, MOST, "0042").is_err());
        let mut visited = 0;
        let all = read(&path, MOST, |tree, root| {
            let all = tree.each(root, &mut |_, _| Ok(()));
            visited = MOST - tree.left;
            all
        });
        assert!(matches!(
            all,
            Err(BoltError::TooLarge(MOST) | BoltError::Damaged)
        ));
        // One page of each level at most, and the root.
        let most = (MOST_DEPTH + 2) * (4096 + ELEMENT);
        assert!(visited <= most, "{visited}");
    }
}

/// A database of which both texts are the number of its transaction.
fn pair(number: u64) -> Vec<u8> {
    let pair = texts(&[("one", &number.to_string()), ("other", &number.to_string())]);
    let padding = text(&"x".repeat(100_000));
    let root = vec![("pair".to_owned(), pair), ("padding".to_owned(), padding)];
    database(&root, number)
}

/// Rewrites a database in place as bbolt does: first the pages that no transaction uses, then a
/// meta page. Of two halves of the file one is always free.
fn write_for_ever(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    const PAGE: usize = 4096;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for number in 1u64.. {
        let bytes = pair(number);
        let pages = (bytes.len() / PAGE - 2) as u64;
        // The second half has other numbers of pages.
        let half = number % 2;
        let mut bytes = bytes;
        let shift = half * pages;
        if half == 1 {
            relocate(&mut bytes, shift);
        }
        file.write_all_at(&bytes[2 * PAGE..], (2 + shift) * PAGE as u64)
            .unwrap();
        file.write_all_at(&bytes[..PAGE], half * PAGE as u64)
            .unwrap();
    }
}

/// Adds `shift` to the number of the root; the other buckets are in its value.
fn relocate(bytes: &mut [u8], shift: u64) {
    let root = u64_at(bytes, 16 + 16).unwrap() + shift;
    bytes[32..40].copy_from_slice(&root.to_ne_bytes());
    let hash = fnv1a(&bytes[16..72]);
    bytes[72..80].copy_from_slice(&hash.to_ne_bytes());
}

/// A process that writes until the test ends, whatever its result.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_read_while_transactions_end_is_of_one_transaction() {
    if let Some(path) = std::env::var_os(WRITE) {
        return write_for_ever(Path::new(&path));
    }
    let (_dir, path) = file(&pair(0));
    let test = "runtime::bolt::tests::what_is_read_while_transactions_end_is_of_one_transaction";
    let writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(WRITE, &*path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut writer = Writer(writer.unwrap());
    let mut versions = std::collections::HashSet::new();
    let end = Instant::now() + Duration::from_secs(60);
    while versions.len() < 20 && Instant::now() < end {
        let pair = read(&path, MOST, |tree, root| {
            let pair = tree.bucket_in(root, b"pair")?.ok_or(BoltError::Damaged)?;
            let mut seen = BTreeMap::new();
            tree.each(&pair, &mut |_, entry| {
                seen.insert(entry.key.to_owned(), entry.value.to_owned());
                Ok(())
            })?;
            Ok(seen)
        });
        match pair {
            Ok(None) | Err(BoltError::Changed) => {}
            Ok(Some(pair)) => {
                assert_eq!(pair[&b"one"[..]], pair[&b"other"[..]], "of one transaction");
                versions.insert(pair[&b"one"[..]].clone());
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(writer.0.try_wait().unwrap(), None);
    assert!(versions.len() >= 20, "{} versions", versions.len());
}
