use std::path::PathBuf;

use super::*;
use crate::config::Config;
use crate::delivery::checkpoint::CheckpointStore;
use crate::delivery::link::Link;
use crate::runtime::docker::Docker;
use crate::runtime::safe_path::SafePath;
use crate::runtime::Owner;
use crate::source::services::Services;
use crate::telemetry::event::Event;
use crate::telemetry::metrics::Unread;

const KEY: [u8; 32] = [1; 32];
const RUNTIME_ID: [u8; 32] = [2; 32];

/// A container of the user `ada`, and what it is read with.
struct Bench {
    container: Container,
    services: Services,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(option: (&str, &str)) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let container_dir = dir.path().join("containers/web");
        std::fs::create_dir_all(&container_dir).unwrap();
        let link = Arc::new(Link::new(1 << 20, CheckpointStore::in_memory()).unwrap());
        let owner = Owner {
            user: "ada".to_owned(),
            container_id: ContainerId::from_bytes(RUNTIME_ID),
        };
        let id = ContainerId::from_bytes(KEY);
        let origin = PathBuf::from(&container_dir);
        let found = Found {
            owner: Some(Box::new(owner)),
            ..Found::new(id, SafePath::from(&container_dir), origin)
        };
        let account = link.accounts.open_as(id, found.runtime_id());
        let runtime = Arc::new(Docker::new(dir.path()));
        let container = Container::new(runtime, 0, found, account, Start::Head, Instant::now());
        let config =
            Config::from_lookup(|name| (name == option.0).then(|| option.1.to_owned())).unwrap();
        Bench {
            container,
            services: Services::new(link, config),
            _dir: dir,
        }
    }

    fn with(&mut self, work: impl FnOnce(&mut Container, &mut Surroundings<'_>)) {
        self.with_at(Instant::now(), work);
    }

    fn with_at(&mut self, now: Instant, work: impl FnOnce(&mut Container, &mut Surroundings<'_>)) {
        let cycle = Duration::from_millis(1);
        let mut around = self.services.around(0, None, now, cycle);
        work(&mut self.container, &mut around);
    }

    fn metadata(&self, name: &str) -> ContainerMetadata {
        ContainerMetadata {
            name: name.to_owned(),
            ..ContainerMetadata::nameless(self.container.about.found())
        }
    }

    fn said(&self) -> Vec<Event> {
        self.services.link.events.take().0.into_iter().collect()
    }

    /// There is no room for the next message.
    fn fill(&self) {
        while self.services.link.report(Event::ReaderStopped {
            reason: String::new(),
        }) {}
    }
}

/// A user identifies the container by the id that the user's runtime shows; its title differs
/// from those of the machine's containers.
#[test]
fn what_is_said_of_a_users_container_has_its_name_with_the_user_and_the_id_of_its_runtime() {
    let mut bench = Bench::new(("Label_Hints", "merge_log"));
    let mut metadata = ContainerMetadata {
        is_cut: true,
        ..bench.metadata("web")
    };
    let labels = [
        ("fluentbit.io/merge_log", "maybe"),
        ("fluentbit.io/tag", "docker.other"),
    ];
    metadata
        .labels
        .extend(labels.map(|(key, value)| (key.to_owned(), value.to_owned())));
    bench.with(|container, around| container.set_metadata(metadata, around));
    let whose = (
        String::from("~ada/web"),
        ContainerId::from_bytes(RUNTIME_ID).short(),
    );
    let said = bench.said();
    assert_eq!(said.len(), 3, "{said:?}");
    for event in said {
        match event {
            Event::MetadataCut { name, short_id }
            | Event::LabelInvalid { name, short_id, .. }
            | Event::LabelIgnored { name, short_id, .. } => assert_eq!((name, short_id), whose),
            other => panic!("{other:?}"),
        }
    }
}

/// An exclusion and its end are reported once the event queue has room.
#[test]
fn an_exclusion_that_was_not_kept_is_said_at_the_next_look() {
    let mut bench = Bench::new(("Exclude", "name=secret*"));
    let (secret, open) = (bench.metadata("secret"), bench.metadata("open"));
    bench.fill();
    bench.with(|container, around| container.set_metadata(secret, around));
    assert!(bench.container.about.is_excluded() && bench.container.needs_a_look(false));
    assert!(bench
        .said()
        .iter()
        .all(|event| matches!(event, Event::ReaderStopped { .. })));
    bench.with(|container, around| container.look(around));
    let said = bench.said();
    assert!(
        matches!(&said[..], [Event::ContainerExcluded { .. }]),
        "{said:?}"
    );
    bench.with(|container, around| container.look(around));
    assert_eq!(bench.said(), []);

    bench.fill();
    bench.with(|container, around| container.set_metadata(open, around));
    assert!(!bench.container.about.is_excluded() && bench.container.needs_a_look(false));
    bench.said();
    bench.with(|container, around| container.look(around));
    let said = bench.said();
    assert!(
        said.iter()
            .any(|event| matches!(event, Event::ContainerIncluded { .. })),
        "{said:?}"
    );
}

/// For metadata that alternates between broken and valid.
#[test]
fn metadata_that_flaps_is_reported_once_a_minute_and_not_anew_each_time() {
    let mut bench = Bench::new(("Docker_Socket", "off"));
    let config = bench
        .container
        .about
        .found()
        .dir
        .join("config.v2.json")
        .to_path_buf();
    let mut unreadable = 0;
    for _ in 0..10 {
        for text in ["{", "{\"Name\":\"/web\"}"] {
            std::fs::write(config.with_extension("new"), text).unwrap();
            std::fs::rename(config.with_extension("new"), &config).unwrap();
            bench.with(|container, around| container.load_metadata(around));
            let is_broken = text == "{";
            assert_eq!(bench.container.about.unread().is_some(), is_broken);
            let said = bench.said();
            unreadable += said
                .iter()
                .filter(|event| matches!(event, Event::MetadataUnreadable { .. }))
                .count();
        }
    }
    assert_eq!(unreadable, 1);
}

/// Thousands of them may be left over. A new name in it is noticed.
#[test]
fn an_empty_folder_is_looked_into_once() {
    let mut bench = Bench::new(("Exclude", "name=none"));
    assert!(bench.container.needs_a_look(false));
    bench.services.watch = FileWatch::new().unwrap();
    bench.with(|container, around| {
        container.watch_folder(around.watch, around.key).unwrap();
        container.look(around);
    });
    assert!(!bench.container.needs_a_look(false));
    let id = bench.container.about.found().runtime_id();
    let log = format!("{id}-json.log");
    std::fs::write(bench.container.about.found().dir.join(log), "").unwrap();
    let mut notices = Vec::new();
    bench.services.watch.take(&mut notices);
    assert!(!notices.is_empty());
    bench.with(Container::look);
    assert!(bench.container.about.is_known());
}

/// Thousands of them may be left over, and each rescan asks whether to look. What a chmod or a write in
/// place repairs has no notice.
#[test]
fn a_file_that_cannot_be_read_is_read_again_when_it_changes() {
    let (whole, damaged) = ("{\"Name\":\"/web\"}", "{\"Name\":");
    for (name, others) in [("config.v2.json", "{}"), ("hostconfig.json", whole)] {
        let mut bench = Bench::new(("Docker_Socket", "off"));
        let dir = bench.container.about.found().dir.to_path_buf();
        let other = match name {
            "config.v2.json" => "hostconfig.json",
            _ => "config.v2.json",
        };
        std::fs::write(dir.join(other), others).unwrap();
        std::fs::write(dir.join(name), damaged).unwrap();
        bench.services.watch = FileWatch::new().unwrap();
        bench.with(|container, around| {
            container.watch_folder(around.watch, around.key).unwrap();
        });
        // The container is not waited for any more, and the file has not just changed.
        let later = Instant::now() + Duration::from_secs(10);
        let end = Instant::now() + Duration::from_secs(60);
        while bench.container.needs_a_look(false) {
            assert!(Instant::now() < end, "{name} is always read again");
            bench.with_at(later, Container::look);
            std::thread::sleep(Duration::from_millis(50));
        }
        let unread = bench.container.about.unread();
        assert_eq!(unread, Some(Unread::Metadata), "{name}");
        assert!(bench.container.needs_a_look(true), "a right may be back");
        assert!(bench
            .said()
            .iter()
            .any(|event| event.to_string().contains(name)));
        std::fs::write(dir.join(name), whole).unwrap();
        assert!(bench.container.needs_a_look(false), "{name} is repaired");
        bench.with_at(later, Container::look);
        assert_eq!(bench.container.about.unread(), None, "{name}");
        assert_eq!(bench.container.about.names().0, "~ada/web");
    }
}
