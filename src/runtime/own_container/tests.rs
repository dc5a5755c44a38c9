use super::*;

const ID: &str = "3f1c0a5b9d2e4f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd";
const UID: &str = "b0e7a1de-0d2c-4f9a-8a55-0c3a3a2f2c11";

fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

fn docker<'a>(id_text: &str, mounted: &'a Mounted) -> Candidate<'a> {
    Candidate {
        id: Some(id(id_text)),
        in_pod: None,
        mounted,
    }
}

fn is_own(cgroup: &str, mountinfo: &str, host_name: &str) -> bool {
    let own = OwnContainer::from_parts(cgroup, mountinfo, host_name);
    own.is(&docker(ID, &Mounted::Unknown))
}

fn mount(source: &str, place: &str) -> String {
    format!("713 690 254:1 {source} {place} rw,relatime - ext4 /dev/vda1 rw\n")
}

#[test]
fn a_cgroup_tells_by_its_path() {
    for path in [
        format!("12:cpuset:/docker/{ID}\n11:memory:/docker/{ID}\n"),
        format!("0::/system.slice/docker-{ID}.scope\n"),
        format!("1:name=systemd:/kubepods.slice/x.slice/cri-containerd-{ID}.scope"),
        format!("0::/machine.slice/libpod-{ID}.scope/container"),
        format!("4:pids:/docker/{}/docker/{ID}", "a".repeat(64)),
    ] {
        assert!(is_own(&path, "", ""), "{path}");
    }
    for path in [
        "0::/",
        "0::/system.slice/fluent-bit.service",
        "",
        &format!("0::/docker/{ID}0"),
    ] {
        assert!(!is_own(path, "", ""), "{path}");
    }
    let outer = format!("0::/docker/{ID}/docker/{}", "a".repeat(64));
    assert!(!is_own(&outer, "", ""), "the outer one");
}

#[test]
fn a_mounted_file_tells_by_the_folder_it_comes_from() {
    let folder = format!("/var/lib/docker/containers/{ID}/hostname");
    assert!(is_own("0::/", &mount(&folder, "/etc/hostname"), "web"));
    let of_podman = format!("/containers/storage/overlay-containers/{ID}/userdata/hostname");
    assert!(is_own("0::/", &mount(&of_podman, "/etc/hostname"), "web"));
    assert!(
        !is_own("0::/", &mount(&folder, "/host/etc/hostname"), "web"),
        "another one's, mounted below ours"
    );
    // On the host: the shared memory of a container, mounted by dockerd.
    let shm = format!("99 29 0:50 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw");
    assert!(!is_own("0::/", &shm, "server"));
    // A volume's name has the form of an id.
    let volume = format!("/var/lib/docker/volumes/{ID}/_data/lib/x/hosts");
    assert!(!is_own("0::/", &mount(&volume, "/etc/hosts"), "web"));
    assert!(!is_own("0::/", "garbage\n1 2\n", ""));
}

#[test]
fn a_host_name_tells_if_it_is_a_short_id() {
    assert!(is_own("0::/", "", "3f1c0a5b9d2e\n"));
    for name in ["3f1c0a5b9d2", "3f1c0a5b9d2e4", "shop-web-001", ""] {
        assert!(!is_own("0::/", "", name), "{name}");
    }
}

#[test]
fn a_cgroup_wins_over_mounts_and_mounts_over_the_host_name() {
    let other = "ab".repeat(32);
    let hosts = mount(&format!("/containers/{ID}/hosts"), "/etc/hosts");
    assert!(is_own("0::/", &hosts, &other[..12]));
    assert!(!is_own(&format!("0::/docker/{other}"), &hosts, &ID[..12]));
    let mounted = mount(&format!("/containers/{other}/hosts"), "/etc/hosts");
    assert!(!is_own("0::/", &mounted, &ID[..12]));
    // Podman mounts the hosts of the container whose network is shared, and a file of its own.
    let podman = mount(
        &format!("/x/{ID}/userdata/.containerenv"),
        "/run/.containerenv",
    );
    assert!(is_own("0::/", &(mounted + &podman), ""));
}

#[test]
fn with_the_network_of_another_container_only_who_mounts_the_logs_is_this_one() {
    let app = "ab".repeat(32);
    let hosts = mount(
        &format!("/var/lib/docker/containers/{app}/hosts"),
        "/etc/hosts",
    );
    for own in [
        OwnContainer::from_parts("0::/", &hosts, &app[..12]),
        OwnContainer::from_parts("0::/", "", &app[..12]),
    ] {
        assert!(!own.is(&docker(&app, &Mounted::WithoutLogs)));
        assert!(own.is(&docker(ID, &with_logs(&app, &[]))));
        assert!(!own.is(&docker(ID, &with_logs(ID, &[]))));
        assert!(own.is(&docker(&app, &with_logs(&app, &[]))));
    }
}

fn with_logs(hosts_of: &str, places: &[&str]) -> Mounted {
    Mounted::WithLogs {
        hosts_of: id(hosts_of),
        places: places.iter().map(PathBuf::from).collect(),
    }
}

/// The container whose network is shared has the folder of the logs, too, or one above it.
#[test]
fn a_container_with_a_mount_that_this_process_has_not_is_not_this_one() {
    let app = "ab".repeat(32);
    let hosts = mount(
        &format!("/var/lib/docker/containers/{app}/hosts"),
        "/etc/hosts",
    );
    let logs = "/var/lib/docker/containers";
    let mounts = [
        hosts,
        mount(logs, logs),
        mount("/conf", "/etc/fluent\\040bit"),
        mount("/lib/docker/containers", "/host/var/lib/docker/containers"),
    ];
    let own = OwnContainer::from_parts("0::/", &mounts.concat(), &app[..12]);
    for places in [
        &["/var/lib/docker"][..],
        &["/host"],
        &[logs, "/data"],
        &["/host", "/var/lib/kubelet"],
    ] {
        assert!(
            !own.is(&docker(&app, &with_logs(&app, places))),
            "{places:?}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().canonicalize().unwrap();
    let (run, link) = (place.join("run"), place.join("var-run"));
    std::fs::create_dir(&run).unwrap();
    std::os::unix::fs::symlink(&run, &link).unwrap();
    let resolved = mount("/x", run.to_str().unwrap());
    let own_with_link = OwnContainer::from_parts("0::/", &(mounts.concat() + &resolved), "");
    let places = with_logs(&app, &[logs, link.to_str().unwrap()]);
    assert!(own_with_link.is(&docker(ID, &places)) && !own.is(&docker(ID, &places)));
    for places in [&[logs][..], &[logs, "/etc/fluent bit"]] {
        assert!(own.is(&docker(ID, &with_logs(&app, places))), "{places:?}");
    }
}

/// As on a node with containerd and a private cgroup namespace.
#[test]
fn the_kubelets_mounts_tell_pod_and_container() {
    let sandbox = "cd".repeat(32);
    let of_sandbox = mount(&format!("/x/sandboxes/{sandbox}/hostname"), "/etc/hostname");
    let hosts = mount(
        &format!("/var/lib/kubelet/pods/{UID}/etc-hosts"),
        "/etc/hosts",
    );
    let log = format!("/lib/kubelet/pods/{UID}/containers/agent/5f0c1d2e");
    let in_pod = |uid: &'static str, name: &'static str| Candidate {
        id: None,
        in_pod: Some((uid, name)),
        mounted: &Mounted::Unknown,
    };
    for place in ["/dev/termination-log", "/chosen/by/the/pod"] {
        let mounts = format!("{of_sandbox}{hosts}{}", mount(&log, place));
        let own = OwnContainer::from_parts("0::/", &mounts, "agent-x7k2p");
        assert!(own.is(&in_pod(UID, "agent")), "{place}");
        assert!(!own.is(&in_pod(UID, "sidecar")));
        assert!(!own.is(&in_pod("another", "agent")));
        assert!(
            !own.is(&docker(&sandbox, &Mounted::Unknown)),
            "the sandbox is not ours"
        );
    }
    // Which of the pod's containers it is, is not known.
    let own = OwnContainer::from_parts("0::/", &hosts, "agent-x7k2p");
    for candidate in [
        in_pod(UID, "agent"),
        in_pod(UID, "sidecar"),
        in_pod("another", "agent"),
    ] {
        assert!(!own.is(&candidate));
    }
    // The id of an earlier run is another one.
    let own = OwnContainer::from_parts(&format!("0::/{ID}"), &mount(&log, "/x"), "");
    let earlier = Candidate {
        id: Some(id(&sandbox)),
        ..in_pod(UID, "agent")
    };
    assert!(own.is(&earlier));
    // A volume of the pod does not tell.
    let volume = format!("/pods/{UID}/volumes/kubernetes.io~empty-dir/x");
    let own = OwnContainer::from_parts("0::/", &mount(&volume, "/data"), "");
    assert_eq!(own.pod, None);
}
