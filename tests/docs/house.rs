//! The house stands as docs/design.md draws it: a room uses only rooms on floors below its
//! own, so that no two use each other, and no file is longer than a reader can hold in mind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// The rooms from the ground up; those of one floor do not use each other.
const FLOORS: [&[&str]; 11] = [
    &["lock"],
    &["threads"],
    &["format"],
    &["runtime"],
    &["telemetry"],
    &["delivery"],
    &["pipeline"],
    &["config"],
    &["source"],
    &["plugin"],
    &["ffi"],
];

/// Lines of code of a file, without comments, blank lines and tests.
const LONGEST: usize = 350;

/// The files of `src`, without the tests, by their paths below it.
fn sources() -> BTreeMap<PathBuf, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a plain name");
            if path.is_dir() {
                if name != "tests" {
                    folders.push(path);
                }
            } else if !name.ends_with("tests.rs") && !["lib.rs", "fuzz_seeds.rs"].contains(&name) {
                let below = path.strip_prefix(&src).expect("it is below").to_owned();
                found.insert(
                    below,
                    code_of(&std::fs::read_to_string(&path).expect("text")),
                );
            }
        }
    }
    found
}

/// What a file says without its comments, its blank lines and its tests.
fn code_of(text: &str) -> String {
    let text = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    text.lines()
        .filter(is_code)
        .fold(String::new(), |code, line| code + line + "\n")
}

fn room_of(file: &Path) -> String {
    let first = file
        .components()
        .next()
        .expect("a name")
        .as_os_str()
        .to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn floor_of(room: &str) -> usize {
    let floor = FLOORS.iter().position(|rooms| rooms.contains(&room));
    floor.unwrap_or_else(|| panic!("the room {room} is on no floor: give it one above"))
}

#[test]
fn a_room_uses_only_rooms_below_it() {
    let used = Regex::new(r"\bcrate::(\w+)").expect("an expression");
    let mut up = BTreeSet::new();
    for (file, code) in sources() {
        // The program is a crate of its own above all rooms.
        if file.starts_with("bin") {
            continue;
        }
        let room = room_of(&file);
        for found in used.captures_iter(&code) {
            let other = &found[1];
            if other != room && floor_of(other) >= floor_of(&room) {
                up.insert(format!("{} uses {other}", file.display()));
            }
        }
    }
    assert!(up.is_empty(), "{up:#?}");
}

/// The reading room is the largest: there, no circle of files either.
#[test]
fn no_files_of_the_source_use_each_other() {
    let used = Regex::new(r"crate::source((?:::[a-z_]+)+)").expect("a pattern");
    let name_of = |file: &Path| {
        let name = file.with_extension("").display().to_string();
        name.trim_end_matches("/mod").to_owned()
    };
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, code) in sources() {
        if file.starts_with("source") && !file.ends_with("mod.rs") {
            let used = used.captures_iter(&code);
            let used = used.map(|found| format!("source{}", found[1].replace("::", "/")));
            // What follows the file may be a function of it.
            let used = used.flat_map(|path| {
                let ends = path.match_indices('/').map(|(end, _)| end);
                let folders: Vec<String> = ends.map(|end| path[..end].to_owned()).collect();
                folders.into_iter().chain([path])
            });
            uses.insert(name_of(&file), used.collect());
        }
    }
    let known: BTreeSet<String> = uses.keys().cloned().collect();
    // What uses nothing that is left is on no circle.
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        uses.retain(|file, used| {
            let is_another = |other: &&String| *other != file && left.contains(*other);
            // A folder beside a file is a part of it.
            let is_part = |other: &str| other.starts_with(file) || file.starts_with(other);
            used.iter().filter(is_another).any(|other| !is_part(other))
        });
        if uses.len() == left.len() {
            break;
        }
    }
    assert!(known.len() > 30, "{known:?}");
    assert!(uses.is_empty(), "{uses:#?}");
}

#[test]
fn no_file_is_too_long() {
    let lines = |code: &String| code.lines().count();
    let long: Vec<(PathBuf, usize)> = sources()
        .iter()
        .map(|(file, code)| (file.clone(), lines(code)))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "more than {LONGEST} lines: {long:#?}");
}
