use std::os::unix::fs::symlink;

use super::*;

const UID: &str = "b0e7a1de-0d2c-4f9a-8a55-0c3a3a2f2c11";

fn docker(roots: &[&Path]) -> Vec<Roots> {
    let options = RuntimeOptions {
        docker_roots: roots.iter().map(|root| root.to_path_buf()).collect(),
        ..RuntimeOptions::default()
    };
    docker_roots::of_machine(&options)
}

struct Node {
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let node = Node {
            dir: tempfile::tempdir().unwrap(),
        };
        for folder in ["pods", "containers", "docker/containers"] {
            std::fs::create_dir_all(node.path(folder)).unwrap();
        }
        node
    }

    /// Canonical, since the paths found are.
    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(below)
    }

    fn write(&self, file: &str) -> PathBuf {
        let path = self.path(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        path
    }

    fn cri(&self) -> Cri {
        Cri::new(&self.path("pods"), docker(&[&self.path("docker")]))
    }

    fn found(&self) -> Vec<Found> {
        let cri = self.cri();
        let mut found = cri.list(&cri.root()).unwrap().containers;
        found.sort_by(|one, other| one.origin.cmp(&other.origin));
        found
    }

    fn pod(&self, found: &Found, run: u32) -> (String, Pod) {
        let metadata = self.cri().metadata(found, run).unwrap();
        (metadata.name, *metadata.pod.unwrap())
    }
}

#[test]
fn files_are_ordered_by_run_and_within_it_by_age() {
    let names = [
        "0.log.20240101-000000.gz",
        "0.log.20240101-000010",
        "0.log",
        "1.log.20231231-235959",
        "1.log.2",
        "1.log.1",
        "1.log",
        "10.log",
    ];
    let mut ranked: Vec<_> = names
        .iter()
        .rev()
        .map(|name| (rank_by_run(name).unwrap(), *name))
        .collect();
    ranked.sort_by_key(|(rank, _)| (rank.run, std::cmp::Reverse(rank.age)));
    let sorted: Vec<&str> = ranked.into_iter().map(|(_, name)| name).collect();
    assert_eq!(sorted, names);
}

#[test]
fn other_files_are_no_logs() {
    for name in [
        "0.log.20240101-000000.tmp",
        "0.log.20240101-000000.gz.tmp",
        "0.log.tmp",
        "0.log.2024-01-01",
        "0.log.20240101-0000000",
        "x.log",
        ".log",
        "0.logs",
        "99999999999.log",
        "container.log",
        "",
    ] {
        assert_eq!(rank_by_run(name), None, "{name}");
    }
}

#[test]
fn all_three_layouts_are_found() {
    let node = Node::new();
    node.write(&format!("pods/shop_web-1_{UID}/app/0.log"));
    node.write(&format!("pods/{UID}/old/0.log"));
    node.write("pods/0123/oldest_0.log");
    node.write("pods/0123/oldest_0.log.20240101-000000");
    node.write("pods/0123/oldest_1.log");
    node.write("pods/stray-file");
    let found = node.found();
    let shown: Vec<_> = found
        .iter()
        .map(|found| found.origin.strip_prefix(node.path("pods")).unwrap())
        .collect();
    assert_eq!(
        shown,
        [
            Path::new("0123/oldest_"),
            Path::new(&format!("{UID}/old")),
            Path::new(&format!("shop_web-1_{UID}/app"))
        ]
    );
    let files = |found: &Found| {
        let logs = node.cri().logs(found);
        ["oldest_1.log", "0.log", "other_0.log"]
            .map(|name| logs[0].rank_of(name).map(|rank| rank.run))
    };
    assert_eq!(files(&found[0]), [Some(1), None, None]);
    assert_eq!(files(&found[1]), [None, Some(0), None]);
    let (name, pod) = node.pod(&found[2], 3);
    assert_eq!(
        (name.as_str(), pod.namespace.as_str(), pod.name.as_str()),
        ("app", "shop", "web-1")
    );
    assert_eq!(
        (pod.uid.as_str(), pod.restart_count, pod.is_complete),
        (UID, 3, false)
    );
    let (name, pod) = node.pod(&found[0], 0);
    assert_eq!(
        (name.as_str(), pod.uid.as_str(), pod.name.as_str()),
        ("oldest", "0123", "")
    );
}

#[test]
fn the_link_of_a_run_tells_its_id_and_in_old_layouts_the_names() {
    let node = Node::new();
    let (first, second) = ("ab".repeat(32), "cd".repeat(32));
    let folder = format!("shop_web-1_{UID}");
    for (run, id) in [(0, &first), (1, &second)] {
        let log = node.write(&format!("pods/{folder}/app/{run}.log"));
        symlink(
            log,
            node.path(&format!("containers/web-1_shop_app-{id}.log")),
        )
        .unwrap();
    }
    let old = node.write(&format!("pods/{UID}/app/0.log"));
    symlink(
        old,
        node.path(&format!("containers/old-1_ops_app-{first}.log")),
    )
    .unwrap();
    let dangling = node.path("pods/gone/app/0.log");
    symlink(
        dangling,
        node.path(&format!(
            "containers/web-1_shop_app-{}.log",
            "ef".repeat(32)
        )),
    )
    .unwrap();
    let found = node.found();
    for (run, id) in [(0, &first), (1, &second)] {
        let (_, pod) = node.pod(&found[1], run);
        assert_eq!(pod.container_id.unwrap().to_string(), **id);
        assert!(pod.is_complete);
    }
    assert_eq!(node.pod(&found[1], 2).1.container_id, None);
    let (_, pod) = node.pod(&found[0], 0);
    assert_eq!(
        (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()),
        ("ops", "old-1", UID)
    );
}

#[test]
fn a_link_whose_name_was_cut_has_no_id_and_leaves_nothing_to_wait_for() {
    let node = Node::new();
    let log = node.write(&format!("pods/shop_web-1_{UID}/app/0.log"));
    symlink(log, node.path("containers/web-1_shop_app-abab.log")).unwrap();
    let (_, pod) = node.pod(&node.found()[0], 0);
    assert_eq!((pod.container_id, pod.is_complete), (None, true));
}

#[test]
fn a_link_is_followed_into_dockers_root_only() {
    let node = Node::new();
    let id = "ab".repeat(32);
    let log = node.write(&format!("docker/containers/{id}/{id}-json.log"));
    let secret = node.write(&format!("docker/containers/{id}/config.v2.json"));
    let elsewhere = node.write("elsewhere.log");
    for (container, target) in [("app", &log), ("evil", &secret), ("worse", &elsewhere)] {
        let link = node.path(&format!("pods/shop_web-1_{UID}/{container}/2.log"));
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(target, link).unwrap();
    }
    symlink(node.path("docker"), node.path("pods/linked_pod_x")).unwrap();
    let found = node.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].id.to_string(), found[0].dir.to_path_buf()),
        (id.clone(), node.path(&format!("docker/containers/{id}")))
    );
    assert_eq!(
        node.cri().logs(&found[0])[0].current(),
        Some(&SafePath::from(&log))
    );
    let (name, pod) = node.pod(&found[0], 0);
    assert_eq!(
        (name.as_str(), pod.restart_count, pod.container_id),
        ("app", 2, Some(found[0].id))
    );
}

/// The node's data root is mounted at another place, or renamed during a rotation.
#[test]
fn a_link_counts_by_its_id_wherever_it_leads_and_however_it_is_called() {
    let node = Node::new();
    let id = "ab".repeat(32);
    node.write(&format!("docker/containers/{id}/{id}-json.log"));
    let dir = node.path(&format!("pods/shop_web-1_{UID}/app"));
    std::fs::create_dir_all(&dir).unwrap();
    let target = format!("/nonexistent/docker/containers/{id}/{id}-json.log");
    symlink(&target, dir.join("1.log.20240101-000000")).unwrap();
    for is_back in [false, true] {
        let found = node.found();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(*found[0].origin, *dir.join("1.log"));
        let log = node.path(&format!("docker/containers/{id}/{id}-json.log"));
        assert_eq!(
            node.cri().logs(&found[0])[0].current(),
            Some(&SafePath::from(&log))
        );
        let (name, pod) = node.pod(&found[0], 0);
        assert_eq!((name.as_str(), pod.restart_count), ("app", 1));
        if !is_back {
            symlink(&target, dir.join("1.log")).unwrap();
        }
    }
}

/// A data root that is given as a symlink, which is changed later; a second one of a daemon with
/// userns-remap.
#[test]
fn links_are_looked_up_in_all_data_roots_where_they_are_now() {
    let node = Node::new();
    let (one, other) = ("ab".repeat(32), "cd".repeat(32));
    for (container, id) in [("app", &one), ("side", &other)] {
        let dir = node.path(&format!("pods/shop_web-1_{UID}/{container}"));
        std::fs::create_dir_all(&dir).unwrap();
        let target = format!("/var/lib/docker/containers/{id}/{id}-json.log");
        symlink(target, dir.join("0.log")).unwrap();
    }
    let link = node.path("link");
    symlink(node.path("docker"), &link).unwrap();
    let cri = Cri::new(&node.path("pods"), docker(&[&link, &node.path("second")]));
    let dirs = || {
        let listing = cri.list(&cri.root()).unwrap();
        let found = listing.containers.iter();
        let mut dirs: Vec<PathBuf> = found.map(|found| found.dir.to_path_buf()).collect();
        dirs.sort();
        dirs
    };
    assert!(dirs().is_empty());
    let log = |root: &str, id: &str| node.write(&format!("{root}/containers/{id}/{id}-json.log"));
    let folder = |log: PathBuf| log.parent().unwrap().to_owned();
    let first = folder(log("docker", &one));
    let remapped = folder(log("second/165536.165536", &other));
    assert_eq!(dirs(), [first, remapped.clone()]);
    let moved = folder(log("elsewhere", &one));
    std::fs::remove_file(&link).unwrap();
    symlink(node.path("elsewhere"), &link).unwrap();
    assert_eq!(dirs(), [moved, remapped]);
}

#[test]
fn links_that_lead_to_no_container_are_said_by_name_or_if_none_leads_to_any_together() {
    let node = Node::new();
    let (gone, id) = ("ef".repeat(32), "ab".repeat(32));
    for (container, id) in [("app", &gone), ("side", &id)] {
        let dir = node.path(&format!("pods/shop_web-1_{UID}/{container}"));
        std::fs::create_dir_all(&dir).unwrap();
        symlink(
            format!("/data/docker/containers/{id}/{id}-json.log"),
            dir.join("0.log"),
        )
        .unwrap();
    }
    let cri = node.cri();
    let listing = cri.list(&cri.root()).unwrap();
    assert!(listing.containers.is_empty() && !listing.is_decided_by_folders);
    let [unreadable] = &listing.unreadable[..] else {
        panic!("{:?}", listing.unreadable)
    };
    assert_eq!(unreadable.path, node.path("docker/containers"));
    assert_eq!(unreadable.hides, Hides::LinkedLogs(2));
    assert!(unreadable
        .error
        .to_string()
        .contains("links into /data/docker/containers"));
    node.write(&format!("docker/containers/{id}/{id}-json.log"));
    let listing = cri.list(&cri.root()).unwrap();
    assert_eq!((listing.containers.len(), listing.unreadable.len()), (1, 1));
    let link = node.path(&format!("pods/shop_web-1_{UID}/app/0.log"));
    assert_eq!(listing.unreadable[0].path, link);
    assert_eq!(listing.unreadable[0].hides, Hides::LinkedLogs(1));
}

#[test]
fn the_links_with_the_ids_are_beside_the_pods_or_where_they_are_said_to_be() {
    let node = Node::new();
    let id = "ab".repeat(32);
    let log = node.write(&format!("pods/shop_web-1_{UID}/app/0.log"));
    let links = node.path("elsewhere");
    std::fs::create_dir(&links).unwrap();
    symlink(log, links.join(format!("web-1_shop_app-{id}.log"))).unwrap();
    std::fs::remove_dir(node.path("containers")).unwrap();
    let cri = node.cri();
    let listing = cri.list(&cri.root()).unwrap();
    let hidden: Vec<Hides> = listing.unreadable.iter().map(|it| it.hides).collect();
    assert_eq!(hidden, [Hides::ContainerIds]);
    let told = |cri: &Cri| {
        let pod = cri
            .metadata(&listing.containers[0], 0)
            .unwrap()
            .pod
            .unwrap();
        pod.container_id.map(|id| id.to_string())
    };
    assert_eq!(told(&cri), None);
    let cri = cri.with_links(&links);
    assert_eq!(told(&cri), Some(id));
    assert!(cri.list(&cri.root()).unwrap().unreadable.is_empty());
}

#[test]
fn a_missing_root_is_an_error() {
    let missing = Path::new("/nonexistent");
    let cri = Cri::new(&missing.join("pods"), docker(&[missing]));
    assert_eq!(
        cri.list(&cri.root()).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
}
