use std::io::Write;

use super::*;

/// Size limit of a list, in bytes.
const MOST: u64 = 16 << 20;

#[test]
fn a_list_is_read_once_until_it_is_another_one_and_has_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("containers.json");
    let id = "ab".repeat(32);
    let write = |name: &str| {
        let next = dir.path().join("next");
        std::fs::write(&next, format!(r#"[{{"id":"{id}","names":["{name}"]}}]"#)).unwrap();
        std::fs::rename(next, &file).unwrap();
    };
    let lists = ContainerLists::new(100);
    let name = || {
        let list = lists.read(&SafePath::from(&file)).ok()?;
        Some(list.get(&ContainerId::parse(&id).unwrap())?.name.clone())
    };
    write("one");
    let first = lists.read(&SafePath::from(&file)).unwrap();
    assert!(Arc::ptr_eq(
        &first,
        &lists.read(&SafePath::from(&file)).unwrap()
    ));
    write("two");
    assert_eq!(name().as_deref(), Some("two"));
    write(&"x".repeat(100));
    let error = lists.read(&SafePath::from(&file)).unwrap_err().to_string();
    assert!(error.contains("limit of 100"), "{error}");
    assert_eq!(name(), None);
}

/// The clock of a file system has ticks, and an inode is used again.
#[test]
fn a_list_that_changes_again_within_a_tick_of_the_clock_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("containers.json");
    let lists = ContainerLists::new(1_000);
    let write = |name: &str| {
        let list = format!(r#"[{{"id":"{}","names":["{name}"]}}]"#, id(1));
        std::fs::write(&file, list).unwrap();
    };
    let name = || {
        let list = lists.read(&SafePath::from(&file)).ok()?;
        Some(list.get(&id(1))?.name.clone())
    };
    write("one");
    assert_eq!(name().as_deref(), Some("one"));
    write("two");
    // Recent kernels have finer clocks.
    let changed = SafePath::from(&file).stat().unwrap().stx_ctime;
    for known in lock(&lists.known).values_mut() {
        let (version, _) = known.list.as_mut().unwrap();
        version.2 = nanos_of(changed);
    }
    assert_eq!(name().as_deref(), Some("one"), "nothing shows yet");
    let begun = Instant::now();
    while name().as_deref() != Some("two") {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// One is renamed, one is new, and one is as it was.
#[test]
fn what_changed_in_a_list_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("containers.json");
    let write = |names: &[(usize, &str)]| {
        let entry = |(number, name): &(usize, &str)| {
            format!(r#"{{"id":"{}","names":["{name}"]}}"#, id(*number))
        };
        let entries: Vec<String> = names.iter().map(entry).collect();
        let next = dir.path().join("next");
        std::fs::write(&next, format!("[{}]", entries.join(","))).unwrap();
        std::fs::rename(next, &file).unwrap();
    };
    let lists = ContainerLists::new(1_000);
    write(&[(1, "web"), (2, "db")]);
    lists.read(&SafePath::from(&file)).unwrap();
    assert_eq!(lists.take_changed(), HashSet::new(), "all is new");
    write(&[(1, "shop"), (2, "db"), (3, "mail")]);
    // Whoever reads it first.
    lists.read(&SafePath::from(&file)).unwrap();
    assert_eq!(lists.take_changed(), HashSet::from([id(1), id(3)]));
    assert_eq!(lists.take_changed(), HashSet::new());
    std::fs::write(&file, "[{").unwrap();
    assert_eq!(lists.take_changed(), HashSet::new());
    write(&[(2, "db"), (3, "mail")]);
    let all_that_were_unknown = HashSet::from([id(2), id(3)]);
    assert_eq!(lists.take_changed(), all_that_were_unknown);
}

/// It cannot be opened for a moment: the process has no descriptor left, or it is being replaced.
#[test]
fn what_changes_in_a_list_while_a_read_of_it_fails_is_told_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("containers.json");
    let next = dir.path().join("next");
    let put = |name: &str| {
        let list = format!(r#"[{{"id":"{}","names":["{name}"]}},{}]"#, id(1), entry(2));
        std::fs::write(&next, list).unwrap();
        std::fs::rename(&next, &file).unwrap();
    };
    let lists = ContainerLists::new(10_000);
    put("web");
    lists.read(&SafePath::from(&file)).unwrap();
    std::os::unix::fs::symlink(dir.path().join("nothing"), &next).unwrap();
    std::fs::rename(&next, &file).unwrap();
    lists.read(&SafePath::from(&file)).unwrap_err();
    put("shop");
    assert_eq!(lists.take_changed(), HashSet::from([id(1)]));
}

/// All containers of a storage have it, and are looked at again and again.
#[test]
fn a_damaged_list_is_read_once_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("containers.json");
    let lists = ContainerLists::new(1_000);
    std::fs::write(&file, "[{]").unwrap();
    crate::format::work::take();
    let read = |wanted: &str| {
        let read = lists.read(&SafePath::from(&file));
        assert!(format!("{read:?}").contains(wanted), "{read:?}");
    };
    read("Unreadable");
    (0..100).for_each(|_| read("Missing"));
    assert_eq!(crate::format::work::take(), 3);
    std::fs::write(&file, "[]").unwrap();
    read("Ok");
}

/// A user rewrites the list constantly, so that each lookup would read it again.
#[test]
fn a_list_that_changes_all_the_time_is_read_so_many_times_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("containers.json");
    let lists = ContainerLists::new(10_000);
    let began = Instant::now();
    let read = (0..1_000).filter(|number| {
        std::fs::write(&file, format!("[{}]", " ".repeat(*number))).unwrap();
        lists.read(&SafePath::from(&file)).is_ok()
    });
    let read = read.count() as u64;
    let seconds = began.elapsed().as_secs() + 1;
    assert!(
        read >= 20 && read <= seconds * u64::from(MOST_READS),
        "{read} in {seconds} s"
    );
}

#[test]
fn one_list_too_many_takes_the_place_of_the_oldest_alone() {
    let dir = tempfile::tempdir().unwrap();
    let lists = ContainerLists::new(100);
    let file = |number: usize| dir.path().join(number.to_string());
    let read = |number: usize| lists.read(&SafePath::from(file(number))).unwrap();
    let first: Vec<List> = (0..=MOST_LISTS)
        .map(|number| {
            std::fs::write(file(number), "[]").unwrap();
            read(number)
        })
        .collect();
    // Newest first: the oldest is read again and evicts the next one.
    for (number, list) in first.iter().enumerate().rev() {
        assert_eq!(
            Arc::ptr_eq(list, &read(number)),
            number > 0,
            "list {number}"
        );
    }
    assert_eq!(lock(&lists.known).len(), MOST_LISTS);
}

fn id(number: usize) -> ContainerId {
    ContainerId::parse(&format!("{number:064x}")).unwrap()
}

/// An entry as Podman 5 writes it, with the SELinux fields.
fn entry(number: usize) -> String {
    let id = id(number);
    format!(
        r#"{{"id":"{id}","names":["shop-web-{number}"],"image":"{id}","layer":"{id}","metadata":"{{\"image-name\":\"docker.io/library/nginx:1.27\",\"image-id\":\"{id}\",\"name\":\"shop-web-{number}\",\"created-at\":1700000000,\"mountlabel\":\"system_u:object_r:container_file_t:s0:c1,c2\"}}","created":"2026-11-23T18:34:00.123456789Z","flags":{{"MountLabel":"system_u:object_r:container_file_t:s0:c1,c2","ProcessLabel":"system_u:system_r:container_t:s0:c1,c2"}}}}"#
    )
}

#[test]
fn a_list_of_ten_thousand_containers_is_read_once_for_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("containers.json");
    let entries: Vec<String> = (0..10_000).map(entry).collect();
    std::fs::write(&path, format!("[{}]", entries.join(","))).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() < MOST);
    let lists = ContainerLists::new(MOST);
    crate::format::work::take();
    for number in 0..10_000 {
        let listed = lists.read(&SafePath::from(&path)).unwrap()[&id(number)].clone();
        assert_eq!(listed.name, format!("shop-web-{number}"));
        assert_eq!(listed.image, "docker.io/library/nginx:1.27");
    }
    let size = std::fs::metadata(&path).unwrap().len();
    assert_eq!(crate::format::work::take(), size, "it was parsed once");
}

#[test]
fn a_list_that_has_changed_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("containers.json");
    let lists = ContainerLists::new(MOST);
    assert!(matches!(
        lists.read(&SafePath::from(&path)),
        Err(MetadataError::Missing { .. })
    ));
    for number in 1..4 {
        // As Podman does: another file under the name.
        let mut new = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        write!(new, "[{}]", entry(number)).unwrap();
        new.persist(&path).unwrap();
        assert!(lists
            .read(&SafePath::from(&path))
            .unwrap()
            .contains_key(&id(number)));
        assert!(!lists
            .read(&SafePath::from(&path))
            .unwrap()
            .contains_key(&id(number + 1)));
    }
}

#[test]
fn a_list_beyond_the_limit_is_refused_unread_once_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("containers.json");
    let file = std::fs::File::create(&path).unwrap();
    let lists = ContainerLists::new(MOST);
    for size in [3u64 << 30, 4 << 30] {
        file.set_len(size).unwrap();
        crate::format::work::take();
        let Err(MetadataError::Unreadable {
            path: named,
            reason,
        }) = lists.read(&SafePath::from(&path))
        else {
            panic!("it was read")
        };
        assert_eq!(named, path);
        assert_eq!(
            reason,
            format!("it has {size} bytes, more than the limit of 16777216")
        );
        for _ in 1..10 {
            assert!(matches!(
                lists.read(&SafePath::from(&path)),
                Err(MetadataError::Missing { .. })
            ));
        }
        assert_eq!(crate::format::work::take(), 0);
    }
}
