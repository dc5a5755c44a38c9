//! How much memory Fluent Bit takes with the plugin: bounded without any option, whatever the
//! backlog and whatever becomes of the output.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{bind, listen, socket, AddressFamily, SocketType};
use rustix::process::Signal;

use test_kit::collector::PATIENCE;
use test_kit::docker_root::{record, DockerRoot};
use test_kit::exporter::{scrape, value};
use test_kit::fluent_bit::{with_each_host, FluentBit};
use test_kit::receivers::http_on;

/// Most memory of the whole process at any time.
const MOST_KIB: usize = 120_000;
/// The default of `Buffered_Limit`, and a batch beyond it.
const LIMIT: f64 = 24_000_000.0;
const BATCH: f64 = (1 << 20) as f64;

/// Lines of 2 KB.
fn text(number: usize) -> String {
    format!("line {number} {:x<2000}", "")
}

/// A container with this many lines, written a thousand at a time.
fn backlog(root: &DockerRoot, lines: usize) {
    let mut log = root.container('a', "web");
    for first in (0..lines).step_by(1_000) {
        let numbers = first..lines.min(first + 1_000);
        let time = |number| format!("2026-11-14T22:13:20.{number:09}Z");
        let records = numbers.map(|number| record("stdout", &(text(number) + "\n"), &time(number)));
        log.raw(records.collect::<String>().as_bytes());
    }
}

/// `plugin` over `root` in `program`, with this output.
fn host_of(
    program: &Path,
    plugin: &Path,
    root: &DockerRoot,
    input: &str,
    output: &str,
) -> FluentBit {
    let host = FluentBit::new(program, Some(plugin), "").with_http_server();
    let yaml = format!(
        "service:\n  flush: 1\n  grace: 1\n  http_server: on\n  http_listen: 127.0.0.1\n  http_port: {port}\n  \
         scheduler.base: 1\n  scheduler.cap: 1\n  storage.path: {dir}/storage\n\
         pipeline:\n  inputs:\n    - name: container_logs\n      runtime: docker\n      docker_root: {root}\n      \
         docker_socket: off\n      metadata: off\n      db: {dir}/positions.db\n{input}  outputs:\n{output}",
        port = host.http_port(),
        dir = host.dir().display(),
        root = root.path().display(),
    );
    host.with_yaml(&yaml)
}

fn metric(host: &FluentBit, name: &str) -> Option<f64> {
    value(&scrape(host), name, &[])
}

/// A metric as a whole number, for `wait_to_reach`.
fn count(host: &FluentBit, name: &str) -> usize {
    metric(host, name).map_or(0, |value| value as usize)
}

fn highest_memory_kib(host: &FluentBit) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("it runs");
    let highest = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = highest.expect("its memory").trim().trim_end_matches(" kB");
    number.parse().expect("a number")
}

#[track_caller]
fn assert_light(host: &FluentBit, what: &str) {
    let kib = highest_memory_kib(host);
    println!("{what}: {kib} KiB at the highest");
    assert!(kib <= MOST_KIB, "{what}: {kib} KiB\n{}", host.stderr());
}

#[test]
fn a_backlog_of_300_mb_takes_less_than_120_mb() {
    const LINES: usize = 150_000;
    with_each_host(
        "memory::a_backlog_of_300_mb_takes_less_than_120_mb",
        |program, plugin| {
            let root = DockerRoot::new();
            backlog(&root, LINES);
            let output = "    - name: 'null'\n      match: '*'\n";
            let mut host = host_of(program, plugin, &root, "", output);
            host.start().expect("Fluent Bit starts");
            host.wait_to_reach(LINES, PATIENCE, "records", |host| {
                count(host, "records_total")
            });
            assert_light(&host, "out_null");
            assert!(!host.stderr().contains("paus"), "{}", host.stderr());
            host.end_in_order();
        },
    );
}

/// A socket with a port of its own that refuses connections until somebody listens.
fn deaf() -> OwnedFd {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket
}

/// First nobody listens; then somebody does who never answers, so that the output keeps what it
/// has formatted as well; then the outputs work.
#[test]
fn an_output_that_is_down_holds_reading_back_until_it_works_and_all_lines_arrive() {
    const LINES: usize = 60_000;
    let name =
        "memory::an_output_that_is_down_holds_reading_back_until_it_works_and_all_lines_arrive";
    with_each_host(name, |program, plugin| {
        let root = DockerRoot::new();
        backlog(&root, LINES);
        let receiver = TcpListener::from(deaf());
        let port = receiver.local_addr().expect("an address").port();
        let mut host = host_of(
            program,
            plugin,
            &root,
            "",
            &format!(
                "    - name: http\n      match: '*'\n      host: 127.0.0.1\n      port: {port}\n      \
                 format: json\n      retry_limit: no_limits\n"
            ),
        );
        let file = format!(
            "    - name: file\n      match: '*'\n      path: {}\n      file: records\n",
            host.dir().display()
        );
        let yaml =
            std::fs::read_to_string(host.dir().join("fluent-bit.yaml")).expect("it is there");
        host = host.with_yaml(&(yaml + &file));
        host.start().expect("Fluent Bit starts");
        let held_back = |host: &FluentBit| count(host, "held_back_seconds_total");
        host.wait_to_reach(5, PATIENCE, "seconds held back", held_back);
        let buffered = metric(&host, "buffered_bytes").expect("it is told");
        assert!((LIMIT..LIMIT + BATCH).contains(&buffered), "{buffered}");
        assert_light(&host, "nobody listens");
        listen(&receiver, 128).expect("it listens");
        let seconds = held_back(&host) + 5;
        host.wait_to_reach(seconds, PATIENCE, "seconds held back", held_back);
        assert!(count(&host, "records_total") < LINES, "all of it was taken");
        assert!(metric(&host, "lag_seconds") > Some(0.0), "no lag");
        assert_light(&host, "nobody answers");
        http_on(receiver);
        host.wait_to_reach(LINES, PATIENCE, "records", FluentBit::record_count);
        assert_light(&host, "all has arrived");
        assert!(!host.stderr().contains("paus"), "{}", host.stderr());
        host.signal(Signal::TERM);
        host.wait_exit(PATIENCE).expect("it ends");
        let records = host.records();
        for (number, record) in records.iter().enumerate() {
            assert_eq!(record.text("log"), text(number), "record {number}");
        }
        assert_eq!(records.len(), LINES);
    });
}

#[test]
fn memory_that_the_host_bounds_itself_is_left_to_it() {
    let name = "memory::memory_that_the_host_bounds_itself_is_left_to_it";
    with_each_host(name, |program, plugin| {
        let root = DockerRoot::new();
        backlog(&root, 1);
        for (input, limit) in [
            ("", Some(LIMIT)),
            ("      storage.type: memory\n", Some(LIMIT)),
            ("      storage.type: filesystem\n", None),
            ("      mem_buf_limit: 5M\n", None),
            ("      buffered_limit: off\n", None),
            (
                "      mem_buf_limit: 5M\n      buffered_limit: 3M\n",
                Some(3_000_000.0),
            ),
        ] {
            let output = "    - name: 'null'\n      match: '*'\n";
            let mut host = host_of(program, plugin, &root, input, output);
            host.start().expect("Fluent Bit starts");
            host.wait_to_reach(1, PATIENCE, "records", |host| count(host, "records_total"));
            assert_eq!(metric(&host, "buffered_limit_bytes"), limit, "{input:?}");
            assert!(metric(&host, "buffered_bytes").is_some(), "{input:?}");
            host.end_in_order();
        }
    });
}
