//! What a record costs, beside Fluent Bit's own `tail` input with the docker
//! parser, in one run over one file, through a real Fluent Bit with `out_null`.
//!
//! Each figure is CPU time of the whole process until its input has counted
//! every record; compare the ratios, not the seconds: machines are shared.
//! `BENCH_RECORDS` sets the number of records (default 2,000,000).

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let records: u64 = std::env::var("BENCH_RECORDS").ok().map_or(Ok(2_000_000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let log = write_root(dir.path(), records)?;
    println!("{records} records, {} MB in one json-file", std::fs::metadata(&log)?.len() / 1_000_000);
    let Some(host) = find_host() else {
        println!("SKIPPED against_in_tail: no Fluent Bit (set FLUENT_BIT or put fluent-bit on PATH)");
        return Ok(());
    };
    let plugin = plugin()?;
    let parsers = dir.path().join("parsers.conf");
    std::fs::write(
        &parsers,
        "[PARSER]\n    Name docker\n    Format json\n    Time_Key time\n    Time_Format %Y-%m-%dT%H:%M:%S.%L\n",
    )?;
    let (log, parsers, root) = (text(&log), text(&parsers), text(dir.path()));
    let db = text(&dir.path().join("positions.db"));
    let path = format!("path={log}");
    let tail = ["-R", &parsers, "-i", "tail", "-p", &path, "-p", "read_from_head=on"];
    let plugin = text(&plugin);
    let (docker_root, db) = (format!("docker_root={root}"), format!("db={db}"));
    let ours = ["-e", &plugin, "-i", "container_logs", "-p", &docker_root, "-p", &db];

    // Once, not counted: the file comes into the page cache.
    std::io::copy(&mut File::open(&log)?, &mut std::io::sink())?;
    let mine = measure(&host, records, &ours, &[])?;
    report("container_logs, with metadata and DB", &mine, &mine);
    for (label, more) in [
        ("tail, parser docker", ["-p", "parser=docker"]),
        ("tail, multiline.parser docker", ["-p", "multiline.parser=docker"]),
    ] {
        let other = measure(&host, records, &tail, &more)?;
        report(label, &other, &mine);
    }
    Ok(())
}

struct Cost {
    cpu: Duration,
    wall: Duration,
    peak_kib: u64,
}

fn report(label: &str, cost: &Cost, mine: &Cost) {
    println!(
        "{label:40} cpu {:6.2} s  wall {:6.2} s  peak {:5} MiB  cpu ratio to ours {:5.2}",
        cost.cpu.as_secs_f64(),
        cost.wall.as_secs_f64(),
        cost.peak_kib / 1024,
        cost.cpu.as_secs_f64() / mine.cpu.as_secs_f64(),
    );
}

/// Runs the host until its input has counted `records` records.
fn measure(host: &Path, records: u64, input: &[&str], more: &[&str]) -> Result<Cost, Failure> {
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let started = Instant::now();
    let mut child = Running(
        Command::new(host)
            .args(["-q", "-f", "1", "-H", "-L", "127.0.0.1", "-P", &port.to_string()])
            .args(input)
            .args(more)
            .args(["-o", "null", "-m", "*"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let deadline = started + Duration::from_secs(300);
    loop {
        let counted = counted_records(port).unwrap_or(0);
        if counted >= records {
            assert_eq!(counted, records, "as many records as were written");
            break;
        }
        if let Some(status) = child.0.try_wait()? {
            return Err(format!("the host ended with {status}").into());
        }
        if Instant::now() > deadline {
            return Err(format!("only {counted} records within five minutes").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let wall = started.elapsed();
    let proc = PathBuf::from(format!("/proc/{}", child.0.id()));
    Ok(Cost { cpu: cpu_time(&proc)?, wall, peak_kib: peak_kib(&proc)? })
}

/// Killed when dropped, whatever happened.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The records of the first input, from the host's own metrics.
fn counted_records(port: u16) -> Option<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"GET /api/v1/metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let metrics: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    metrics["input"].as_object()?.values().next()?["records"].as_u64()
}

/// User and system time of all threads, from `/proc/PID/stat` in ticks of 10 ms.
fn cpu_time(proc: &Path) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(proc.join("stat"))?;
    let fields = stat.rsplit_once(')').ok_or("a stat line")?.1;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>()).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn peak_kib(proc: &Path) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(proc.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A Docker root with one container of `records` lines of ordinary length.
fn write_root(root: &Path, records: u64) -> Result<PathBuf, Failure> {
    let id = "a".repeat(64);
    let dir = root.join("containers").join(&id);
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("config.v2.json"), r#"{"Name":"/web","Config":{"Image":"shop/web:1.2"}}"#)?;
    let log = dir.join(format!("{id}-json.log"));
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&log)?);
    for number in 0..records {
        let (second, nanos) = (number / 2000, number * 499 % 1_000_000_000);
        writeln!(
            file,
            "{{\"log\":\"2026-11-23 10:00:00 INFO request {number:07} GET /api/v1/items?id={number:07} 200 12ms \
             user=alice\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-23T18:{:02}:{:02}.{nanos:09}Z\"}}",
            second / 60 % 60,
            second % 60,
        )?;
    }
    file.flush()?;
    Ok(log)
}

fn find_host() -> Option<PathBuf> {
    if let Some(host) = std::env::var_os("FLUENT_BIT") {
        return std::env::split_paths(&host).next();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("fluent-bit")).find(|file| file.is_file())
}

/// The release build of the plugin, which `make bench` made just before.
fn plugin() -> Result<PathBuf, Failure> {
    let benches = std::env::current_exe()?;
    let release = benches.ancestors().nth(2).ok_or("a target folder")?;
    let plugin = release.join("flb-in_container_logs.so");
    if plugin.is_file() {
        Ok(plugin)
    } else {
        Err(format!("{} is missing: run make", plugin.display()).into())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
