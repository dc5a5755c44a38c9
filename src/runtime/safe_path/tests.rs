use std::io::Read;
use std::os::unix::fs::{symlink, MetadataExt};

use rustix::fs::{mknodat, renameat_with, Mode, RenameFlags};
use rustix::process::geteuid;

use super::*;

/// A directory with a file `a/b/log`, and a file outside it.
struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Ground {
        let ground = Ground {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir_all(ground.path("home/a/b")).unwrap();
        std::fs::create_dir_all(ground.path("other/b")).unwrap();
        std::fs::write(ground.path("home/a/b/log"), "ours").unwrap();
        std::fs::write(ground.path("other/b/log"), "secret").unwrap();
        ground
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn of_user(&self, uid: u32, below: &str) -> SafePath {
        let home = self.path("home");
        SafePath::below(&Base::of_user(&home, uid), home.join(below))
    }

    fn ours(&self, below: &str) -> SafePath {
        self.of_user(geteuid().as_raw(), below)
    }

    /// Opens in both ways, which must agree.
    fn open(&self, below: &str) -> Result<String, Option<i32>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let top = || {
            open(
                self.path("home"),
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .unwrap()
        };
        let ways = [
            open_at_once(&top(), Path::new(below), flags, true),
            open_step_by_step(top(), Path::new(below), flags, true),
        ];
        let [at_once, by_steps] = ways.map(|opened| {
            let mut text = String::new();
            let mut file = File::from(opened.map_err(|error| error.raw_os_error())?);
            file.read_to_string(&mut text)
                .map_err(|error| error.raw_os_error())?;
            Ok::<String, Option<i32>>(text)
        });
        assert_eq!(at_once, by_steps, "{below}");
        at_once
    }
}

#[test]
fn no_symlink_is_followed_wherever_it_stands() {
    let ground = Ground::new();
    assert_eq!(ground.open("a/b/log"), Ok("ours".to_owned()));
    symlink(ground.path("other"), ground.path("home/absolute")).unwrap();
    symlink("../other", ground.path("home/relative")).unwrap();
    symlink("b", ground.path("home/a/within")).unwrap();
    symlink("log", ground.path("home/a/b/last")).unwrap();
    symlink("/proc/self/root", ground.path("home/magic")).unwrap();
    for below in [
        "absolute/b/log",
        "relative/b/log",
        "a/within/log",
        "a/b/last",
        "magic/etc/hostname",
    ] {
        assert_eq!(
            ground.open(below),
            Err(Some(Errno::LOOP.raw_os_error())),
            "{below}"
        );
        assert!(ground.ours(below).open_file().is_err(), "{below}");
    }
    let error = ground.ours("absolute").open_folder().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    assert!(!ground.ours("absolute").is_folder() && ground.ours("a/b").is_folder());
    let stat = ground.ours("a/b/last").stat().unwrap();
    assert_eq!(
        FileType::from_raw_mode(stat.stx_mode.into()),
        FileType::Symlink
    );
}

#[test]
fn a_folder_that_is_swapped_for_a_symlink_after_the_look_leads_nowhere() {
    let ground = Ground::new();
    let log = ground.ours("a/b/log");
    assert_eq!(log.read(10).unwrap(), b"ours");
    std::fs::rename(ground.path("home/a"), ground.path("home/was")).unwrap();
    symlink(ground.path("other"), ground.path("home/a")).unwrap();
    assert!(log.read(10).is_err());
    assert!(log.stat().is_err());
    let of_machine = SafePath::below(&Base::of_machine(&ground.path("home")), log.to_path_buf());
    assert!(of_machine.open_file().is_err());
    // The base itself belongs to the administrator, who may move it and leave a symlink.
    std::fs::rename(ground.path("home"), ground.path("moved")).unwrap();
    symlink(ground.path("moved"), ground.path("home")).unwrap();
    assert_eq!(ground.ours("was/b/log").read(10).unwrap(), b"ours");
}

#[test]
fn a_path_that_is_not_below_its_base_is_not_opened() {
    let ground = Ground::new();
    let base = Base::of_machine(&ground.path("home"));
    for path in ["other/b/log", "home/../other/b/log", "homes"] {
        let error = SafePath::below(&base, ground.path(path))
            .open_file()
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}: {error}");
    }
}

#[test]
fn only_a_regular_file_of_the_user_is_opened() {
    let ground = Ground::new();
    mknodat(
        CWD,
        ground.path("home/a/b/pipe"),
        FileType::Fifo,
        Mode::from(0o600),
        0,
    )
    .unwrap();
    std::fs::hard_link(ground.path("other/b/log"), ground.path("home/a/b/linked")).unwrap();
    for below in ["a/b/pipe", "a/b"] {
        assert_eq!(
            ground.ours(below).open_file().unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
    let owner = std::fs::metadata(ground.path("other/b/log")).unwrap().uid();
    let somebody_else = ground.of_user(owner + 1, "a/b/linked");
    let error = somebody_else.open_file().unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("belongs to uid {owner}")),
        "{error}"
    );
    // For files of system daemons the owner is not checked.
    let of_machine = SafePath::below(
        &Base::of_machine(&ground.path("home")),
        somebody_else.to_path_buf(),
    );
    assert!(of_machine.open_file().is_ok());
}

#[test]
fn what_is_read_is_bounded_and_so_are_the_names_of_a_folder() {
    let ground = Ground::new();
    std::fs::write(ground.path("home/a/b/more"), "12345").unwrap();
    assert_eq!(ground.ours("a/b/more").read(5).unwrap(), b"12345");
    let error = ground.ours("a/b/more").read(4).unwrap_err().to_string();
    assert!(error.contains("limit of 4"), "{error}");
    let folder = ground.ours("a/b").open_folder().unwrap();
    let all = folder.entries(2).unwrap();
    assert_eq!((all.names.len(), all.failure.is_none()), (2, true));
    let some = folder.entries(1).unwrap();
    assert_eq!(
        (
            some.names.len(),
            some.failure.unwrap().to_string().contains("more than 1")
        ),
        (1, true)
    );
    assert_eq!(folder.stat("log").unwrap().stx_size, 4);
}

#[test]
fn a_path_for_calls_that_take_no_descriptor_leads_to_the_folder_itself() {
    let ground = Ground::new();
    let folder = ground.ours("a/b");
    let names = |path: &Path| -> io::Result<usize> {
        std::fs::rename(ground.path("home/a"), ground.path("home/was"))?;
        Ok(std::fs::read_dir(path)?.count())
    };
    assert_eq!(folder.with_path(names).unwrap(), 1);
    assert!(folder.with_path(|_| Ok(())).is_err());
}

/// Someone swaps a directory for a symlink as fast as possible while it is opened.
#[test]
fn a_race_of_swaps_never_leads_to_another_file() {
    let ground = Ground::new();
    symlink(ground.path("other"), ground.path("home/link")).unwrap();
    let (folder, link) = (ground.path("home/a"), ground.path("home/link"));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        let swaps = scope.spawn(|| {
            let mut swaps = 0_u32;
            while !is_over.load(order) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        let home = ground.path("home");
        let top = || open(&home, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let mut opened = 0;
        for _ in 0..3_000 {
            let ways = [
                open_at_once(&top(), Path::new("a/b/log"), flags, true),
                open_step_by_step(top(), Path::new("a/b/log"), flags, true),
            ];
            for file in ways.into_iter().flatten() {
                let mut text = String::new();
                File::from(file).read_to_string(&mut text).unwrap();
                assert_eq!(text, "ours");
                opened += 1;
            }
        }
        is_over.store(true, order);
        let swaps = swaps.join().unwrap();
        assert!(swaps > 100 && opened > 0, "{swaps} swaps, {opened} opened");
    });
}
