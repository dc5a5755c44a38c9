//! The set-ups in examples/, with the paths and addresses of this machine put in
//! for theirs and nothing else changed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{geteuid, kill_process, Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::DockerRoot;
use test_kit::fluent_bit::{find_all, plugin, version, with_each_host, FluentBit};
use test_kit::nobody::{for_the_owner_alone, NOBODY};
use test_kit::pod_root::PodRoot;
use test_kit::receivers::{self, Receiver, Request};
use test_kit::{programs, run, skip, wait_until};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn read(file: &str) -> String {
    fs::read_to_string(examples().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// All files below examples/ whose names end so.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![examples()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A place for one machine's paths.
struct Here {
    dir: TempDir,
    root: DockerRoot,
}

impl Here {
    fn new(plugin: &Path) -> Here {
        let dir =
            TempDir::with_prefix_in("example-", env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let library = dir.path().join("flb-in_container_logs.so");
        std::os::unix::fs::symlink(plugin.canonicalize().expect("it is built"), &library)
            .expect("a link");
        let plugins = format!("[PLUGINS]\n    Path {}\n", library.display());
        fs::write(dir.path().join("container_logs.plugins.conf"), plugins).expect("it is writable");
        Here {
            dir,
            root: DockerRoot::new(),
        }
    }

    /// An example's text with this machine's paths.
    fn adapt(&self, text: &str) -> String {
        let dir = self.dir.path().display().to_string();
        text.replace("/usr/local/lib/fluent-bit/", &format!("{dir}/"))
            .replace("/fluent-bit/plugins/", &format!("{dir}/"))
            .replace("/var/lib/fluent-bit/", &format!("{dir}/"))
    }

    /// Names the Docker root, which the examples leave at its default.
    fn with_root(&self, text: &str) -> String {
        let root = self.root.path().display();
        let lines = text.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let more = match words[..] {
                ["Name", "container_logs"] => {
                    format!("    Runtime docker\n    Docker_Root {root}\n")
                }
                ["-", "name:", "container_logs"] => {
                    format!("      runtime: docker\n      docker_root: {root}\n")
                }
                _ => String::new(),
            };
            format!("{line}\n{more}")
        });
        lines.collect()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, text).expect("it is writable");
        file
    }
}

fn is_before_4(host: &Path) -> bool {
    version(host).is_ok_and(|version| version.starts_with("v2.") || version.starts_with("v3."))
}

#[test]
fn every_fluent_bit_configuration_is_taken_by_the_host() {
    with_each_host(
        "examples::every_fluent_bit_configuration_is_taken_by_the_host",
        |host, plugin| {
            let configurations = [files("fluent-bit.conf"), files("fluent-bit.yaml")].concat();
            assert!(configurations.len() >= 5, "{configurations:?}");
            for file in configurations {
                let is_yaml = file
                    .extension()
                    .is_some_and(|extension| extension == "yaml");
                let text = fs::read_to_string(&file).expect("it can be read");
                // `plugins` in YAML is of Fluent Bit 4, `plugins_file` of every release.
                if text.contains("\nplugins:") && is_before_4(host) {
                    continue;
                }
                let here = Here::new(plugin);
                let name = if is_yaml {
                    "fluent-bit.yaml"
                } else {
                    "fluent-bit.conf"
                };
                let adapted = here.write(name, &here.adapt(&text));
                let output = Command::new(host)
                    .args(["--dry-run", "-c"])
                    .arg(adapted)
                    .output()
                    .expect("it runs");
                let said =
                    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                assert!(
                    said.contains("configuration test is successful"),
                    "{}: {said}",
                    file.display()
                );
            }
        },
    );
}

/// What Fluent Bit with the configuration `file` sends to Loki first.
fn first_push(host: &Path, file: &Path, loki: &Receiver<Request>) -> serde_json::Value {
    let mut process = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(host)
        .arg("-c")
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv runs");
    wait_until(PATIENCE, "a push request", || !loki.received().is_empty());
    process.kill().expect("it runs");
    process.wait().expect("our child");
    let request = loki.received().remove(0);
    assert_eq!(request.path, "/loki/api/v1/push");
    serde_json::from_slice(&request.body).expect("JSON")
}

/// The configurations that the README shows, word for word but for paths and the port: the line
/// in Loki is the container's own.
fn the_readmes_configuration_brings_plain_lines_to_loki(name: &str, file: &str, begins: &str) {
    let readme = fs::read_to_string(examples().with_file_name("README.md")).expect("the README");
    let shown = readme.split("```").find_map(|block| {
        let text = block.split_once('\n')?.1;
        text.starts_with(begins).then_some(text)
    });
    let shown = shown.expect("the README shows a configuration for Loki");
    with_each_host(name, |host, plugin| {
        if file.ends_with(".yaml") && is_before_4(host) {
            return skip(name, "`plugins` in YAML is of Fluent Bit 4");
        }
        let here = Here::new(plugin);
        let mut log = here.root.container('a', "shop-checkout-1");
        log.line(r#"{"level":"info","msg":"order placed"}"#);
        let loki = receivers::http();
        let text = here.with_root(&here.adapt(shown));
        let file = here.write(file, &text.replace("3100", &loki.port().to_string()));
        let push = first_push(host, &file, &loki);
        let labels = serde_json::json!({
            "job": "docker", "container": "shop-checkout-1", "image": "shop/web:1.2", "stream": "stdout"
        });
        assert_eq!(push["streams"][0]["stream"], labels);
        assert_eq!(
            push["streams"][0]["values"][0][1],
            r#"{"level":"info","msg":"order placed"}"#
        );
    });
}

#[test]
fn the_readmes_configuration_in_yaml_brings_plain_lines_to_loki() {
    the_readmes_configuration_brings_plain_lines_to_loki(
        "examples::the_readmes_configuration_in_yaml_brings_plain_lines_to_loki",
        "loki.yaml",
        "# loki.yaml",
    );
}

#[test]
fn the_readmes_classic_configuration_brings_plain_lines_to_loki() {
    the_readmes_configuration_brings_plain_lines_to_loki(
        "examples::the_readmes_classic_configuration_brings_plain_lines_to_loki",
        "loki.conf",
        "# loki.conf",
    );
}

/// From nothing to Loki, as in examples/compose: the request that Loki would get.
#[test]
fn compose_brings_lines_to_loki_with_name_and_image() {
    let name = "examples::compose_brings_lines_to_loki_with_name_and_image";
    with_each_host(name, |host, plugin| {
        if is_before_4(host) {
            return skip(name, "`plugins` in YAML is of Fluent Bit 4");
        }
        let here = Here::new(plugin);
        let mut log = here.root.container('a', "compose-shop-1");
        let labels = serde_json::json!({
            "com.docker.compose.project": "compose", "com.docker.compose.service": "shop"
        });
        log.write_config_with("compose-shop-1", true, labels, &[]);
        // What Loki's `| json` and `| logfmt` read is what the container wrote.
        log.line(r#"{"level":"info","msg":"order placed"}"#);
        let loki = receivers::http();
        let text = here.with_root(&here.adapt(&read("compose/fluent-bit.yaml")));
        let text = text.replace("host: loki\n", "host: 127.0.0.1\n");
        let file = here.write(
            "fluent-bit.yaml",
            &text.replace("3100", &loki.port().to_string()),
        );
        let push = first_push(host, &file, &loki);
        let labels = serde_json::json!({
            "job": "docker", "container_name": "compose-shop-1", "image": "shop/web:1.2", "stream": "stdout",
            "compose_project": "compose", "compose_service": "shop"
        });
        assert_eq!(push["streams"][0]["stream"], labels);
        assert_eq!(
            push["streams"][0]["values"][0][1],
            r#"{"level":"info","msg":"order placed"}"#
        );
        assert_eq!(push["streams"][0]["values"][0][0], "1700000000000000001");
    });
}

#[test]
fn the_compose_file_is_whole() {
    let text = read("compose/compose.yaml");
    let mut mounts = 0;
    for line in text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ."))
    {
        let source = format!(".{}", line.split(':').next().expect("a source"));
        assert!(
            examples().join("compose").join(&source).exists(),
            "{source}"
        );
        mounts += 1;
    }
    assert_eq!(mounts, 1);

    let name = "examples::the_compose_file_is_whole";
    let file = examples().join("compose/compose.yaml");
    let has_compose = run(Command::new("docker").args(["compose", "version"])).is_ok();
    let mut check = if has_compose {
        let mut check = Command::new("docker");
        check
            .args(["compose", "--file"])
            .arg(&file)
            .args(["config", "--quiet"]);
        check
    } else if run(Command::new("python3").args(["-c", "import yaml"])).is_ok() {
        let mut check = Command::new("python3");
        check
            .args([
                "-c",
                "import sys, yaml; yaml.safe_load(open(sys.argv[1]))['services']['loki']",
            ])
            .arg(&file);
        check
    } else {
        return skip(name, "neither docker compose nor Python's yaml is here");
    };
    run(&mut check).expect("it is a compose file");
}

#[test]
fn the_units_are_taken_by_systemd() {
    let name = "examples::the_units_are_taken_by_systemd";
    if programs("systemd-analyze").next().is_none() {
        return skip(name, "no systemd-analyze (Debian: systemd)");
    }
    let units = files(".service");
    assert_eq!(units.len(), 2);
    for unit in units {
        let dir = tempfile::tempdir().expect("a folder");
        let text = fs::read_to_string(&unit).expect("it can be read");
        // They must exist; any program will do.
        let text = text.replace("/opt/fluent-bit/bin/fluent-bit", "/bin/sh");
        let text = text.replace("/bin/kill", "/bin/sh");
        let copy = dir.path().join("fluent-bit.service");
        fs::write(&copy, text).expect("it is writable");
        let mut check = Command::new("systemd-analyze");
        check
            .args(["verify", "--man=no"])
            .arg(&copy)
            .stdin(std::process::Stdio::null());
        let output = check.output().expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("fluent-bit.service"))
            .collect();
        assert!(
            output.status.success() && ours.is_empty(),
            "{}: {said}",
            unit.display()
        );
    }
}

/// The documents of a YAML file; an error if there is no program to read it with.
fn yaml(file: &Path) -> Result<Vec<Value>, String> {
    run(Command::new("python3").args(["-c", "import yaml"]))
        .map_err(|_| "no Python with yaml (Debian: python3-yaml)".to_owned())?;
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let text = run(Command::new("python3").args(["-c", script]).arg(file));
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Ok(serde_json::from_str(&text).expect("JSON"))
}

/// The document of this kind.
fn of_kind<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

/// The values for the chart have the input of the DaemonSet beside them, and each YAML file is
/// one; a chart puts its parts together as here.
#[test]
fn the_helm_values_are_taken_by_the_host() {
    let name = "examples::the_helm_values_are_taken_by_the_host";
    let mut documents = Vec::new();
    for file in [files(".yaml"), files(".yml")].concat() {
        match yaml(&file) {
            Ok(read) => documents.push((file, read)),
            Err(reason) => return skip(name, &reason),
        }
    }
    assert!(documents.iter().all(|(_, read)| !read.is_empty()));
    let values = documents
        .iter()
        .find(|(file, _)| file.ends_with("helm-values.yaml"));
    let values = &values.expect("it is there").1[0];
    let part = |name: &str| {
        let text = values["config"][name]
            .as_str()
            .expect("a part of the configuration");
        text.replace("{{ .Values.flush }}", "1")
            .replace("{{ .Values.logLevel }}", "info")
            .replace("    HTTP_Port     {{ .Values.metricsPort }}\n", "")
            .replace("HTTP_Server   On", "HTTP_Server   Off")
    };
    let manifest = read("kubernetes/daemonset.yaml").replace("\n    ", "\n");
    assert!(manifest.contains(&part("inputs")), "{}", part("inputs"));
    assert!(manifest.contains(&part("filters")), "{}", part("filters"));
    let plugins = values["config"]["extraFiles"]["container_logs.plugins.conf"]
        .as_str()
        .expect("the list of plugins");
    with_each_host(name, |host, plugin| {
        let here = Here::new(plugin);
        here.write("listed.conf", &here.adapt(plugins));
        let service = part("service").replace(
            "/fluent-bit/etc/conf/container_logs.plugins.conf",
            &here.dir.path().join("listed.conf").display().to_string(),
        );
        let whole = [service, part("inputs"), part("outputs")].join("\n");
        let file = here.write("fluent-bit.conf", &whole);
        let output = Command::new(host)
            .args(["--dry-run", "-c"])
            .arg(&file)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("configuration test is successful"), "{said}");
    });
}

/// The operator writes the text of a custom plugin below `[INPUT]`, indented, starts Fluent Bit
/// as here, and has it reload by SIGHUP.
#[test]
fn the_operators_resources_bring_a_pods_lines_over_a_reload() {
    let name = "examples::the_operators_resources_bring_a_pods_lines_over_a_reload";
    let resources = match yaml(&examples().join("kubernetes/operator.yaml")) {
        Ok(resources) => resources,
        Err(reason) => return skip(name, &reason),
    };
    let input = of_kind(&resources, "ClusterInput")["spec"]["customPlugin"]["config"]
        .as_str()
        .expect("a text");
    // It refuses what could begin another section.
    assert!(!input
        .lines()
        .any(|line| line.trim_start().starts_with(['[', '@'])));
    let spec = &of_kind(&resources, "FluentBit")["spec"];
    assert_eq!(spec["args"][0], "-e");
    let library = spec["args"][1].as_str().expect("a path");
    with_each_host(name, |host, plugin| {
        let pods = PodRoot::new();
        let mut log = pods.container("shop", "web-1", "app");
        log.line("order placed");
        let mut host = FluentBit::new(host, Some(plugin), "");
        let dir = host.dir().display().to_string();
        let input = input
            .replace("/fluent-bit/tail/", &format!("{dir}/"))
            .replace("/var/log/pods", &pods.pods().display().to_string());
        let indented: String = input.lines().map(|line| format!("    {line}\n")).collect();
        let config = format!(
            "[SERVICE]\n    Flush 0.2\n[INPUT]\n{indented}\
             [OUTPUT]\n    Name file\n    Match kube.*\n    Path {dir}\n    File records\n"
        );
        let main = host.dir().join("operator.conf");
        fs::write(&main, config).expect("it is writable");
        let arguments = [
            "--enable-hot-reload",
            "-c",
            &main.display().to_string(),
            "-e",
            &library.replace("/fluent-bit/plugins/", &format!("{dir}/")),
        ];
        host = host.with_arguments(arguments.map(str::to_owned).to_vec());
        host.start().expect("Fluent Bit starts");
        host.wait_until(PATIENCE, "the record", |host| host.record_count() == 1);
        host.signal(Signal::HUP);
        host.wait_until(PATIENCE, "the instance after the reload", |host| {
            host.stderr().matches("following containers").count() == 2
        });
        log.line("order paid");
        host.wait_until(PATIENCE, "the next record", |host| host.record_count() > 1);
        host.end_in_order();
        let records = host.records();
        let texts: Vec<&str> = records.iter().map(|record| record.text("log")).collect();
        assert_eq!(texts, ["order placed", "order paid"]);
        assert_eq!(records[1].text("pod"), "web-1");
    });
}

/// Who brings the plugin to Kubernetes, in whichever way, gets one capability, a root that cannot be
/// written to, probes and an amount of memory, and never two pods with one `DB`.
#[test]
fn the_pods_are_confined_probed_and_alone_on_their_node() {
    let name = "examples::the_pods_are_confined_probed_and_alone_on_their_node";
    let documents = |file: &str| yaml(&examples().join("kubernetes").join(file));
    let (manifest, values, resources) = match (
        documents("daemonset.yaml"),
        documents("helm-values.yaml"),
        documents("operator.yaml"),
    ) {
        (Ok(manifest), Ok(values), Ok(resources)) => (manifest, values, resources),
        (Err(reason), ..) | (_, Err(reason), _) | (.., Err(reason)) => return skip(name, &reason),
    };
    let namespace = &of_kind(&manifest, "Namespace")["metadata"]["labels"];
    assert_eq!(
        namespace["pod-security.kubernetes.io/enforce"],
        "privileged"
    );
    let daemon_set = &of_kind(&manifest, "DaemonSet")["spec"];
    for strategy in [&daemon_set["updateStrategy"], &values[0]["updateStrategy"]] {
        assert_eq!(strategy["rollingUpdate"]["maxSurge"], 0, "{strategy}");
    }
    let pod = &daemon_set["template"]["spec"]["containers"][0];
    let operators = &of_kind(&resources, "FluentBit")["spec"];
    let one_capability = serde_json::json!({"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]});
    for (of, security) in [
        (pod, &pod["securityContext"]),
        (&values[0], &values[0]["securityContext"]),
        (operators, &operators["containerSecurityContext"]),
    ] {
        assert_eq!(security["capabilities"], one_capability);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(of["resources"], pod["resources"]);
        assert_eq!(of["livenessProbe"]["httpGet"]["path"], "/");
        assert_eq!(of["readinessProbe"]["httpGet"]["path"], "/api/v1/health");
    }
}

#[test]
fn the_kustomize_base_is_whole() {
    let name = "examples::the_kustomize_base_is_whole";
    let mut kustomize = match ["kubectl", "kustomize"].map(|program| programs(program).next()) {
        [Some(kubectl), _] => {
            let mut command = Command::new(kubectl);
            command.arg("kustomize");
            command
        }
        [None, Some(kustomize)] => {
            let mut command = Command::new(kustomize);
            command.arg("build");
            command
        }
        [None, None] => return skip(name, "neither kubectl nor kustomize is here"),
    };
    let built = run(kustomize.arg(examples().join("kubernetes"))).expect("it is a base");
    let image = "image: registry.example/fluent-bit-container-logs:latest";
    for expected in ["kind: DaemonSet", "kind: ConfigMap", image, "maxSurge: 0"] {
        assert!(built.contains(expected), "no `{expected}` in {built}");
    }
}

/// The drop-in and the unit without root expose less than 2.5 of 10, as systemd sees it.
#[test]
fn the_hardened_units_expose_little() {
    let name = "examples::the_hardened_units_expose_little";
    if programs("systemd-analyze").next().is_none() {
        return skip(name, "no systemd-analyze (Debian: systemd)");
    }
    let hardened = read("systemd/fluent-bit.service") + &read("systemd/hardening.conf");
    for unit in [read("non-root/fluent-bit.service"), hardened] {
        let dir = tempfile::tempdir().expect("a folder");
        let copy = dir.path().join("fluent-bit.service");
        fs::write(&copy, unit).expect("it is writable");
        let mut check = Command::new("systemd-analyze");
        check
            .args(["security", "--no-pager", "--offline=true", "--threshold=25"])
            .arg(&copy);
        run(&mut check).expect("the exposure is below the threshold");
    }
}

/// What examples/non-root gives is enough where only root may read.
#[test]
fn one_capability_is_enough_to_read_what_root_owns() {
    let name = "examples::one_capability_is_enough_to_read_what_root_owns";
    if find_all().is_empty() || !geteuid().is_root() {
        return skip(
            name,
            "it takes a Fluent Bit, and root to become somebody else",
        );
    }
    let unit = read("non-root/fluent-bit.service");
    let from = unit.find("--inh-caps").expect("the switches of setpriv");
    let switches = unit[from..]
        .split("/opt/")
        .next()
        .expect("the program follows");
    let switches = switches.replace(['#', '\\', '\n'], " ");
    with_each_host(name, |host, plugin| {
        let here = Here::new(plugin);
        let mut log = here.root.container('a', "web");
        log.line("order placed");
        let owner_only = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        owner_only(&log.log, 0o600);
        owner_only(&log.dir, 0o700);
        let wrapper = here.write(
            "fluent-bit",
            &format!(
                "#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups {switches} {} \"$@\"\n",
                host.display()
            ),
        );
        owner_only(&wrapper, 0o755);
        let input = here.with_root(&read("non-root/fluent-bit.conf"));
        let input = input
            .split("[INPUT]")
            .nth(1)
            .expect("an input")
            .split("[OUTPUT]")
            .next()
            .expect("its lines");
        let mut host = FluentBit::new(&wrapper, Some(plugin), "");
        let input = input.replace("/var/lib/fluent-bit", &host.dir().display().to_string());
        host.set_config(&format!("[INPUT]{input}"));
        std::os::unix::fs::chown(host.dir(), Some(65534), Some(65534)).expect("we are root");
        host.start().expect("Fluent Bit starts");
        host.wait_until(PATIENCE, "the record", |host| host.record_count() == 1);
        assert_eq!(host.records()[0].text("container_name"), "web");
        host.end_in_order();
    });
}

/// `make demo` shows records of the folder it was told of, through whichever host is
/// here, and ends it with itself: at a Ctrl-C as when its terminal is closed.
#[test]
fn the_demo_shows_records_and_leaves_nothing_running() {
    let test = "examples::the_demo_shows_records_and_leaves_nothing_running";
    let Some(plugin) = plugin() else {
        return skip(test, "the plugin's .so is not built");
    };
    if !plugin.with_file_name("tail-containers").exists() {
        return skip(
            test,
            "no tail-containers beside CONTAINER_LOGS_PLUGIN: run make test",
        );
    }
    for signal in [Signal::TERM, Signal::HUP] {
        let root = DockerRoot::new();
        root.container('a', "web").line("shown by the demo");
        let folder = tempfile::tempdir().expect("a folder");
        let mut demo = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo"))
            .env("DOCKER_ROOT", root.path())
            .env("PLUGIN", &plugin)
            .env("DEMO_SECONDS", "60")
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the demo runs");
        let mut shown = BufReader::new(demo.stdout.take().expect("a pipe"))
            .lines()
            .map_while(Result::ok);
        let record = shown.find(|line| line.contains("shown by the demo"));
        assert!(
            record.is_some_and(|record| record.contains("web")),
            "no record within a minute"
        );
        let of_the_demo = [folder.path(), root.path()].map(|path| path.display().to_string());
        // Between the last lines and what comes from then on, the host begins.
        let what = "a host with a folder of the demo on its command line";
        wait_until(PATIENCE, what, || is_any_told_of(&of_the_demo));
        kill_process(Pid::from_child(&demo), signal).expect("our child");
        // Until everybody who has the pipe is gone.
        shown.for_each(drop);
        demo.wait().expect("it ends");
        assert!(
            !is_any_told_of(&of_the_demo),
            "something outlives the demo at {signal:?}"
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0,
            "files at {signal:?}"
        );
    }
}

/// Where no container can be read, the demo simulates some; somebody without rights is told how
/// to see those of the machine.
#[test]
fn the_demo_simulates_containers_where_none_can_be_read() {
    let test = "examples::the_demo_simulates_containers_where_none_can_be_read";
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo");
    let Some(plugin) = plugin().filter(|it| it.with_file_name("tail-containers").exists()) else {
        return skip(test, "the plugin or tail-containers is not built: make");
    };
    let empty = tempfile::tempdir().expect("a folder");
    let root = DockerRoot::new();
    root.container('a', "web").line("only for root");
    for_the_owner_alone(root.path());
    // Without Fluent Bit, and with the first one.
    let mut hosts = vec![String::new()];
    hosts.extend(
        find_all()
            .iter()
            .take(1)
            .map(|host| host.display().to_string()),
    );
    for host in hosts {
        let told = |mut demo: Command, docker_root: &Path| {
            let folder = tempfile::tempdir().expect("a folder");
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("ours");
            let mut demo = demo
                .env("DOCKER_ROOT", docker_root)
                .env("PLUGIN", &plugin)
                .env("FLUENT_BIT", &host)
                .env("DEMO_SECONDS", "60")
                .env("TMPDIR", folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the demo runs");
            let lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
            let mut lines = lines.map_while(Result::ok);
            let is_shown = lines.any(|line| line.starts_with("shop-checkout-1 "));
            // Fails if it has ended by itself.
            _ = kill_process(Pid::from_child(&demo), Signal::TERM);
            lines.for_each(drop);
            let output = demo.wait_with_output().expect("it ends");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(is_shown, "no sample with {host:?}: {told}");
            told
        };
        let head = told(Command::new(&script), empty.path());
        assert!(head.contains("no container here can be read"), "{head}");
        assert!(!head.contains("sudo"), "{head}");

        let as_nobody = |program: &Path| {
            let mut command = Command::new("setpriv");
            let nobody = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
            command.args(nobody).arg("--clear-groups").arg(program);
            command
        };
        let mut probe = as_nobody(Path::new("test"));
        if !geteuid().is_root() || run(probe.arg("-x").arg(&script)).is_err() {
            return skip(
                test,
                "not root, or a folder on the way here is closed to others",
            );
        }
        let head = told(as_nobody(&script), root.path());
        assert!(head.contains("only root can read those"), "{head}");
        assert!(head.contains("(sudo scripts/demo shows them)"), "{head}");
    }
}

/// Whether one of these words is in the command line of any process.
fn is_any_told_of(words: &[String]) -> bool {
    let lines = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .any(|line| words.iter().any(|word| line.contains(word.as_str())))
}
