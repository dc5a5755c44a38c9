use std::io::Write;

use super::*;

fn id(number: usize) -> ContainerId {
    ContainerId::parse(&format!("{number:064x}")).unwrap()
}

/// As Podman 5 writes an entry, with what SELinux adds.
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
    assert!(std::fs::metadata(&path).unwrap().len() < FileKind::ContainerList.limit());
    let lists = ContainerLists::default();
    crate::work::take();
    for number in 0..10_000 {
        let listed = lists.find(&path, &id(number)).unwrap().unwrap();
        assert_eq!(listed.name, Some(format!("shop-web-{number}")));
        assert_eq!(listed.image, "docker.io/library/nginx:1.27");
    }
    let size = std::fs::metadata(&path).unwrap().len();
    assert_eq!(crate::work::take(), size, "it was parsed once");
}

#[test]
fn a_list_that_has_changed_is_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("containers.json");
    let lists = ContainerLists::default();
    assert!(matches!(lists.find(&path, &id(1)), Err(MetadataError::Missing { .. })));
    for number in 1..4 {
        // As Podman does: another file under the name.
        let mut new = tempfile::NamedTempFile::new_in(dir.path()).unwrap();
        write!(new, "[{}]", entry(number)).unwrap();
        new.persist(&path).unwrap();
        assert!(lists.find(&path, &id(number)).unwrap().is_some());
        assert!(lists.find(&path, &id(number + 1)).unwrap().is_none());
    }
}

#[test]
fn a_list_beyond_the_limit_is_refused_by_name_size_and_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("containers.json");
    std::fs::File::create(&path).unwrap().set_len(3 << 30).unwrap();
    let Err(MetadataError::Unreadable { path: named, reason }) =
        ContainerLists::default().find(&path, &id(1))
    else {
        panic!("it was read")
    };
    assert_eq!(named, path);
    assert_eq!(reason, "it has 3221225472 bytes, more than the limit of 16777216");
}

#[test]
fn a_list_that_is_refused_is_said_to_be_so_once_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("containers.json");
    let file = std::fs::File::create(&path).unwrap();
    let lists = ContainerLists::default();
    for size in [3 << 30, 4 << 30] {
        file.set_len(size).unwrap();
        assert!(matches!(lists.find(&path, &id(1)), Err(MetadataError::Unreadable { .. })));
        for number in 1..10 {
            assert!(matches!(lists.find(&path, &id(number)), Err(MetadataError::Missing { .. })));
        }
    }
}
