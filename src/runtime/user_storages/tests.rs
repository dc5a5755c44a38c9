use std::os::unix::fs::symlink;

use rustix::process::geteuid;

use super::*;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::podman::Podman;
use crate::runtime::seam::{Found, Runtime};

/// An ordinary user's storage, relative to the home directory.
const STORAGE: &str = ".local/share/containers/storage";

/// Home directories in one directory; everything belongs to the user who runs the test.
struct Homes {
    dir: tempfile::TempDir,
    passwd: String,
}

impl Homes {
    fn new() -> Homes {
        Homes {
            dir: tempfile::tempdir().unwrap(),
            passwd: String::new(),
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn write_passwd(&self) {
        std::fs::create_dir_all(self.path("etc")).unwrap();
        std::fs::write(self.path("etc/passwd"), &self.passwd).unwrap();
    }

    fn user_with(&mut self, name: &str, uid: u32) -> PathBuf {
        let home = self.path(&format!("home/{name}"));
        self.passwd.push_str(&format!(
            "{name}:x:{uid}:1000::{}:/bin/sh\n",
            home.display()
        ));
        self.write_passwd();
        home.join(STORAGE)
    }

    fn user(&mut self, name: &str) -> PathBuf {
        self.user_with(name, geteuid().as_raw())
    }

    fn list(&self, choice: &[&str]) -> (Vec<Found>, Vec<String>) {
        let texts: Vec<String> = choice.iter().map(|text| (*text).to_owned()).collect();
        let users = Podman::of_users(&UserChoice::parse(&texts).unwrap(), &self.path(""));
        let Ok(mut listing) = users.list(&users.root()) else {
            return Default::default();
        };
        listing
            .containers
            .sort_by(|one, other| one.origin.cmp(&other.origin));
        let said = listing
            .unreadable
            .iter()
            .map(|it| format!("{}: {}", it.path.display(), it.error));
        (listing.containers, said.collect())
    }
}

fn id(digit: char) -> ContainerId {
    ContainerId::parse(&digit.to_string().repeat(64)).unwrap()
}

fn with_container(storage: &Path, digit: char) {
    std::fs::create_dir_all(storage.join(format!("overlay-containers/{}/userdata", id(digit))))
        .unwrap();
}

fn names(found: &[Found]) -> Vec<(String, ContainerId)> {
    let owners = found.iter().map(|found| found.owner.as_ref().unwrap());
    owners
        .map(|owner| (owner.user.clone(), owner.container_id))
        .collect()
}

#[test]
fn users_that_are_named_are_read_and_nobody_else_is() {
    let mut homes = Homes::new();
    for (user, digit) in [("ada", 'a'), ("bob", 'b')] {
        with_container(&homes.user(user), digit);
    }
    let (ada, bob) = (("ada".to_owned(), id('a')), ("bob".to_owned(), id('b')));
    assert_eq!(names(&homes.list(&["ada"]).0), std::slice::from_ref(&ada));
    assert_eq!(names(&homes.list(&["b*"]).0), std::slice::from_ref(&bob));
    assert_eq!(names(&homes.list(&["all"]).0), [ada, bob]);
    let (found, said) = homes.list(&["carl"]);
    assert!(
        found.is_empty() && said.len() == 1 && said[0].contains("no user carl"),
        "{said:?}"
    );
}

/// The same id in two home directories and in a daemon's storage.
#[test]
fn a_container_is_known_by_its_storage_and_its_id() {
    let mut homes = Homes::new();
    let (of_ada, of_bob) = (homes.user("ada"), homes.user("bob"));
    with_container(&of_ada, 'a');
    with_container(&of_bob, 'a');
    let (found, _) = homes.list(&["all"]);
    let ids: HashSet<ContainerId> = found.iter().map(|found| found.id).collect();
    assert_eq!((ids.len(), ids.contains(&id('a'))), (2, false));
    assert!(found.iter().all(|found| found.runtime_id() == id('a')));
    assert_eq!(
        homes.list(&["ada"]).0[0].id,
        found[0].id,
        "the same each time"
    );
}

#[test]
fn whatever_id_a_user_chooses_it_becomes_no_other_containers() {
    let storage = Path::new("/home/ada/.local/share/containers/storage");
    let ours = key(1000, storage, &id('a'));
    assert!(ours.bytes().starts_with(&KEY_BEGINS));
    assert_eq!(ours.bytes()[8..12], 1000u32.to_be_bytes());
    // Passing a key as an id yields a different key.
    assert_ne!(key(1000, storage, &ours), ours);
    assert_ne!(
        key(1001, storage, &id('a')).bytes()[8..12],
        ours.bytes()[8..12]
    );
    assert_ne!(key(1000, Path::new("/home/ada"), &id('a')), ours);
    // Pinned, because checkpoints are stored under this id.
    assert_eq!(
        ours.to_string(),
        "ffff75736572ffff000003e88d6ed3e846df9e6451216a60decd38880d4a392f"
    );
}

#[test]
fn nothing_is_reached_through_a_symlink() {
    let mut homes = Homes::new();
    let secret = homes.path("secret");
    with_container(&secret, 'c');
    with_container(&homes.user("ada"), 'a');
    let of_eve = homes.user("eve");
    std::fs::create_dir_all(of_eve.parent().unwrap()).unwrap();
    symlink(&secret, &of_eve).unwrap();
    let of_mallory = homes.user("mallory");
    std::fs::create_dir_all(of_mallory.join("overlay-containers")).unwrap();
    let container = format!("overlay-containers/{}", id('c'));
    symlink(secret.join(&container), of_mallory.join(&container)).unwrap();
    let of_trent = homes.user("trent");
    std::fs::create_dir_all(of_trent.join(&container)).unwrap();
    symlink(
        secret.join(&container).join("userdata"),
        of_trent.join(&container).join("userdata"),
    )
    .unwrap();
    let (found, said) = homes.list(&["all"]);
    assert_eq!(names(&found), [("ada".to_owned(), id('a'))]);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].contains("home/eve/") && said[0].contains("symlink"),
        "{said:?}"
    );
    assert!(
        said[1].contains("home/mallory/") && said[1].contains("symlink"),
        "{said:?}"
    );
    assert!(
        said[2].contains("home/trent/") && said[2].contains("not a folder"),
        "{said:?}"
    );
}

#[test]
fn a_storage_of_somebody_else_is_not_read_as_the_users() {
    let mut homes = Homes::new();
    let uid = geteuid().as_raw();
    with_container(&homes.user_with("ada", uid + 1), 'a');
    let (found, said) = homes.list(&["ada"]);
    assert!(
        found.is_empty() && said[0].contains(&format!("belongs to uid {uid}")),
        "{said:?}"
    );
    // Two names for one home: the storage belongs to the user who owns its files.
    let home = homes.path("home/ada");
    homes
        .passwd
        .push_str(&format!("ada2:x:{uid}:1::{}:/bin/sh\n", home.display()));
    homes.write_passwd();
    let (found, said) = homes.list(&["all"]);
    assert_eq!(
        (names(&found), said),
        (vec![("ada2".to_owned(), id('a'))], Vec::new())
    );
}

#[test]
fn one_home_that_cannot_be_read_hides_no_other_and_one_that_is_not_there_is_none() {
    let mut homes = Homes::new();
    with_container(&homes.user("ada"), 'a');
    let of_bob = homes.user("bob");
    std::fs::create_dir_all(of_bob.parent().unwrap()).unwrap();
    std::fs::write(&of_bob, "a file").unwrap();
    homes.user("nohome");
    let of_carl = homes.user("carl");
    std::fs::create_dir_all(&of_carl).unwrap();
    std::fs::create_dir_all(of_carl.join("overlay-containers").join("d".repeat(64))).unwrap();
    std::fs::write(of_carl.join("vfs-containers"), "").unwrap();
    let (found, said) = homes.list(&["all"]);
    assert_eq!(
        (names(&found), said),
        (vec![("ada".to_owned(), id('a'))], Vec::new())
    );
}

#[test]
fn what_a_user_says_of_a_container_is_shown_with_his_name() {
    let mut homes = Homes::new();
    let storage = homes.user("ada");
    with_container(&storage, 'a');
    let list = format!(
        r#"[{{"id":"{}","names":["web"],"metadata":"{{\"image-name\":\"img:1\"}}"}}]"#,
        id('a')
    );
    std::fs::write(storage.join("overlay-containers/containers.json"), list).unwrap();
    let choice = UserChoice::parse(&["ada".to_owned()]).unwrap();
    let users = Podman::of_users(&choice, &homes.path(""));
    let listing = users.list(&users.root()).unwrap();
    let read = users.metadata(&listing.containers[0], 0).unwrap();
    assert_eq!((read.name.as_str(), read.image.as_str()), ("web", "img:1"));
    assert_eq!(read.title(), "~ada/web");
    let nameless = ContainerMetadata::nameless(&listing.containers[0]);
    assert_eq!(nameless.title(), format!("~ada/{}", id('a').short()));
}

/// The home directory of a user whom only a directory service knows.
#[test]
fn a_home_directory_that_is_given_is_read_as_that_of_its_owner() {
    let mut homes = Homes::new();
    homes.user("ada");
    for (user, digit) in [("eve", 'a'), ("dev-1", 'b'), ("dev-2", 'c')] {
        with_container(&homes.path(&format!("corp/{user}")).join(STORAGE), digit);
    }
    std::fs::write(homes.path("corp/dev-file"), "").unwrap();
    let corp = |name: &str| homes.path("corp").join(name).display().to_string();
    let (found, said) = homes.list(&[&corp("eve")]);
    assert_eq!(
        (names(&found), said),
        (vec![("eve".to_owned(), id('a'))], Vec::new())
    );
    let (found, said) = homes.list(&[&corp("dev-*"), &corp("dev-1")]);
    let want = [("dev-1".to_owned(), id('b')), ("dev-2".to_owned(), id('c'))];
    assert_eq!((names(&found), said), (want.to_vec(), Vec::new()));
    let (found, said) = homes.list(&["ada", &corp("nobody")]);
    assert!(
        found.is_empty() && said.len() == 1 && said[0].contains("corp/nobody"),
        "{said:?}"
    );
    std::fs::remove_file(homes.path("etc/passwd")).unwrap();
    assert_eq!(
        homes.list(&[&corp("eve")]).0.len(),
        1,
        "no list of users is needed"
    );
}

#[test]
fn a_storage_is_found_where_the_settings_of_its_user_or_of_the_machine_move_it() {
    let mut homes = Homes::new();
    for (user, storage, settings) in [
        ("ada", "home/ada/pods", "graphroot = \"$HOME/pods\""),
        (
            "bob",
            "data/bob",
            "rootless_storage_path = \"TOP/data/$USER\"",
        ),
        (
            "eve",
            "home/eve/.local/share/containers/storage",
            "driver = \"overlay\"",
        ),
    ] {
        homes.user(user);
        with_container(&homes.path(storage), 'a');
        let file = homes
            .path("home")
            .join(user)
            .join(".config/containers/storage.conf");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let settings = settings.replace("TOP", &homes.path("").display().to_string());
        std::fs::write(file, format!("[storage]\n{settings}\n")).unwrap();
    }
    homes.user("dan");
    with_container(&homes.path("shared/dan/storage"), 'a');
    let file = homes.path("etc/containers/storage.conf");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let shared = homes.path("shared").display().to_string();
    let text = format!("[storage]\nrootless_storage_path = \"{shared}/${{USER}}/storage\"\n");
    std::fs::write(file, text).unwrap();
    let (found, said) = homes.list(&["all"]);
    let mut users: Vec<String> = names(&found).into_iter().map(|(user, _)| user).collect();
    users.sort();
    assert_eq!(
        (users, said),
        (
            ["ada", "bob", "dan", "eve"].map(str::to_owned).to_vec(),
            Vec::new()
        )
    );
}

#[test]
fn settings_that_are_not_valid_are_said_and_the_usual_storage_is_read() {
    for (of_user, text, reason) in [
        (
            true,
            "[storage]\ngraphroot = /srv",
            "it is not valid: line 2",
        ),
        (true, "[storage", "it is not valid: line 1"),
        (true, "storage = 1\nstorage = 2", "it is not valid: line"),
        (
            true,
            "[storage]\ngraphroot = 7",
            "it is not valid: graphroot is not a text",
        ),
        (
            true,
            "[storage]\ngraphroot = \"srv\"",
            "`srv` is not an absolute path",
        ),
        (false, "[storage", "it is not valid: line 1"),
    ] {
        let mut homes = Homes::new();
        homes.user("ada");
        with_container(&homes.path("home/ada/.local/share/containers/storage"), 'a');
        let file = match of_user {
            true => homes.path("home/ada/.config/containers/storage.conf"),
            false => homes.path("etc/containers/storage.conf"),
        };
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        let (found, said) = homes.list(&["ada"]);
        assert_eq!((found.len(), said.len()), (1, 1), "{text}: {said:?}");
        let name = file.display().to_string();
        assert!(
            said[0].contains(&name) && said[0].contains(reason),
            "{said:?}"
        );
    }
}

/// A user moves the storage to a place of somebody else's, or behind a symlink; and settings
/// that are no plain file are not followed.
#[test]
fn settings_lead_a_reader_nowhere_that_is_not_the_users() {
    let mut homes = Homes::new();
    let uid = geteuid().as_raw();
    let settings = |homes: &Homes, user: &str| {
        let file = homes
            .path("home")
            .join(user)
            .join(".config/containers/storage.conf");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        file
    };
    let secret = homes.path("secret");
    with_container(&secret, 'a');
    let graphroot = |path: &Path| format!("[storage]\ngraphroot = \"{}\"\n", path.display());
    homes.user_with("mallory", uid + 1);
    std::fs::write(settings(&homes, "mallory"), graphroot(&secret)).unwrap();
    let (found, said) = homes.list(&["mallory"]);
    assert!(found.is_empty(), "{found:?}");
    // The settings themselves belong to somebody else; then, the storage does.
    assert!(
        said[0].contains("storage.conf") && said[0].contains("belongs to uid"),
        "{said:?}"
    );

    if geteuid().is_root() {
        homes.user("oscar");
        std::fs::write(settings(&homes, "oscar"), graphroot(&secret)).unwrap();
        std::os::unix::fs::chown(&secret, Some(12345), None).unwrap();
        let (found, said) = homes.list(&["oscar"]);
        assert!(
            found.is_empty() && said[0].contains("/secret: it belongs to uid 12345"),
            "{said:?}"
        );
        std::os::unix::fs::chown(&secret, Some(uid), None).unwrap();
    }

    homes.user("eve");
    symlink(&secret, homes.path("link")).unwrap();
    std::fs::write(settings(&homes, "eve"), graphroot(&homes.path("link"))).unwrap();
    let (found, said) = homes.list(&["eve"]);
    assert!(found.is_empty() && said[0].contains("symlink"), "{said:?}");

    homes.user("trent");
    symlink(settings(&homes, "eve"), settings(&homes, "trent")).unwrap();
    with_container(&homes.path("home/trent").join(STORAGE), 'c');
    let (found, said) = homes.list(&["trent"]);
    assert_eq!(names(&found), [("trent".to_owned(), id('c'))]);
    assert!(
        said[0].contains("storage.conf") && said[0].contains("symlink"),
        "{said:?}"
    );

    homes.user("fifo");
    let file = settings(&homes, "fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let (_, said) = homes.list(&["fifo"]);
    assert!(said[0].contains("it is not a regular file"), "{said:?}");
}
