//! The images of this project, built by a real daemon and run by it: with one capability, a root
//! that cannot be written to, and no socket. Fluent Bit's own image, which they are made from, is
//! played by one that holds a Fluent Bit of this machine and its libraries.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use test_kit::collector::PATIENCE;
use test_kit::dockerd::{shared, Dockerd, IMAGE};
use test_kit::fluent_bit::with_each_host;
use test_kit::{bring_libraries, in_project, programs, skip, tail_containers, wait_until};

/// The image from which the others are made.
const FLUENT_BIT: &str = "fluent-bit:test";

/// Reads the logs below /var/lib/docker/containers, and prints the records.
const CONFIG: &str = "\
[SERVICE]
    Flush         0.2
    Plugins_File  /config/plugins.conf
[INPUT]
    Name          container_logs
    Tag_Template  docker.{name}
    DB            /var/lib/fluent-bit/container_logs.db
    Docker_Socket off
    Include       name=image-app
[OUTPUT]
    Name          stdout
    Match         docker.*
    Format        json_lines
";

const PLUGINS: &str = "[PLUGINS]\n    Path /fluent-bit/plugins/flb-in_container_logs.so\n";

/// What `examples/compose` and `examples/kubernetes` give, of which each image lives.
const RIGHTS: [&str; 5] = [
    "--read-only",
    "--cap-drop=ALL",
    "--cap-add=DAC_READ_SEARCH",
    "--network=none",
    "--log-driver=json-file",
];

/// A context for `docker build`, and what is mounted.
struct Place {
    dir: TempDir,
}

impl Place {
    /// With the files of an unpacked release, and the configuration.
    fn new(plugin: &Path) -> Place {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |file: &Path, name: &str| {
            fs::copy(file, dir.path().join(name)).expect("a new folder is writable");
        };
        put(plugin, "flb-in_container_logs.so");
        put(&tail_containers::program(), "tail-containers");
        let config = dir.path().join("config");
        fs::create_dir(&config).expect("a new folder is writable");
        fs::write(config.join("fluent-bit.conf"), CONFIG).expect("it is writable");
        fs::write(config.join("plugins.conf"), PLUGINS).expect("it is writable");
        Place { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Imports a root with these programs and their libraries, under this name.
    fn import(&self, docker: &Dockerd, image: &str, programs: &[(&Path, &str)], more: &[&Path]) {
        let root = TempDir::new_in(self.dir.path()).expect("a folder");
        for (program, inside) in programs {
            let copy = root.path().join(inside);
            fs::create_dir_all(copy.parent().expect("a folder")).expect("it is new");
            fs::copy(program, copy).expect("a program can be copied");
            bring_libraries(program, root.path());
        }
        more.iter()
            .for_each(|library| bring_libraries(library, root.path()));
        fs::create_dir_all(root.path().join("tmp")).expect("it is new");
        let tar = self.path("root.tar");
        let mut pack = std::process::Command::new("tar");
        pack.arg("-C").arg(root.path()).args(["-cf", &tar, "."]);
        test_kit::run(&mut pack).expect("tar");
        docker
            .docker(&["import", &tar, image])
            .expect("it is imported");
    }

    fn build(&self, docker: &Dockerd, image: &str, dockerfile: &Path, arguments: &[&str]) {
        let (dockerfile, context) = (dockerfile.display().to_string(), self.path(""));
        let fixed = ["build", "--network=none", "-t", image, "-f", &dockerfile];
        docker
            .docker(&[&fixed, arguments, &[&context]].concat())
            .unwrap_or_else(|error| panic!("{image}: {error}"));
    }
}

/// The lines of the app's log that a run of the image has printed.
fn shipped(docker: &Dockerd, name: &str) -> Vec<String> {
    let printed = docker.docker(&["logs", name]).expect("its log");
    let records = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    records
        .filter_map(|record| Some(record["log"].as_str()?.to_owned()))
        .collect()
}

/// Two runs of an image over one volume: each line comes once, whoever the process is.
fn assert_it_delivers(docker: &Dockerd, place: &Place, image: &str, user: &str, more: &[&str]) {
    let logs = docker.root().join("containers").display().to_string();
    let volume = format!("positions-{image}");
    let mounts = [
        format!("--volume={logs}:/var/lib/docker/containers:ro"),
        format!("--volume={}:/config:ro", place.path("config")),
        format!("--volume={volume}:/var/lib/fluent-bit"),
    ];
    let app = |line: &str| {
        docker
            .docker(&[
                "exec",
                "image-app",
                "sh",
                "-c",
                &format!("echo {line} >/proc/1/fd/1"),
            ])
            .expect("the app writes");
    };
    for (run, line) in ["placed", "paid"].into_iter().enumerate() {
        let line = format!("{image}-{line}");
        app(&line);
        let name = format!("{image}-{run}");
        let mut arguments = vec!["run", "--detach", "--name", &name];
        arguments.extend(RIGHTS.iter().chain(more));
        arguments.extend(mounts.iter().map(String::as_str));
        let command = [
            "/fluent-bit/bin/fluent-bit",
            "-c",
            "/config/fluent-bit.conf",
        ];
        arguments.extend([&[image], &command[..]].concat());
        docker.docker(&arguments).expect("docker run");
        wait_until(PATIENCE, "the line", || {
            let status = ["inspect", "--format", "{{.State.Running}}", &name];
            let runs = docker.docker(&status).expect("it is known");
            assert_eq!(runs.trim(), "true", "{:?}", docker.docker(&["logs", &name]));
            shipped(docker, &name).contains(&line)
        });
        let processes = docker.docker(&["top", &name, "-o", "pid,uid"]);
        let processes = processes.expect("docker top");
        let of: Vec<&str> = processes
            .lines()
            .skip(1)
            .filter_map(|process| process.split_whitespace().nth(1))
            .collect();
        assert_eq!(of, [user], "{processes}");
        docker
            .docker(&["stop", "--time=60", &name])
            .expect("docker stop");
        let status = docker.wait(&name).expect("it has ended");
        assert_eq!(status, 0, "{name}");
        if run > 0 {
            // What the run before has shipped does not come again.
            assert_eq!(shipped(docker, &name), [line]);
        }
    }
}

/// The Dockerfile that stands in `examples/compose/compose.yaml`.
fn of_compose() -> String {
    let text = fs::read_to_string(in_project("examples/compose/compose.yaml")).expect("it is here");
    for right in [
        "cap_drop: [ALL]",
        "cap_add: [DAC_READ_SEARCH]",
        "read_only: true",
        "no-new-privileges:true",
    ] {
        assert!(text.contains(right), "{right}");
    }
    let (_, inline) = text
        .split_once("dockerfile_inline: |\n")
        .expect("it is inline");
    let lines = inline
        .lines()
        .map_while(|line| line.strip_prefix("        "));
    let dockerfile: Vec<String> = lines
        .map(|line| match line.starts_with("FROM ") {
            true => format!("FROM {FLUENT_BIT}"),
            false => line.to_owned(),
        })
        .collect();
    dockerfile.join("\n")
}

#[test]
fn images_deliver_with_one_capability_a_read_only_root_and_no_socket() {
    let test = "image::images_deliver_with_one_capability_a_read_only_root_and_no_socket";
    let docker = match shared() {
        Ok(docker) => docker,
        Err(reason) => return skip(test, &reason),
    };
    let setcap = programs("setcap").next();
    docker
        .run_detached("image-app", &[], "exec sleep 6000")
        .expect("docker run");
    let hosts = Cell::new(0);
    with_each_host(test, |host, plugin| {
        // Two hosts may be of one version.
        let number = hosts.get();
        hosts.set(number + 1);
        let _ = docker.docker(&["rmi", "--force", FLUENT_BIT]);
        let place = Place::new(plugin);
        let program = tail_containers::program();
        let inside = [(host, "fluent-bit/bin/fluent-bit")];
        place.import(docker, FLUENT_BIT, &inside, &[plugin, &program]);
        let root = &["--security-opt=no-new-privileges"];

        let dockerfile = place.dir.path().join("Dockerfile");
        fs::write(&dockerfile, of_compose()).expect("it is writable");
        let image = format!("compose-{number}");
        place.build(docker, &image, &dockerfile, &[]);
        assert_it_delivers(docker, &place, &image, "0", root);

        let release = format!("release-{number}");
        let fluent_bit = format!("FLUENT_BIT={FLUENT_BIT}");
        let packaging = in_project("packaging");
        let arguments = ["--build-arg", &fluent_bit];
        place.build(docker, &release, &packaging.join("Dockerfile"), &arguments);
        assert_it_delivers(docker, &place, &release, "0", root);

        let Some(setcap) = &setcap else {
            return skip(
                test,
                "no setcap (Debian: libcap2-bin) for a user that is not root",
            );
        };
        let tools = place.dir.path().join("tools.Dockerfile");
        place.import(docker, "setcap:test", &[(setcap, "sbin/setcap")], &[]);
        let of_tools =
            format!("FROM setcap:test AS setcap\nFROM {IMAGE}\nCOPY --from=setcap / /\n");
        fs::write(&tools, of_tools).expect("it is writable");
        place.build(docker, "tools:test", &tools, &[]);
        let image = format!("non-root-{number}");
        let of = format!("IMAGE={release}");
        let arguments = ["--build-arg", &of, "--build-arg", "TOOLS=tools:test"];
        place.build(
            docker,
            &image,
            &packaging.join("non-root.Dockerfile"),
            &arguments,
        );
        assert_it_delivers(docker, &place, &image, "65532", &[]);
    });
}
