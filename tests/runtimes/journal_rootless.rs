//! A user's own Podman, as the user runs it, over a journal with a file for each user.

use std::path::Path;

use test_kit::collector::Collector;
use test_kit::journald::Journald;
use test_kit::{or_skip, programs};

use crate::journal_places::own;
use crate::podman::everything;

/// A user of nobody's on this machine, whose entries journald keeps apart.
const ADA: u32 = 12_345;

/// Runs as root in a mount namespace of journald's, in which there is this user.
const AS_ADA: &str = r#"set -e
mount --bind "$0/etc/passwd" /etc/passwd
for ids in /etc/subuid /etc/subgid; do [ ! -e $ids ] || mount --bind "$0/etc/none" $ids; done
mkdir -p /run/user/$1
chown $1:$1 /run/user/$1
chmod 700 /run/user/$1
exec setpriv --reuid $1 --regid $1 --clear-groups --inh-caps=-all env -i HOME="$0/home/ada" USER=ada \
    XDG_RUNTIME_DIR=/run/user/$1 PATH="$PATH" sh -ec "$2" "$0/home/ada" "$3""#;

/// What the user does. An image of one id, since there may be no others (`newuidmap`).
const ADAS: &str = r#"cd "$0"
mkdir -p image/bin
cp "$(command -v busybox)" image/bin/busybox
for name in sh seq sed echo sleep head printf; do ln -s busybox image/bin/$name; done
tar --owner=0 --group=0 -C image -cf image.tar .
run() { podman --storage-driver=vfs --cgroup-manager=cgroupfs --runtime=runc "$@"; }
run import image.tar busybox:test
run run --cidfile id --name shop --network none --log-driver journald busybox:test sh -c "$1""#;

#[test]
fn what_a_users_own_podman_writes_arrives_line_by_line() {
    let test = "journal_rootless::what_a_users_own_podman_writes_arrives_line_by_line";
    let needed = ["podman", "runc", "busybox"].map(|name| match programs(name).next() {
        Some(_) => Ok(()),
        None => Err(format!("no {name}")),
    });
    let needed: Result<Vec<()>, String> = needed.into_iter().collect();
    let started = needed.and_then(|_| Journald::persistent());
    let Some(journald) = or_skip(test, started) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let machine = dir.path().canonicalize().expect("a folder");
    let home = machine.join("home/ada");
    for folder in [&home, &machine.join("etc")] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&machine, open).expect("it is ours");
    let passwd = format!("ada:x:{ADA}:{ADA}::{}:/bin/sh\n", home.display());
    std::fs::write(machine.join("etc/passwd"), passwd).expect("passwd");
    std::fs::write(machine.join("etc/none"), "").expect("a file");
    own(&home, ADA);
    let script = everything();
    let output = journald
        .on_its_machine(Path::new("unshare"))
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
        .args(["--mount-proc", "sh", "-c", AS_ADA])
        .arg(&machine)
        .args([&ADA.to_string(), ADAS, &script.sh])
        .output()
        .expect("unshare");
    let id = std::fs::read_to_string(home.join("id"));
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let Some(id) = or_skip(
        test,
        id.map_err(|_| format!("a user cannot run Podman: {}", said())),
    ) else {
        return;
    };
    let name = format!("user-{ADA}.journal");
    let files = journald.files();
    assert!(files.iter().any(|file| file.ends_with(&name)), "{files:?}");
    let journal = journald.folder().display().to_string();
    let options = [
        ("Runtime", "podman"),
        ("Podman_Root", "/nonexistent"),
        ("Podman_Users", "ada"),
        ("Podman_Socket", "off"),
        ("Journal_Path", &*journal),
    ];
    let collector = Collector::start(&machine, &options);
    collector.assert_arrives(&id, &script, "a user's podman");
    let records = collector.records();
    let of_it = |key: &str, value: &str| records.iter().all(|it| it.text(key) == value);
    assert!(of_it("container_name", "shop") && of_it("user", "ada"));
    assert!(of_it("image", "localhost/busybox:test"));
    collector.figures();
}
