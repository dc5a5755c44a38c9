//! A real Prometheus that scrapes one address every second, and its HTTP API.
//! It dies with the thread that started it (`setpriv --pdeathsig`).

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::fluent_bit::http_get;
use super::{programs, run, scratch, tail_of};

/// Debian's `prometheus`.
pub fn find() -> Option<PathBuf> {
    programs("prometheus").next()
}

/// Debian's `promtool`, of the same package.
pub fn find_promtool() -> Option<PathBuf> {
    programs("promtool").next()
}

/// Runs promtool; an error carries what it said.
pub fn promtool(program: &Path, arguments: &[&str], file: &Path) -> Result<String, String> {
    run(Command::new(program).args(arguments).arg(file))
}

/// A server with a folder and a port of its own. Dropping it kills the process.
pub struct Prometheus {
    dir: TempDir,
    port: u16,
    process: Child,
}

impl Prometheus {
    /// Starts it over `metrics_path` of the server at `port`, with the alert
    /// rules of `rules`.
    pub fn start(program: &Path, port: u16, metrics_path: &str, rules: &Path) -> Prometheus {
        let dir = TempDir::with_prefix_in("prometheus-", scratch()).expect("a folder");
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\nrule_files: ['{}']\nscrape_configs:\n\
             - job_name: fluent-bit\n  metrics_path: {metrics_path}\n  static_configs:\n  \
             - targets: ['127.0.0.1:{port}']\n",
            rules.display()
        );
        fs::write(dir.path().join("prometheus.yml"), config).expect("a file in a new folder");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let own_port = listener
            .local_addr()
            .expect("a bound socket has an address")
            .port();
        drop(listener);
        let log = fs::File::create(dir.path().join("log")).expect("a file in a new folder");
        let mut command = match programs("setpriv").next() {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .arg(format!(
                "--config.file={}",
                dir.path().join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{own_port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = command.spawn().expect("prometheus can be started");
        Prometheus {
            dir,
            port: own_port,
            process,
        }
    }

    /// Whether it answers queries; until then they are refused.
    pub fn is_ready(&self) -> bool {
        http_get(self.port, "/-/ready").is_ok()
    }

    /// The result of an instant query: an array of series, or a scalar. An
    /// error carries what Prometheus said of the query.
    pub fn query(&self, query: &str) -> Result<Value, String> {
        self.get(&format!("/api/v1/query?query={}", percent_encoded(query)))
    }

    /// The result of a query for each second from `start` on, in seconds since 1970.
    pub fn query_range(&self, query: &str, start: u64, end: u64) -> Result<Value, String> {
        let encoded = percent_encoded(query);
        self.get(&format!(
            "/api/v1/query_range?query={encoded}&start={start}&end={end}&step=1"
        ))
    }

    /// What its API has under `path`.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let answer = http_get(self.port, path).map_err(|error| {
            format!(
                "GET {path}: {error}\n{}",
                tail_of(&self.dir.path().join("log"), 10)
            )
        })?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        if answer["status"] == "success" {
            Ok(answer["data"].clone())
        } else {
            Err(answer.to_string())
        }
    }
}

fn percent_encoded(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
