//! examples/kubernetes with a real Fluent Bit: the configuration of its DaemonSet reads
//! a node that the test writes, and Fluent Bit's own filter `kubernetes` adds what an API
//! server in this process tells of the pods.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::{json, Value};

use test_kit::collector::PATIENCE;
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::pod_root::{uid_of, PodRoot};
use test_kit::receivers::{self, Receiver, Request};
use test_kit::{run, skip};

const MANIFEST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/examples/kubernetes/daemonset.yaml"
);

/// The uid that the API server gives a pod. For most it is that of the folder; a
/// static pod, which the kubelet has from a file, has another one there.
fn api_uid(pod: &str) -> String {
    uid_of(&format!("api/{pod}"))
}

/// A file in the ConfigMap: the lines below its key, without their indentation.
fn configured(name: &str) -> String {
    let text = fs::read_to_string(MANIFEST).expect("the example");
    let lines = text
        .lines()
        .skip_while(|line| *line != format!("  {name}: |"))
        .skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("    "));
    lines
        .map(|line| format!("{}\n", line.get(4..).unwrap_or_default()))
        .collect()
}

/// An API server that knows each pod but those called `gone`, and answers at length.
fn api_server() -> Receiver<Request> {
    receivers::answering(|request| {
        let parts: Vec<&str> = request.path.split('/').collect();
        let ["", "api", "v1", "namespaces", namespace, "pods", pod] = parts[..] else {
            return (404, String::new());
        };
        if pod.starts_with("gone") {
            return (404, json!({"kind": "Status", "code": 404}).to_string());
        }
        let answer = json!({
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": pod, "namespace": namespace, "uid": api_uid(pod),
                "labels": {"app.kubernetes.io/name": pod},
                "annotations": {"team": namespace, "long": "x".repeat(40_000)},
            },
            "spec": {"nodeName": "node-1"},
            "status": {"podIP": "10.0.3.7", "hostIP": "10.0.0.1"},
        });
        (200, answer.to_string())
    })
}

/// The DaemonSet's Fluent Bit: its two files and its arguments, with the paths of this
/// machine for those of the node's, and the API server's address.
fn daemon_set(program: &Path, plugin: &Path, node: &PodRoot, api: &Receiver<Request>) -> FluentBit {
    let host = FluentBit::new(program, Some(plugin), "");
    let here = host.dir().display().to_string();
    let adapt = |text: String| {
        text.replace("/fluent-bit/plugins/", &format!("{here}/"))
            .replace("/config/", &format!("{here}/config/"))
            .replace("/var/lib/container-logs/", &format!("{here}/"))
            .replace("/var/log/pods", &node.pods().display().to_string())
    };
    let filter = "    Name          kubernetes\n";
    let server = format!(
        "{filter}    Kube_URL      http://127.0.0.1:{}\n    Kube_Token_File {here}/token\n",
        api.port()
    );
    // Free, and for the moment nobody else's.
    let http_port = TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let main = configured("fluent-bit.conf");
    assert!(main.contains(filter), "{main}");
    // What is flushed is seen soon.
    let main = main
        .replace(filter, &server)
        .replace(
            "    HTTP_Port     2020\n",
            &format!("    HTTP_Port     {http_port}\n"),
        )
        .replace("[SERVICE]\n", "[SERVICE]\n    Flush 0.2\n");
    fs::create_dir(host.dir().join("config")).expect("a folder");
    for (name, text) in [
        ("config/plugins.conf", adapt(configured("plugins.conf"))),
        ("config/fluent-bit.conf", adapt(main)),
        ("token", "secret".to_owned()),
    ] {
        fs::write(host.dir().join(name), text).expect("the folder is writable");
    }
    host.with_arguments(["-c".to_owned(), format!("{here}/config/fluent-bit.conf")].to_vec())
}

/// What its output has printed.
fn printed(host: &FluentBit) -> Vec<Value> {
    let text = host.stdout();
    let whole = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    whole
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn text<'a>(record: &'a Value, pointer: &str) -> &'a str {
    record
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[test]
fn the_daemon_set_reads_a_node_and_the_filter_adds_labels_and_annotations() {
    let name = "kubernetes::the_daemon_set_reads_a_node_and_the_filter_adds_labels_and_annotations";
    with_each_host(name, |program, plugin| {
        let node = PodRoot::new();
        let api = api_server();
        let mut app = node.container("shop", "web-5d8f6c7b9-x2x7v", "app");
        let mut sidecar = node.container("shop", "web-5d8f6c7b9-x2x7v", "log-shipper");
        // Pods' names may have dots; the containers' may not.
        let mut dotted = node.container("shop-eu", "web.prod.example-1", "app");
        let mut own = node.container("logging", "container-logs-abcde", "fluent-bit");
        own.line("not to be read");
        app.line("app 0");
        sidecar.line("sidecar 0");
        dotted.line("dotted 0");
        let mut host = daemon_set(program, plugin, &node, &api);
        host.start().expect("it starts");
        host.wait_until(PATIENCE, "the first lines", |host| printed(host).len() == 3);
        app.rotate();
        app.line("app 1");
        app.reopen();
        app.line("app 2");
        let first_id = app.id();
        app.restart();
        app.line("app 3");
        host.wait_until(PATIENCE, "the other lines", |host| printed(host).len() == 6);
        host.end_in_order();

        let records = printed(&host);
        assert_eq!(records.len(), 6, "{records:?}");
        let of = |pod: &str, container: &str| {
            let is_its = |record: &&Value| {
                text(record, "/pod") == pod && text(record, "/container_name") == container
            };
            records.iter().filter(is_its).collect::<Vec<_>>()
        };
        for (namespace, pod, container, ids, lines) in [
            (
                "shop",
                "web-5d8f6c7b9-x2x7v",
                "app",
                vec![&first_id, &first_id, &first_id, &app.id()],
                &["app 0", "app 1", "app 2", "app 3"][..],
            ),
            (
                "shop",
                "web-5d8f6c7b9-x2x7v",
                "log-shipper",
                vec![&sidecar.id()],
                &["sidecar 0"],
            ),
            (
                "shop-eu",
                "web.prod.example-1",
                "app",
                vec![&dotted.id()],
                &["dotted 0"],
            ),
        ] {
            let records = of(pod, container);
            let logs: Vec<&str> = records.iter().map(|record| text(record, "/log")).collect();
            assert_eq!(logs, lines, "{pod} {container}");
            for (record, id) in records.iter().zip(ids) {
                let kubernetes = &record["kubernetes"];
                for (key, value) in [
                    ("pod_name", pod),
                    ("namespace_name", namespace),
                    ("container_name", container),
                    ("docker_id", id.as_str()),
                    ("pod_id", api_uid(pod).as_str()),
                    ("host", "node-1"),
                ] {
                    assert_eq!(kubernetes[key], value, "{key} in {record}");
                }
                assert_eq!(kubernetes["labels"], json!({"app.kubernetes.io/name": pod}));
                assert_eq!(kubernetes["annotations"]["team"], namespace);
                assert_eq!(record["container_id"], id.as_str());
                assert_eq!(record["pod_uid"], uid_of(pod));
            }
        }
        // The role allows to get pods, and nothing else is asked for; of the container
        // that came again as another one, once more.
        let asked = api.received();
        let app = "/api/v1/namespaces/shop/pods/web-5d8f6c7b9-x2x7v";
        let times = |path: &str| asked.iter().filter(|request| request.path == path).count();
        assert_eq!(times(app), 3, "two containers, and a restart");
        assert_eq!(
            times("/api/v1/namespaces/shop-eu/pods/web.prod.example-1"),
            1
        );
        assert_eq!(asked.len(), 4, "{asked:?}");
        assert!(asked
            .iter()
            .all(|request| request.header("authorization") == "Bearer secret"));
    });
}

/// The kubelet's link with the id may come late, or never; and a pod may be gone by the
/// time that its lines are read.
#[test]
fn a_container_without_an_id_is_enriched_and_a_pod_that_is_gone_keeps_our_fields() {
    let name =
        "kubernetes::a_container_without_an_id_is_enriched_and_a_pod_that_is_gone_keeps_our_fields";
    with_each_host(name, |program, plugin| {
        let node = PodRoot::new();
        let api = api_server();
        node.container("shop", "gone-1", "app")
            .line("of a pod that is gone");
        let unlinked = node
            .pods()
            .join(format!("shop_late-1_{}/app", uid_of("late-1")));
        fs::create_dir_all(&unlinked).expect("a folder");
        fs::write(
            unlinked.join("0.log"),
            "2023-11-14T22:13:20Z stdout F without a link\n",
        )
        .expect("a log");
        let mut host = daemon_set(program, plugin, &node, &api);
        host.start().expect("it starts");
        host.wait_until(PATIENCE, "both lines", |host| printed(host).len() == 2);
        let records = printed(&host);
        let of = |pod: &str| {
            records
                .iter()
                .find(|record| record["pod"] == pod)
                .expect("its record")
        };
        let late = of("late-1");
        assert_eq!(text(late, "/kubernetes/pod_id"), api_uid("late-1"));
        assert_eq!(
            text(late, "/kubernetes/labels/app.kubernetes.io~1name"),
            "late-1"
        );
        assert_eq!(
            late.get("container_id"),
            None,
            "no id is made up for the record"
        );
        let gone = of("gone-1");
        assert_eq!(gone.get("kubernetes"), None);
        for (key, value) in [
            ("namespace", "shop"),
            ("container_name", "app"),
            ("log", "of a pod that is gone"),
        ] {
            assert_eq!(gone[key], value, "{gone}");
        }
    });
}

/// The manifest's documents, read by something that knows YAML.
fn documents() -> Result<Vec<Value>, String> {
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let text = run(Command::new("python3").args(["-c", script, MANIFEST]))?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// The mount that a path of the container is in.
fn mount_of<'a>(mounts: &'a [Value], path: &str) -> Option<&'a Value> {
    let is_above = |mount: &&Value| {
        let rest = path.strip_prefix(text(mount, "/mountPath"));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts
        .iter()
        .filter(is_above)
        .max_by_key(|mount| text(mount, "/mountPath").len())
}

#[test]
fn the_manifest_is_whole_and_mounts_what_its_configuration_names() {
    let name = "kubernetes::the_manifest_is_whole_and_mounts_what_its_configuration_names";
    if let Err(reason) = run(Command::new("python3").args(["-c", "import yaml"])) {
        return skip(
            name,
            &format!("no YAML for Python (Debian: python3-yaml): {reason}"),
        );
    }
    let documents = documents().expect("it is YAML");
    let of_kind = |kind: &str| {
        let mut found = documents.iter().filter(|document| document["kind"] == kind);
        found.next().unwrap_or_else(|| panic!("no {kind}"))
    };
    assert_eq!(documents.len(), 6);
    let config = &of_kind("ConfigMap")["data"];
    for file in ["fluent-bit.conf", "plugins.conf"] {
        assert_eq!(
            text(config, &format!("/{file}")),
            configured(file).trim_end().to_owned() + "\n",
            "{file}"
        );
    }

    // Whose rights they are, and that they are what the filter needs.
    let pod = &of_kind("DaemonSet")["spec"]["template"]["spec"];
    let (account, binding) = (of_kind("ServiceAccount"), of_kind("ClusterRoleBinding"));
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);
    let namespace = &of_kind("Namespace")["metadata"]["name"];
    let subject = json!([{"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": namespace}]);
    assert_eq!(binding["subjects"], subject);
    let role = of_kind("ClusterRole");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}])
    );
    let namespaced = documents
        .iter()
        .filter_map(|document| document.pointer("/metadata/namespace"));
    assert!(namespaced.clone().count() == 3 && namespaced.clone().all(|of| of == namespace));
    let labels = &of_kind("DaemonSet")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        &of_kind("DaemonSet")["spec"]["selector"]["matchLabels"],
        labels
    );

    // Each path is in a volume, but for the plugin, which is in the image.
    let container = &pod["containers"][0];
    let mounts = container["volumeMounts"].as_array().expect("mounts");
    let arguments = container["args"]
        .as_array()
        .expect("arguments")
        .iter()
        .filter_map(Value::as_str);
    let files = config
        .as_object()
        .expect("files")
        .values()
        .filter_map(Value::as_str);
    let words: Vec<&str> = arguments
        .chain(files)
        .flat_map(str::split_whitespace)
        .collect();
    let paths: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| word.starts_with('/'))
        .collect();
    assert_eq!(paths.len(), 5, "{paths:?}");
    for path in paths {
        let mount = mount_of(mounts, path);
        if path.starts_with("/fluent-bit/") {
            assert_eq!(mount, None, "{path} is hidden by a volume");
            continue;
        }
        let mount = mount.unwrap_or_else(|| panic!("{path} is in no volume"));
        let volumes = pod["volumes"].as_array().expect("volumes");
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == mount["name"])
            .expect("its volume");
        if let Some(file) = path.strip_prefix("/config/") {
            assert!(config.get(file).is_some(), "{path} is not in the ConfigMap");
            assert_eq!(
                volume["configMap"]["name"],
                of_kind("ConfigMap")["metadata"]["name"]
            );
            continue;
        }
        // A link leads to the path that it has on the node.
        assert_eq!(
            text(volume, "/hostPath/path"),
            text(mount, "/mountPath"),
            "{path}"
        );
        assert_eq!(
            mount["readOnly"] == true,
            !path.ends_with("positions.db"),
            "{path}"
        );
    }
    // The links with the ids are beside the logs.
    assert_eq!(
        mount_of(mounts, "/var/log/containers"),
        mount_of(mounts, "/var/log/pods")
    );
}
