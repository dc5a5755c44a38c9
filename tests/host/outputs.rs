//! Through each output that people use, to whom it sends: what two containers
//! said arrives there once, with the name, the image, the project and a label of who said it, at the
//! nanosecond where the output keeps it.

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{DockerRoot, LogWriter};
use test_kit::fluent_bit::{http_get, version, with_each_host, FluentBit};
use test_kit::otlp;
use test_kit::receivers::{self, Request};

/// The time of the first entry of a [`LogWriter`] is one nanosecond later.
const BEFORE_THE_FIRST: u64 = 1_700_000_000_000_000_000;

/// What an output is to deliver of one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    container: String,
    time_ns: u64,
    image: String,
    project: String,
    /// A label of the container's.
    team: String,
    stream: String,
    text: String,
}

impl Line {
    /// Out of a record's body; panics where a key is missing.
    fn of(time_ns: u64, body: &Value) -> Line {
        let text = |key: &str| {
            let text = body[key].as_str();
            text.unwrap_or_else(|| panic!("no text {key} in {body:.300}"))
                .to_owned()
        };
        Line {
            container: text("container_name"),
            time_ns,
            image: text("image"),
            project: text("compose_project"),
            team: body["labels"]["team"]
                .as_str()
                .unwrap_or_else(|| panic!("no label in {body:.300}"))
                .to_owned(),
            stream: text("stream"),
            text: text("log"),
        }
    }

    fn at(self, time_ns: u64) -> Line {
        Line { time_ns, ..self }
    }
}

/// Two containers, and what they say.
struct Shop {
    root: DockerRoot,
    lines: Vec<Line>,
    /// Held open, as dockerd does.
    _writers: Vec<LogWriter>,
}

impl Shop {
    fn open() -> Shop {
        let root = DockerRoot::new();
        let mut lines = Vec::new();
        let mut writers = Vec::new();
        for (digit, name) in [('a', "shop-web-1"), ('b', "shop-checkout-1")] {
            let mut writer = root.container(digit, name);
            let team = format!("team of {name}");
            let labels = serde_json::json!({"com.docker.compose.project": "shop", "team": team, "other": "x"});
            writer.write_config_with(name, true, labels, &[]);
            for (number, (stream, text)) in said_by(name).into_iter().enumerate() {
                if text.len() < 16_384 {
                    writer.entry(stream, &format!("{text}\n"));
                } else {
                    writer.long_line(stream, &text);
                }
                lines.push(Line {
                    container: name.to_owned(),
                    time_ns: BEFORE_THE_FIRST + number as u64 + 1,
                    image: "shop/web:1.2".to_owned(),
                    project: "shop".to_owned(),
                    team: format!("team of {name}"),
                    stream: stream.to_owned(),
                    text,
                });
            }
            writers.push(writer);
        }
        lines.sort();
        Shop {
            root,
            lines,
            _writers: writers,
        }
    }

    /// Runs a host with this output until all lines have arrived, and once more
    /// through an orderly end: then every line must be there exactly once.
    /// `resolution_ns` is what the output keeps of a time.
    fn deliver(
        &self,
        program: &Path,
        plugin: &Path,
        output: &str,
        resolution_ns: u64,
        received: impl Fn(&FluentBit) -> Vec<Line>,
    ) {
        let input = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    Tag_Template docker.{{name}}\n    Labels team\n",
            self.root.path().display()
        );
        let mut host = FluentBit::new(program, Some(plugin), &(input + output));
        host.start().expect("Fluent Bit starts");
        host.wait_until(PATIENCE, "every line at the receiver", |host| {
            received(host).len() >= self.lines.len()
        });
        host.end_in_order();
        let mut received = received(&host);
        received.sort();
        let expected = self.lines.iter().cloned().map(|line| {
            let kept = line.time_ns / resolution_ns * resolution_ns;
            line.at(kept)
        });
        let mut expected: Vec<Line> = expected.collect();
        expected.sort();
        let first = received
            .iter()
            .zip(&expected)
            .find(|(got, want)| got != want);
        assert!(
            first.is_none(),
            "got, expected: {first:.600?}\n{}",
            host.stderr()
        );
        assert_eq!(received.len(), expected.len(), "{}", host.stderr());
    }
}

/// Plain lines, and what outputs like to stumble over.
fn said_by(name: &str) -> Vec<(&'static str, String)> {
    let mut said: Vec<(&str, String)> = (0..300)
        .map(|number| {
            (
                if number % 3 == 0 { "stderr" } else { "stdout" },
                format!("{name} line {number}"),
            )
        })
        .collect();
    said.extend([
        (
            "stdout",
            "\"quoted\" \\ back\\\\slash \t tab {\"json\": [1, null]}".to_owned(),
        ),
        ("stderr", "Zürich 世界 \u{1f600} \u{2028}".to_owned()),
        ("stdout", "  blanks around  ".to_owned()),
        // Three pieces of Docker's.
        ("stdout", "0123456789".repeat(4000)),
        ("stderr", "the last one".to_owned()),
    ]);
    said
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text)
        .unwrap_or_else(|error| panic!("{error} in {:.300}", String::from_utf8_lossy(text)))
}

/// The time that Fluent Bit's JSON writes under `date`: seconds with a fraction.
fn seconds_and_microseconds(date: &Value) -> u64 {
    (date.as_f64().expect("a number") * 1e6).round() as u64 * 1000
}

#[test]
fn file() {
    with_each_host("outputs::file", |program, plugin| {
        // The harness of these tests has this output in every configuration.
        Shop::open().deliver(program, plugin, "", 1, |host| {
            let records = host.records();
            assert!(records
                .iter()
                .all(|record| record.tag == format!("docker.{}", record.text("container_name"))));
            records
                .iter()
                .map(|record| Line::of(record.time_ns, &record.body))
                .collect()
        });
    });
}

#[test]
fn stdout() {
    with_each_host("outputs::stdout", |program, plugin| {
        let output = "[OUTPUT]\n    Name stdout\n    Match docker.*\n    Format json_lines\n";
        Shop::open().deliver(program, plugin, output, 1000, |host| {
            let text = host.stdout();
            let complete = text
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'));
            let records = complete
                .filter(|line| line.starts_with('{'))
                .map(|line| json(line.as_bytes()));
            records
                .map(|body| Line::of(seconds_and_microseconds(&body["date"]), &body))
                .collect()
        });
    });
}

/// `[OUTPUT]` for a receiver of this process.
fn output(name: &str, port: u16, lines: &[&str]) -> String {
    let mut text = format!(
        "[OUTPUT]\n    Name {name}\n    Match docker.*\n    Host 127.0.0.1\n    Port {port}\n"
    );
    for line in lines {
        text.push_str(&format!("    {line}\n"));
    }
    text
}

#[test]
fn http_as_json() {
    with_each_host("outputs::http_as_json", |program, plugin| {
        let receiver = receivers::http();
        let output = output(
            "http",
            receiver.port(),
            &["URI /logs", "Format json", "Header_Tag X-Tag"],
        );
        Shop::open().deliver(program, plugin, &output, 1000, |_| {
            let requests = receiver.received();
            let records = requests.iter().flat_map(|request| {
                assert_eq!(request.path, "/logs");
                let records = json(&request.body).as_array().expect("an array").clone();
                let tag = request.header("x-tag").to_owned();
                records.into_iter().inspect(move |body| {
                    assert_eq!(
                        Some(tag.as_str()),
                        body["container_name"]
                            .as_str()
                            .map(|name| format!("docker.{name}"))
                            .as_deref()
                    );
                })
            });
            records
                .map(|body| Line::of(seconds_and_microseconds(&body["date"]), &body))
                .collect()
        });
    });
}

#[test]
fn http_as_msgpack() {
    with_each_host("outputs::http_as_msgpack", |program, plugin| {
        let receiver = receivers::http();
        let output = output(
            "http",
            receiver.port(),
            &["Format msgpack", "Compress gzip"],
        );
        Shop::open().deliver(program, plugin, &output, 1, |_| {
            let mut lines = Vec::new();
            for request in receiver.received() {
                assert_eq!(request.header("content-type"), "application/msgpack");
                assert_eq!(request.header("content-encoding"), "gzip");
                let mut rest = request.body.as_slice();
                while !rest.is_empty() {
                    let record = rmpv::decode::read_value(&mut rest).expect("MessagePack");
                    let record = record.as_array().expect("a record").clone();
                    lines.push(line_of_msgpack(&record[0], &record[1]));
                }
            }
            lines
        });
    });
}

/// A record in MessagePack: its time stands alone, or before its metadata.
fn line_of_msgpack(time: &rmpv::Value, body: &rmpv::Value) -> Line {
    let time = time.as_array().map_or(time, |head| &head[0]);
    let (kind, time) = time.as_ext().expect("an EventTime");
    assert_eq!((kind, time.len()), (0, 8));
    let half = |at: usize| {
        u64::from(u32::from_be_bytes(
            time[at..at + 4].try_into().expect("four bytes"),
        ))
    };
    Line::of(half(0) * 1_000_000_000 + half(4), &json_of_msgpack(body))
}

fn json_of_msgpack(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| {
                (
                    key.as_str().expect("a text").to_owned(),
                    json_of_msgpack(value),
                )
            });
            Value::Object(entries.collect())
        }
        other => other.as_str().expect("a text or a map").into(),
    }
}

#[test]
fn forward_with_acknowledgement() {
    with_each_host(
        "outputs::forward_with_acknowledgement",
        |program, plugin| {
            let receiver = receivers::forward();
            let lines = ["Require_Ack_Response true", "Compress gzip"];
            let output = output("forward", receiver.port(), &lines);
            Shop::open().deliver(program, plugin, &output, 1, |_| {
                let events = receiver.received().into_iter();
                events
                    .map(|event| {
                        let line = line_of_msgpack(&event.time, &event.body);
                        assert_eq!(event.tag, format!("docker.{}", line.container));
                        line
                    })
                    .collect()
            });
        },
    );
}

#[test]
fn forward_to_another_fluent_bit() {
    with_each_host(
        "outputs::forward_to_another_fluent_bit",
        |program, plugin| {
            let port = free_port();
            let input =
                format!("[INPUT]\n    Name forward\n    Listen 127.0.0.1\n    Port {port}\n");
            let mut aggregator = FluentBit::new(program, None, &input);
            aggregator.start().expect("Fluent Bit starts");
            aggregator.wait_until(PATIENCE, "the port", |_| {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            Shop::open().deliver(program, plugin, &output("forward", port, &[]), 1, |_| {
                aggregator
                    .records()
                    .iter()
                    .map(|record| Line::of(record.time_ns, &record.body))
                    .collect()
            });
        },
    );
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// What Loki indexes is who said it and on which stream. The line has the rest:
/// as JSON, or the bare text where nothing else is left.
#[test]
fn loki() {
    with_each_host("outputs::loki", |program, plugin| {
        let labels = [
            "Labels job=docker, team=$labels['team']",
            "Label_Keys $container_name,$stream,$image,$compose_project",
        ];
        let as_text = [
            "Remove_Keys container_id,labels",
            "Drop_Single_Key on",
            "Line_Format key_value",
        ];
        for (lines, is_json) in [(["Compress gzip", "", ""], true), (as_text, false)] {
            let receiver = receivers::http();
            let output = output(
                "loki",
                receiver.port(),
                &[labels.as_slice(), &lines].concat(),
            );
            Shop::open().deliver(program, plugin, &output, 1, |_| {
                let requests = receiver.received();
                let encoding = if is_json { "gzip" } else { "" };
                assert!(requests
                    .iter()
                    .all(|request| request.header("content-encoding") == encoding));
                requests
                    .iter()
                    .flat_map(|request| pushed(request, is_json))
                    .collect()
            });
        }
    });
}

/// The lines of a push request of Loki.
fn pushed(request: &Request, is_json: bool) -> Vec<Line> {
    assert_eq!(request.path, "/loki/api/v1/push");
    let push = json(&request.body);
    let mut lines = Vec::new();
    for stream in push["streams"].as_array().expect("streams") {
        let labels = stream["stream"].as_object().expect("labels");
        assert_eq!(labels["job"], "docker");
        for value in stream["values"].as_array().expect("values") {
            let time = value[0]
                .as_str()
                .expect("a time")
                .parse()
                .expect("nanoseconds");
            let text = value[1].as_str().expect("a line");
            let rest = if is_json {
                json(text.as_bytes())
            } else {
                serde_json::json!({ "log": text })
            };
            let mut body = labels.clone();
            body.extend(rest.as_object().expect("fields").clone());
            // What became a label is no longer in the line.
            body.insert(
                "labels".to_owned(),
                serde_json::json!({"team": labels["team"]}),
            );
            assert_eq!(labels.len(), 6, "{labels:?}");
            lines.push(Line::of(time, &Value::Object(body)));
        }
    }
    lines
}

#[test]
fn opentelemetry() {
    with_each_host("outputs::opentelemetry", |program, plugin| {
        let receiver = receivers::http();
        let lines = [
            "Logs_URI /v1/logs",
            "Logs_Body_Key $log",
            "Logs_Body_Key_Attributes true",
        ];
        let output = output("opentelemetry", receiver.port(), &lines);
        Shop::open().deliver(program, plugin, &output, 1, |_| {
            receiver.received().iter().flat_map(exported).collect()
        });
    });
}

/// The lines of an OTLP request, whose body is the text.
fn exported(request: &Request) -> Vec<Line> {
    assert_eq!(request.path, "/v1/logs");
    assert_eq!(request.header("content-type"), "application/x-protobuf");
    let export = otlp::ExportLogs::parse(&request.body).expect("OTLP");
    let records = export.records().map(|(_, record)| {
        let mut body = otlp::map_to_json(record.attributes);
        body["log"] = otlp::to_json(record.body);
        Line::of(record.time_unix_nano, &body)
    });
    records.collect()
}

/// `Metadata otel`: the container is the resource of its records, though both
/// containers share a chunk.
#[test]
fn opentelemetry_resources() {
    let name = "outputs::opentelemetry_resources";
    with_each_host(name, |program, plugin| {
        let shop = Shop::open();
        let receiver = receivers::http();
        let config = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    Tag docker.all\n    Metadata otel\n    Labels team\n{}",
            shop.root.path().display(),
            output("opentelemetry", receiver.port(), &["Logs_URI /v1/logs", "Logs_Body_Key $log"]),
        );
        let mut host = FluentBit::new(program, Some(plugin), &config);
        host.start().expect("Fluent Bit starts");
        if version(program).expect("a version").starts_with("v3.0.") {
            host.wait_until(PATIENCE, "the refusal", |host| {
                host.stderr().contains("use Fluent Bit 3.2 or later")
            });
            assert!(!host.wait_exit(PATIENCE).expect("it refuses").success());
            return;
        }
        let received = || {
            let requests = receiver.received();
            let records = requests.iter().flat_map(|request| {
                let export = otlp::ExportLogs::parse(&request.body).expect("OTLP");
                export.records().collect::<Vec<_>>()
            });
            let lines = records.map(|(resource, record)| {
                let resource = otlp::map_to_json(resource);
                assert_eq!(
                    resource["container.id"].as_str().map(str::len),
                    Some(64),
                    "{resource}"
                );
                assert_eq!(resource["container.runtime"], "docker", "{resource}");
                let attributes = otlp::map_to_json(record.attributes);
                let tags = resource["container.image.tags"][0].as_str();
                let image = resource["container.image.name"].as_str().zip(tags);
                Line::of(
                    record.time_unix_nano,
                    &serde_json::json!({
                        "log": otlp::to_json(record.body),
                        "stream": attributes["log.iostream"],
                        "container_name": resource["container.name"],
                        "image": image.map(|(name, tag)| format!("{name}:{tag}")),
                        "compose_project": resource["compose_project"],
                        "labels": {"team": resource["container.label.team"]},
                    }),
                )
            });
            lines.collect::<Vec<Line>>()
        };
        host.wait_until(PATIENCE, "every line at the receiver", |_| {
            received().len() >= shop.lines.len()
        });
        host.end_in_order();
        let mut lines = received();
        lines.sort();
        let first = lines
            .iter()
            .zip(&shop.lines)
            .find(|(got, want)| got != want);
        assert!(
            first.is_none() && lines.len() == shop.lines.len(),
            "got, expected: {first:.600?}"
        );
        // To other outputs the groups do not show.
        let records = host.records();
        assert_eq!(records.len(), shop.lines.len());
    });
}

/// What docs/opentelemetry.md says of filters: one that writes records anew drops
/// the groups, and no record.
#[test]
fn opentelemetry_through_a_filter() {
    with_each_host(
        "outputs::opentelemetry_through_a_filter",
        |program, plugin| {
            if version(program).expect("a version").starts_with("v3.0.") {
                return;
            }
            let shop = Shop::open();
            let config = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Docker_Root {}\n    Tag docker.all\n    Metadata otel\n\
             [FILTER]\n    Name modify\n    Match *\n    Add seen yes\n",
            shop.root.path().display(),
        );
            let mut host = FluentBit::new(program, Some(plugin), &config);
            host.start().expect("Fluent Bit starts");
            host.wait_until(PATIENCE, "every record", |host| {
                host.record_count() >= shop.lines.len()
            });
            host.end_in_order();
            let records = host.records();
            assert_eq!(records.len(), shop.lines.len());
            assert!(records
                .iter()
                .all(|record| record.body["seen"] == "yes" && !record.text("log").is_empty()));
        },
    );
}

/// The host's own count of our records, as Prometheus reads it.
#[test]
fn prometheus_exporter() {
    with_each_host("outputs::prometheus_exporter", |program, plugin| {
        let shop = Shop::open();
        let port = free_port();
        let config = format!(
            "[INPUT]\n    Name container_logs\n    Runtime docker\n    Alias docker\n    Docker_Root {}\n    Tag logs\n\
             [INPUT]\n    Name fluentbit_metrics\n    Tag metrics\n    Scrape_Interval 1\n\
             [OUTPUT]\n    Name prometheus_exporter\n    Match metrics\n    Host 127.0.0.1\n    Port {port}\n",
            shop.root.path().display()
        );
        let mut host = FluentBit::new(program, Some(plugin), &config);
        host.start().expect("Fluent Bit starts");
        let expected = shop.lines.len() as f64;
        let mut seen = None;
        host.wait_until(PATIENCE, "the count of records", |_| {
            let metrics = http_get(port, "/metrics").unwrap_or_default();
            let count = metrics.lines().find_map(|line| {
                line.strip_prefix("fluentbit_input_records_total{name=\"docker\"} ")
            });
            seen = count.map(|count| count.trim().parse::<f64>().expect("a number"));
            seen == Some(expected)
        });
        host.end_in_order();
    });
}
