//! Containers of nerdctl: containerd without Kubernetes. The data root is the test's own, written
//! as nerdctl writes it.

use std::fs;
use std::path::Path;

use test_kit::collector::Collector;
use test_kit::docker_root::DockerRoot;
use test_kit::nerdctl_root::{database_of, write_database, NerdctlContainer};
use test_kit::tail_containers::{page, program, row};
use test_kit::user_storage::user;

const OPTIONS: [(&str, &str); 2] = [("Runtime", "nerdctl"), ("Rescan_Interval", "50ms")];

/// A machine whose nerdctl keeps its data in the usual place.
fn machine() -> (tempfile::TempDir, std::path::PathBuf) {
    let machine = tempfile::tempdir().expect("a folder");
    let root = machine.path().join("var/lib/nerdctl");
    fs::create_dir_all(&root).expect("folders");
    (machine, root)
}

/// A machine with a folder of logs, to which a container has written a line.
fn with_log_path() -> (tempfile::TempDir, std::path::PathBuf, NerdctlContainer) {
    let (machine, root) = machine();
    let logs = machine.path().join("logs");
    fs::create_dir(&logs).expect("a folder");
    let path = logs.join("web.log").display().to_string();
    let options = [("log-path", &*path)];
    let mut web = NerdctlContainer::with(&root, "default", 'a', "web", "json-file", &options);
    web.line("1");
    (machine, logs, web)
}

fn start(machine: &Path, more: &[(&str, &str)]) -> Collector {
    let auto = ("Nerdctl_Root", "auto");
    Collector::start(machine, &[more, &[auto], &OPTIONS[..]].concat())
}

#[test]
fn lines_come_whole_with_name_and_environment() {
    let (machine, root) = machine();
    let mut web = NerdctlContainer::new(&root, 'a', "web");
    web.start(&["STAGE=test"]);
    let collector = start(machine.path(), &[("Env", "*")]);
    let long = "x".repeat(200_000);
    for text in ["one", &long, "a terminal's\r"] {
        web.line(text);
    }
    assert_eq!(collector.wait_texts(3), ["one", &long, "a terminal's\r"]);
    let record = collector.records().remove(0);
    let text = |key| record.text(key);
    assert_eq!(
        (text("container_name"), text("container_id")),
        ("web", &*web.id)
    );
    assert_eq!(collector.accounts()[0].name(), "web");
    let shown = format!("{:?}", record);
    assert!(shown.contains("STAGE") && shown.contains("test"), "{shown}");
    let said = format!("following containers below {}", root.display());
    assert!(collector.has_logged(&said));
}

#[test]
fn a_container_that_is_renamed_or_started_again_has_its_new_name_and_environment() {
    let (machine, root) = machine();
    let mut web = NerdctlContainer::new(&root, 'a', "web");
    let collector = start(machine.path(), &[("Tag_Template", "{name}")]);
    web.line("1");
    collector.wait_texts(1);
    web.start(&[]);
    web.rename("web", "shop");
    let is_renamed = |collector: &Collector| collector.accounts()[0].name() == "shop";
    collector.wait("the new name", is_renamed);
    web.line("2");
    collector.wait_texts(2);
    let tags: Vec<_> = collector.tagged().into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(tags, [Some("web".to_owned()), Some("shop".to_owned())]);
}

/// The numbers of rotated files rise for ever, and the highest is the newest.
#[test]
fn rotated_files_are_read_in_the_order_of_rising_numbers_over_a_restart() {
    let (machine, root) = machine();
    let mut web = NerdctlContainer::new(&root, 'a', "web");
    let db = machine.path().join("positions.db").display().to_string();
    let options = [("DB", &*db)];
    let mut written = Vec::new();
    let mut write = |web: &mut NerdctlContainer, rotations: u32| {
        let first = written.len();
        for _ in 0..rotations {
            for _ in 0..3 {
                let text = format!("line {}", written.len());
                web.line(&text);
                written.push(text);
            }
            web.rotate(20);
        }
        written[first..].to_vec()
    };
    let want = write(&mut web, 12);
    let collector = start(machine.path(), &options);
    assert_eq!(collector.wait_texts(want.len()), want);
    let live = write(&mut web, 3);
    assert_eq!(
        collector.wait_texts(want.len() + live.len())[want.len()..],
        live
    );
    collector.stop();
    let later = write(&mut web, 11);
    let collector = start(machine.path(), &options);
    assert_eq!(
        collector.wait_texts(later.len()),
        later,
        "each once, in order"
    );
    web.line("last");
    assert_eq!(
        collector
            .wait_texts(later.len() + 1)
            .last()
            .map(String::as_str),
        Some("last")
    );
}

#[test]
fn a_log_that_log_path_puts_elsewhere_is_read_there() {
    let (machine, _logs, mut web) = with_log_path();
    let collector = start(machine.path(), &[]);
    assert_eq!(collector.wait_texts(1), ["1"]);
    web.rotate(3);
    web.line("2");
    assert_eq!(collector.wait_texts(2), ["1", "2"]);
}

#[test]
fn a_log_path_in_a_folder_that_does_not_exist_here_is_said_with_that_folder() {
    let (machine, logs, web) = with_log_path();
    web.start(&[]);
    let aside = machine.path().join("aside");
    fs::rename(&logs, &aside).expect("a move");
    let collector = start(machine.path(), &[]);
    let said = format!(
        "container web (aaaaaaaaaaaa) cannot be read: its log is in {}, which does not exist here",
        logs.display()
    );
    collector.wait(&said, |collector| collector.has_logged(&said));
    fs::rename(&aside, &logs).expect("a move");
    assert_eq!(collector.wait_texts(1), ["1"]);
}

#[test]
fn settings_of_containerd_that_are_not_valid_are_said_where_its_database_is_missing() {
    let (machine, root) = machine();
    NerdctlContainer::new(&root, 'a', "web").line("1");
    let settings = machine.path().join("etc/containerd/config.toml");
    fs::create_dir_all(settings.parent().expect("a folder")).expect("folders");
    fs::write(&settings, "root = [").expect("a file");
    let collector = start(machine.path(), &[]);
    collector.wait_texts(1);
    let said = format!(
        "{}, which may set another one: it is not valid: ",
        settings.display()
    );
    collector.wait(&said, |collector| collector.has_logged(&said));
}

#[test]
fn containers_of_several_namespaces_are_read_beside_those_of_docker() {
    let (machine, root) = machine();
    let docker = DockerRoot::at(&machine.path().join("docker"));
    docker.container('d', "docker").line("docker");
    for (namespace, digit) in [("default", 'a'), ("k8s.io", 'b')] {
        NerdctlContainer::with(&root, namespace, digit, namespace, "json-file", &[])
            .line(namespace);
    }
    let docker = docker.path().display().to_string();
    let options = [
        ("Runtime", "auto"),
        ("Docker_Root", &*docker),
        ("Nerdctl_Root", "auto"),
    ];
    let collector = Collector::start(machine.path(), &options);
    let mut texts = collector.wait_texts(3);
    texts.sort();
    assert_eq!(texts, ["default", "docker", "k8s.io"]);
    // One more namespace, while we run.
    NerdctlContainer::with(&root, "later", 'c', "later", "json-file", &[]).line("later");
    assert_eq!(
        collector.wait_texts(4).last().map(String::as_str),
        Some("later")
    );
}

#[test]
fn a_log_that_is_in_no_file_is_said_in_the_log_and_by_check() {
    let (machine, root) = machine();
    for (driver, digit) in [("syslog", 'a'), ("journald", 'b'), ("none", 'c')] {
        NerdctlContainer::with(&root, "default", digit, driver, driver, &[]).start(&[]);
    }
    NerdctlContainer::new(&root, 'd', "web").line("1");
    let collector = start(machine.path(), &[]);
    collector.wait_texts(1);
    for said in [
        "log driver syslog keeps no file, and nerdctl has no API",
        "log driver journald keeps no file, and nerdctl has no API",
        "log driver none keeps nothing",
    ] {
        collector.wait(said, |collector| collector.has_logged(said));
    }
    let (said, is_all_read) = check(&root, &[]);
    assert!(!is_all_read && said.contains("nerdctl, "), "{said}");
    assert_eq!(row(&said, "web"), "- json-file file");
    assert!(
        said.contains("nerdctl run --log-driver json-file"),
        "{said}"
    );
    assert!(
        row(&said, "syslog").contains("nowhere: log driver syslog keeps no file"),
        "{said}"
    );
    assert!(
        said.contains("[api-unavailable]") || said.contains("log driver"),
        "{said}"
    );
}

#[test]
fn rootless_nerdctl_is_read_for_users_who_are_selected() {
    let (machine, root) = machine();
    NerdctlContainer::new(&root, 'a', "web").line("root");
    for name in ["ada", "eve"] {
        let home = machine.path().join("home").join(name);
        user(machine.path(), name, &home);
        NerdctlContainer::new(&home.join(".local/share/nerdctl"), 'a', "web").line(name);
    }
    let collector = start(machine.path(), &[("Nerdctl_Users", "ada")]);
    let mut said: Vec<[String; 3]> = Vec::new();
    collector.wait_texts(2);
    for record in collector.records() {
        said.push(["log", "user", "container_name"].map(|key| record.text(key).to_owned()));
    }
    said.sort();
    let want = [["ada", "ada", "web"], ["root", "", "web"]];
    assert_eq!(said, want.map(|row| row.map(str::to_owned)));
}

/// A user says that the log is elsewhere, where another one's is.
#[test]
fn a_users_log_path_is_not_followed() {
    let (machine, _root) = machine();
    let home = machine.path().join("home/mallory");
    user(machine.path(), "mallory", &home);
    let secret = machine.path().join("secret.log").display().to_string();
    let root = home.join(".local/share/nerdctl");
    let options = [("log-path", &*secret)];
    NerdctlContainer::with(&root, "default", 'a', "job", "json-file", &options).line("secret");
    let mut own = NerdctlContainer::new(&root, 'b', "own");
    let collector = start(machine.path(), &[("Nerdctl_Users", "mallory")]);
    collector.wait("the reason", |collector| {
        collector.has_logged("the log of a user's container is read only in its own folder")
    });
    own.line("own");
    assert_eq!(collector.wait_texts(1), ["own"]);
}

#[test]
fn a_symlink_in_the_place_of_a_folder_is_said_and_checked() {
    let (machine, root) = machine();
    NerdctlContainer::new(&root, 'a', "web").line("one");
    let target = machine.path().join("moved");
    fs::create_dir(&target).unwrap();
    let links = [
        root.join("12345678"),
        root.join("1935db59/containers/staging"),
    ];
    for link in &links {
        std::os::unix::fs::symlink(&target, link).unwrap();
    }
    // Of users, root follows none in the place of a container either.
    let home = machine.path().join("home/ada");
    user(machine.path(), "ada", &home);
    let own = NerdctlContainer::new(&home.join(".local/share/nerdctl"), 'b', "own");
    let of_ada = own.dir.with_file_name("c".repeat(64));
    std::os::unix::fs::symlink(&own.dir, &of_ada).unwrap();
    let collector = start(machine.path(), &[("Nerdctl_Users", "ada")]);
    for link in links.iter().chain([&of_ada]) {
        let reason = "it is a symlink, which is not followed here";
        let said = format!("cannot read {}: {reason}", link.display());
        collector.wait("the reason", |collector| collector.has_logged(&said));
    }
    let (said, is_all_read) = check(&root, &[]);
    assert!(!is_all_read && said.contains("12345678"), "{said}");
    assert_eq!(collector.wait_texts(1), ["one"]);
}

/// Image and labels are in containerd's database, which is not there.
#[test]
fn rules_and_labels_that_have_no_effect_are_said_and_checked() {
    let (machine, root) = machine();
    let mut web = NerdctlContainer::new(&root, 'a', "web");
    web.line("one");
    let options = [
        ("Exclude", "image=*debug*"),
        ("Exclude", "label=team=quiet"),
        ("Label_Hints", "exclude"),
    ];
    let collector = start(machine.path(), &options);
    let said = "container web (aaaaaaaaaaaa): Exclude image=*debug*, Exclude label=team=quiet, Label_Hints exclude cannot match containers of pods, or of nerdctl while containerd's database cannot be read";
    collector.wait(said, |collector| collector.has_logged(said));
    assert_eq!(collector.wait_texts(1), ["one"]);
    let (said, _) = check(&root, &options);
    for rule in [
        "Exclude image=*debug*",
        "Exclude label=team=quiet",
        "Label_Hints exclude",
    ] {
        assert!(said.contains(rule), "{said}");
    }
    assert!(said.contains("cannot be read for nerdctl"), "{said}");
}

/// What `tail-containers check` says of a data root of nerdctl.
fn check(root: &Path, options: &[(&str, &str)]) -> (String, bool) {
    let mut command = std::process::Command::new(program());
    command
        .args(["check", "--runtime", "nerdctl", "-o"])
        .arg(format!("Nerdctl_Root={}", root.display()));
    for (name, value) in options {
        command.arg("-o").arg(format!("{name}={value}"));
    }
    page(&command.output().expect("it runs"))
}

/// A container as `nerdctl compose up` makes it.
const WEB: [(&str, &str); 4] = [
    ("com.docker.compose.project", "shop"),
    ("com.docker.compose.service", "web"),
    ("nerdctl/name", "shop-web-1"),
    ("team", "front"),
];

#[test]
fn image_labels_and_compose_project_are_those_of_containerds_database() {
    let (machine, root) = machine();
    let containerd = machine.path().join("var/lib/containerd");
    let mut web = NerdctlContainer::new(&root, 'a', "shop-web-1");
    let mut tagged = NerdctlContainer::with(&root, "other", 'b', "tagged", "json-file", &[]);
    let mut all = vec![NerdctlContainer::new(&root, 'c', "quiet")];
    for (digit, name) in [('d', "debug"), ('e', "db"), ('f', "blog")] {
        all.push(NerdctlContainer::new(&root, digit, name));
    }
    let image = "docker.io/library/nginx:1.27";
    write_database(
        &containerd,
        &[
            (&web, image, &WEB),
            (
                &tagged,
                image,
                &[("fluentbit.io/tag", "own.{name}"), ("team", "front")],
            ),
            (
                &all[0],
                image,
                &[("fluentbit.io/exclude", "true"), ("team", "front")],
            ),
            (&all[1], "registry:5000/debug:1", &[("team", "front")]),
            (
                &all[2],
                image,
                &[("com.docker.compose.project", "shop"), ("team", "db")],
            ),
            (&all[3], image, &[("com.docker.compose.project", "blog")]),
        ],
    );
    let options = [
        ("Include", "compose_project=shop"),
        ("Include", "label=team=front"),
        ("Exclude", "image=*debug*"),
        ("Exclude", "label=team=db"),
        ("Label_Hints", "exclude,tag"),
        ("Labels", "team,nerdctl/*"),
        ("Tag_Template", "{compose_project}.{compose_service}"),
    ];
    let collector = start(machine.path(), &options);
    web.line("web");
    tagged.line("tagged");
    for container in &mut all {
        container.line("never");
    }
    for said in [
        "container quiet (cccccccccccc) is not read: it has the label fluentbit.io/exclude",
        "container debug (dddddddddddd) is not read: it matches Exclude image=*debug*",
        "container db (eeeeeeeeeeee) is not read: it matches Exclude label=team=db",
        "container blog (ffffffffffff) is not read: no Include rule matches it",
    ] {
        collector.wait(said, |collector| collector.has_logged(said));
    }
    assert_eq!(collector.wait_texts(2).len(), 2);
    let mut seen: Vec<_> = collector.tagged();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let tags: Vec<_> = seen.iter().map(|(tag, _)| tag.as_deref()).collect();
    assert_eq!(tags, [Some("own.tagged"), Some("shop.web")]);
    let record = &seen[1].1;
    let fields = [
        "container_name",
        "image",
        "compose_project",
        "compose_service",
    ];
    assert_eq!(
        fields.map(|field| record.text(field)),
        ["shop-web-1", image, "shop", "web"]
    );
    let shown = format!("{record:?}");
    for part in ["nerdctl/name", "front"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!collector.has_logged("containerd's database"));
    // `check` finds the database beside the data root.
    let (said, is_all_read) = check(&root, &options[..4]);
    assert!(is_all_read && !said.contains("containerd"), "{said}");
    assert_eq!(row(&said, "shop-web-1"), format!("{image} json-file file"));
}

/// Another database is where containerd's usually is: the one of a containerd that was removed.
#[test]
fn a_database_that_is_missing_damaged_or_another_ones_is_said_and_checked() {
    for (content, reason) in [
        (None, "No such file or directory"),
        (Some(&[b'x'; 9_000][..]), "it is not a Bolt database"),
        (Some(b""), "it has none of nerdctl's containers"),
    ] {
        let (machine, root) = machine();
        let database = database_of(&machine.path().join("var/lib/containerd"));
        let mut web = NerdctlContainer::new(&root, 'a', "web");
        web.line("one");
        if let Some(content) = content {
            fs::create_dir_all(database.parent().expect("a folder")).expect("folders");
            fs::write(&database, content).expect("a database");
        }
        let collector = start(machine.path(), &[]);
        let said = format!("cannot read {}: {reason}", database.display());
        collector.wait(&said, |collector| collector.has_logged(&said));
        let effect = "all of nerdctl's containers are read, but records lack image and labels";
        assert!(collector.has_logged(effect));
        assert_eq!(collector.wait_texts(1), ["one"]);
        let (said, is_all_read) = check(&root, &[]);
        assert!(is_all_read && said.contains(effect), "{said}");
    }
}

#[test]
fn labels_come_once_the_database_can_be_read_and_a_rule_about_them_takes_effect() {
    let (machine, root) = machine();
    let mut web = NerdctlContainer::new(&root, 'a', "web");
    let mut quiet = NerdctlContainer::new(&root, 'b', "quiet");
    web.line("1");
    quiet.line("1");
    let collector = start(machine.path(), &[("Exclude", "label=team=quiet")]);
    collector.wait_texts(2);
    let containerd = machine.path().join("var/lib/containerd");
    write_database(
        &containerd,
        &[
            (&web, "nginx", &WEB),
            (&quiet, "nginx", &[("team", "quiet")]),
        ],
    );
    let said = "container quiet (bbbbbbbbbbbb) is not read: it matches Exclude label=team=quiet";
    collector.wait(said, |collector| collector.has_logged(said));
    quiet.line("never");
    web.line("2");
    assert_eq!(collector.wait_texts(3).len(), 3);
    let last = collector.records().pop().expect("a record");
    assert_eq!([last.text("log"), last.text("image")], ["2", "nginx"]);
}

#[test]
fn a_users_labels_are_read_from_the_users_own_containerd_only() {
    let (machine, _root) = machine();
    let mut containers = Vec::new();
    for name in ["ada", "mallory"] {
        let home = machine.path().join("home").join(name);
        user(machine.path(), name, &home);
        let web = NerdctlContainer::new(&home.join(".local/share/nerdctl"), 'a', "web");
        containers.push((home, web));
    }
    let secret = machine.path().join("secret");
    write_database(&secret, &[(&containers[1].1, "secret", &WEB)]);
    let of_ada = containers[0].0.join(".local/share/containerd");
    write_database(&of_ada, &[(&containers[0].1, "nginx", &WEB)]);
    let of_mallory = database_of(&containers[1].0.join(".local/share/containerd"));
    fs::create_dir_all(of_mallory.parent().expect("a folder")).expect("folders");
    std::os::unix::fs::symlink(database_of(&secret), &of_mallory).expect("a link");
    let settings = containers[1].0.join(".config/containerd");
    fs::create_dir_all(&settings).expect("folders");
    let root = format!("root = \"{}\"\n", secret.display());
    fs::write(settings.join("config.toml"), root).expect("a file");
    for (_, web) in &mut containers {
        web.line("one");
    }
    let collector = start(machine.path(), &[("Nerdctl_Users", "ada, mallory")]);
    collector.wait_texts(2);
    let mut seen: Vec<[String; 3]> = Vec::new();
    for record in collector.records() {
        seen.push(["user", "image", "compose_project"].map(|key| record.text(key).to_owned()));
    }
    seen.sort();
    assert_eq!(seen, [["ada", "nginx", "shop"], ["mallory", "", ""]]);
    let said = "all of nerdctl's containers are read, but records lack image and labels";
    collector.wait(said, |collector| collector.has_logged(said));
}

/// Whether it runs or not, and without waiting for a rescan.
#[test]
fn the_new_name_of_a_container_shows_at_once() {
    let (machine, root) = machine();
    let mut web = NerdctlContainer::new(&root, 'a', "web");
    web.line("one");
    let collector = start(machine.path(), &[("Rescan_Interval", "1h")]);
    collector.wait_texts(1);
    web.rename("web", "shop");
    let is_renamed = |collector: &Collector| collector.accounts()[0].name() == "shop";
    collector.wait("the new name", is_renamed);
}

/// The folder of containerd's running containers is there, and it is not in it.
#[test]
fn a_container_that_ended_takes_a_new_name() {
    let (machine, root) = machine();
    let mut web = NerdctlContainer::new(&root, 'a', "web");
    web.start(&[]);
    web.line("one");
    let collector = start(machine.path(), &[]);
    collector.wait_texts(1);
    web.end();
    web.rename("web", "shop");
    let is_renamed = |collector: &Collector| collector.accounts()[0].name() == "shop";
    collector.wait("the new name", is_renamed);
}
