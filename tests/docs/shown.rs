//! What the pages show. Each block says what it is: `conf` and `yaml` are configurations, which a real
//! Fluent Bit runs; `sh` is commands, which are parsed; `json` is JSON; `text` is output or a drawing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use test_kit::collector::PATIENCE;
use test_kit::docker_root::DockerRoot;
use test_kit::fluent_bit::{version, with_each_host, FluentBit};
use test_kit::pod_root::PodRoot;
use test_kit::{in_project, tail_containers};

const KINDS: [&str; 5] = ["conf", "yaml", "sh", "json", "text"];

/// A parser of the name that the pages use.
const PARSERS: &str = "[PARSER]\n    Name nginx\n    Format regex\n    Regex ^(?<parsed>.*)$\n";

/// One block of a page.
struct Block {
    page: PathBuf,
    line: usize,
    kind: String,
    text: String,
}

impl Block {
    /// For messages.
    fn name(&self) -> String {
        format!("{}:{}", self.page.display(), self.line)
    }
}

/// Every page that a reader gets.
fn pages() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(in_project)
        .to_vec();
    let mut folders = ["docs", "examples"].map(in_project).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|it| it == "md") => found.push(path),
                _ => {}
            }
        }
    }
    found
}

fn blocks() -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let mut open = None;
        for (number, line) in text.lines().enumerate() {
            match (&mut open, line.trim_start().strip_prefix("```")) {
                (None, Some(kind)) => {
                    open = Some(Block {
                        page: page.clone(),
                        line: number + 1,
                        kind: kind.to_owned(),
                        text: String::new(),
                    });
                }
                (Some(block), None) => block.text.push_str(&format!("{line}\n")),
                (Some(_), Some(_)) => found.extend(open.take()),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block has no end", page.display());
    }
    found
}

fn of_kind(kind: &str) -> Vec<Block> {
    let found: Vec<Block> = blocks().into_iter().filter(|it| it.kind == kind).collect();
    assert!(!found.is_empty(), "no page shows {kind}");
    found
}

#[test]
fn every_block_says_what_it_is_and_json_is_json() {
    for block in blocks() {
        let name = block.name();
        let kind = &*block.kind;
        assert!(
            KINDS.contains(&kind),
            "{name} is none of {KINDS:?}: {kind:?}"
        );
        if kind == "json" {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&block.text);
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
        }
    }
}

/// With the paths and addresses of this machine put in, and an input or an output where a page
/// leaves it to the reader, each configuration delivers a line.
#[test]
fn every_configuration_delivers_in_a_real_fluent_bit() {
    let name = "shown::every_configuration_delivers_in_a_real_fluent_bit";
    with_each_host(name, |host, plugin| {
        let is_before_4 =
            version(host).is_ok_and(|it| it.starts_with("v2.") || it.starts_with("v3."));
        let blocks = [of_kind("conf"), of_kind("yaml")];
        // `plugins` in YAML, and groups, are of Fluent Bit 4.
        let is_of_4 = |block: &&Block| {
            ["plugins:", "otel"]
                .iter()
                .any(|it| block.text.contains(it))
        };
        let shown = blocks.iter().flatten();
        // They wait for the host's timers, for the most part.
        std::thread::scope(|scope| {
            for block in shown.filter(|block| !(is_before_4 && is_of_4(block))) {
                scope.spawn(move || assert_delivers(host, plugin, block));
            }
        });
    });
}

fn assert_delivers(program: &Path, plugin: &Path, block: &Block) {
    let docker = DockerRoot::new();
    let mut log = docker.container('a', "shop-checkout-1");
    let labels = serde_json::json!({"com.docker.compose.project": "shop"});
    log.write_config_with("shop-checkout-1", true, labels, &[]);
    log.line("order placed");
    let pods = PodRoot::new();
    pods.container("shop", "web-1", "app").line("order placed");
    let mut host = FluentBit::new(program, Some(plugin), "");
    let dir = host.dir().to_owned();
    let write = |name: &str, text: &str| {
        let file = dir.join(name);
        fs::create_dir_all(file.parent().expect("a folder")).expect("ours");
        fs::write(&file, text).expect("ours");
        file.display().to_string()
    };
    let library = dir.join("flb-in_container_logs.so").display().to_string();
    write(
        "container_logs.plugins.conf",
        &format!("[PLUGINS]\n    Path {library}\n"),
    );
    let is_yaml = block.kind == "yaml";
    let whole = match is_yaml {
        true => whole_yaml(&block.text),
        false => whole_classic(&block.text),
    };
    let place = |text: &str| {
        let text = with_roots(text, docker.path(), &pods.pods());
        at_home(&text, &dir)
    };
    write("conf.d/container_logs.conf", &place(INPUT));
    let name = if is_yaml { "shown.yaml" } else { "shown.conf" };
    let mut arguments = vec!["-c".to_owned(), write(name, &place(&whole))];
    arguments.extend(["-R".to_owned(), write("parsers.conf", PARSERS)]);
    if !whole.contains("lugins_") && !whole.contains("plugins:") {
        arguments.extend(["-e".to_owned(), library]);
    }
    host = host.with_arguments(arguments);
    host.start().expect("Fluent Bit starts");
    host.wait_until(PATIENCE, &block.name(), |host| {
        host.stdout().contains("order placed")
    });
}

const INPUT: &str = "[INPUT]\n    Name container_logs\n    Tag_Template docker.{name}\n";

/// What a page leaves out of a classic configuration.
fn whole_classic(text: &str) -> String {
    let before = match () {
        // The rules of an input alone.
        _ if !text.contains(['[', '@']) => "[INPUT]\n    Name container_logs\n",
        // That brings the input.
        _ if text.contains("@INCLUDE") || text.contains("container_logs\n") => "",
        _ => INPUT,
    };
    let output = "[OUTPUT]\n    Name stdout\n    Match *\n    Format json_lines\n";
    format!("{before}{text}\n{output}")
}

/// The same in YAML.
fn whole_yaml(text: &str) -> String {
    let output = "    - name: stdout\n      match: '*'\n      format: json_lines\n";
    let head = "  outputs:\n";
    match text.contains(head) {
        true => text.replace(head, &format!("{head}{output}")),
        false => format!("{text}\n{head}{output}"),
    }
}

/// Names the folders of containers, which the pages leave at their defaults.
fn with_roots(text: &str, docker: &Path, pods: &Path) -> String {
    let is_of_pods = ["Runtime       cri", "runtime: cri"];
    let (runtime, root) = match is_of_pods.iter().any(|it| text.contains(it)) {
        true => ("", format!("Pod_Logs {}", pods.display())),
        false => (
            "Runtime docker",
            format!("Docker_Root {}", docker.display()),
        ),
    };
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let more: String = match words[..] {
            ["Name", "container_logs"] => format!("    {runtime}\n    {root}\n"),
            ["-", "name:", "container_logs"] => [runtime, &root]
                .iter()
                .filter_map(|option| option.split_once(' '))
                .map(|(option, value)| format!("      {}: {value}\n", option.to_lowercase()))
                .collect(),
            ["Name", "kubernetes"] => "    Kube_URL http://127.0.0.1:1\n".to_owned(),
            ["-", "name:", "kubernetes"] => "      kube_url: http://127.0.0.1:1\n".to_owned(),
            _ => String::new(),
        };
        format!("{line}\n{more}")
    });
    lines.collect()
}

/// Files in the host's folder, and no address but this machine's.
fn at_home(text: &str, dir: &Path) -> String {
    let dir = format!("{}/", dir.display());
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    text.replace("/usr/local/lib/fluent-bit/", &dir)
        .replace("/var/lib/fluent-bit/", &dir)
        .replace("/var/lib/container-logs/", &dir)
        .replace("collector.example", "127.0.0.1")
        .replace("2020", &port.to_string())
}

/// Each `tail-containers` is one that its command line accepts, and each target of `make` is there.
#[test]
fn every_command_is_one_that_there_is() {
    let makefile = fs::read_to_string(in_project("Makefile")).expect("the Makefile");
    let root = DockerRoot::new();
    root.container('a', "web").line("order placed");
    let place = tempfile::tempdir().expect("a folder");
    stand_in(place.path(), "jq", "exec cat");
    stand_in(
        place.path(),
        "tail-containers",
        &format!(
            "case \" $* \" in *' check '* | *' import '* | *' --no-follow '*) ;; *) set -- \"$@\" --no-follow ;; esac\n\
             timeout 60 {} \"$@\" --runtime docker --docker-root {} -o Journal_Path=off\n\
             echo $? >code",
            tail_containers::program().display(),
            root.path().display()
        ),
    );
    let mut tried = 0;
    for block in of_kind("sh") {
        for line in block.text.lines() {
            let line = line.split(" #").next().unwrap_or_default();
            let name = format!("{}: {line}", block.name());
            for command in line.split("&&").map(str::trim) {
                let command = command.strip_prefix("sudo ").unwrap_or(command);
                let mut words = command.split_whitespace();
                match words.next() {
                    Some("make") => {
                        let target = words.next().unwrap_or("all");
                        assert!(makefile.contains(&format!("\n{target}:")), "{name}");
                    }
                    Some("tail-containers") => {
                        assert_ne!(code_of(place.path(), command), "2", "{name}");
                        tried += 1;
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(tried > 10, "{tried}");
    assert_eq!(code_of(place.path(), "tail-containers --nonsense"), "2");
}

/// A program of this name in the folder.
fn stand_in(folder: &Path, name: &str, script: &str) {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("ours");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// The exit code of the `tail-containers` in the command, whose files are in the folder.
fn code_of(folder: &Path, command: &str) -> String {
    let path = std::env::var("PATH").expect("a text");
    let here = format!("{}/", folder.display());
    let _ = fs::remove_file(folder.join("code"));
    Command::new("sh")
        .args(["-c", &command.replace("/var/lib/fluent-bit/", &here)])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", folder.display()))
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    let code = fs::read_to_string(folder.join("code")).unwrap_or_default();
    assert!(!code.is_empty(), "{command} did not end");
    code.trim().to_owned()
}
