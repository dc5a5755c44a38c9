use std::time::{Duration, Instant};

use super::*;
use crate::config::Config;
use crate::delivery::checkpoint::{CheckpointStore, FirstStart};
use crate::runtime::id::ContainerId;
use crate::source::reader::Reader;

/// A container whose folder is a file, as if the disk were damaged, and one that was removed
/// while this process was not running; both have checkpoints.
#[test]
fn what_cannot_be_seen_keeps_its_position_and_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let storage = dir.path().canonicalize().unwrap();
    let (hidden, removed) = (
        ContainerId::from_bytes([0xaa; 32]),
        ContainerId::from_bytes([0xbb; 32]),
    );
    let userdata = storage.join(format!("overlay-containers/{hidden}/userdata"));
    std::fs::create_dir_all(userdata.parent().unwrap()).unwrap();
    std::fs::write(&userdata, "").unwrap();
    let mut store = CheckpointStore::in_memory();
    for id in [hidden, removed] {
        store.advance(id, &[None, None]).unwrap();
    }
    let link = Arc::new(Link::new(1 << 20, store).unwrap());
    let config = Config::from_lookup(|name| match name {
        "Runtime" => Some("podman".to_owned()),
        "Podman_Root" => Some(storage.display().to_string()),
        "Podman_Socket" => Some("off".to_owned()),
        _ => None,
    });
    let mut reader = Reader::new(
        Arc::clone(&link),
        config.unwrap(),
        FirstStart::Earlier(None),
    );
    reader.begin();
    let mut now = Instant::now();
    let mut turns_of = |seconds| {
        for _ in 0..3 {
            now += Duration::from_secs(seconds);
            reader.turn(now);
        }
        let (events, _) = link.events.take();
        let of_folder = |event: &Event| {
            matches!(
                event,
                Event::FolderUnreadable { .. } | Event::FolderReadable { .. }
            )
        };
        events.into_iter().filter(of_folder).collect::<Vec<Event>>()
    };
    let mut turns = || turns_of(10);
    let said = turns();
    let [Event::FolderUnreadable { path, reason, .. }] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!((path, reason.as_str()), (&userdata, "it is not a folder"));
    assert!(
        !link.is_leaving(&hidden) && !link.is_leaving(&removed),
        "nobody knows yet"
    );
    std::fs::remove_file(&userdata).unwrap();
    std::fs::create_dir(&userdata).unwrap();
    assert_eq!(
        turns(),
        [Event::FolderReadable {
            path: userdata.clone()
        }]
    );
    assert!(!link.is_leaving(&hidden) && link.is_leaving(&removed));
    // It is known now, and becomes hidden again: that does not make it gone.
    std::fs::remove_dir(&userdata).unwrap();
    std::fs::write(&userdata, "").unwrap();
    assert_eq!(turns().len(), 1);
    assert!(!link.is_leaving(&hidden));
    // A user who makes it unreadable and readable all the time is reported once a minute.
    let (mut unreadable, mut readable) = (0, 0);
    for _ in 0..10 {
        std::fs::remove_file(&userdata).unwrap();
        std::fs::create_dir(&userdata).unwrap();
        let mut events = turns_of(3);
        std::fs::remove_dir(&userdata).unwrap();
        std::fs::write(&userdata, "").unwrap();
        events.extend(turns_of(3));
        unreadable += events
            .iter()
            .filter(|event| matches!(event, Event::FolderUnreadable { .. }))
            .count();
        readable += events
            .iter()
            .filter(|event| matches!(event, Event::FolderReadable { .. }))
            .count();
    }
    // In 180 s.
    assert!(
        (2..=3).contains(&unreadable) && (2..=4).contains(&readable),
        "{unreadable}, {readable}"
    );
}

/// A runtime that lists one container, and a database that cannot be read at first.
struct Played {
    root: PathBuf,
    hides: std::sync::Mutex<Vec<Hides>>,
    /// Happens once the root has been listed, and before the rest has.
    meanwhile: fn(&std::path::Path),
}

impl Runtime for Played {
    fn title(&self) -> &'static str {
        "played"
    }

    fn root_option(&self) -> &'static str {
        "Root"
    }

    fn root(&self) -> PathBuf {
        self.root.clone()
    }

    fn list(&self, root: &std::path::Path) -> io::Result<crate::runtime::Listing> {
        let (id, dir) = (ContainerId::from_bytes([1; 32]), SafePath::from(root));
        let hides = self.hides.lock().unwrap().pop();
        let unreadable = hides.map(|hides| Unreadable {
            hides,
            ..Unreadable::folder("/db", io::ErrorKind::NotFound.into())
        });
        (self.meanwhile)(root);
        Ok(crate::runtime::Listing {
            is_decided_by_folders: true,
            containers: vec![Found::new(id, dir, root.to_owned())],
            unreadable: unreadable.into_iter().collect(),
            ..Default::default()
        })
    }

    fn logs(&self, _found: &Found) -> Vec<crate::runtime::LogFiles> {
        Vec::new()
    }

    fn metadata(
        &self,
        _found: &Found,
        _run: u32,
    ) -> Result<crate::runtime::metadata::ContainerMetadata, crate::runtime::metadata::MetadataError>
    {
        Ok(Default::default())
    }

    fn metadata_file(&self, _found: &Found) -> Option<SafePath> {
        None
    }

    fn log_driver(
        &self,
        _found: &Found,
    ) -> Result<
        Option<crate::runtime::log_driver::LogDriver>,
        crate::runtime::metadata::MetadataError,
    > {
        Ok(None)
    }
}

/// Not a minute later, when the file of each container is looked at.
#[test]
fn containers_are_looked_into_at_the_rescan_that_finds_their_database() {
    for (hides, is_changed) in [
        (Hides::Labels, true),
        (Hides::ImagesAndLabels, true),
        (Hides::Containers, false),
    ] {
        let played = Arc::new(Played {
            root: PathBuf::from("/"),
            hides: vec![hides, hides].into(),
            meanwhile: |_| {},
        });
        let mut root = Root::new(played);
        let mut watch = FileWatch::default();
        let mut changed = || {
            root.look(&mut watch);
            root.changed.len()
        };
        let looks = [changed(), changed(), changed(), changed()];
        assert_eq!(looks, [0, 0, usize::from(is_changed), 0], "{hides:?}");
    }
}

/// The machine is busy, or a database does not answer for so long that the folder seems to be at rest
/// again.
#[test]
fn a_folder_that_changes_during_a_listing_that_takes_long_is_listed_again() {
    let dir = tempfile::tempdir().unwrap();
    let played = Arc::new(Played {
        root: dir.path().canonicalize().unwrap(),
        hides: Vec::new().into(),
        meanwhile: |root| {
            std::fs::create_dir_all(root.join("new")).unwrap();
            let begun = Instant::now();
            while stamp(root).is_none() {
                assert!(begun.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(50));
            }
        },
    });
    let mut root = Root::new(played);
    let mut watch = FileWatch::default();
    root.look(&mut watch);
    assert!(!root.is_same());
    root.look(&mut watch);
    assert!(root.is_same(), "nothing has changed since");
}
