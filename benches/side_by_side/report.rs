//! The document: this machine, a table for each host, the growth, and how to read it.

use std::path::{Path, PathBuf};
use std::process::Command;

use test_kit::fluent_bit::find_shipped;

use crate::plot::draw;
use crate::table::Table;
use crate::Failure;

/// All that a run has measured.
pub struct Report {
    machine: String,
    hosts: Vec<(String, Table)>,
}

impl Report {
    pub fn new() -> Result<Report, Failure> {
        let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let cpu = format!(
            "{} × {}",
            std::thread::available_parallelism()?,
            model.map_or("unknown processor", |(_, name)| name)
        );
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let commit = said("git", &["describe", "--always", "--dirty"])?;
        let date = said("date", &["-u", "+%F %R UTC"])?;
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        let machine = format!(
            "{date}, commit {commit}, {cpu}, Linux {}, load before the run {load}",
            kernel.trim()
        );
        println!("{machine}");
        Ok(Report {
            machine,
            hosts: Vec::new(),
        })
    }

    pub fn add(&mut self, host: Option<&Path>, table: Table) {
        self.hosts.push((name_of(host), table));
    }

    /// The tables and the growth, in Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, table) in &self.hosts {
            text += &format!("## {name}\n\n{}\n\n", table.text());
        }
        for (_, table) in &self.hosts {
            if !table.panels.is_empty() {
                text +=
                    "## Growth\n\n![CPU against containers, lines a second and the length of a \
                         line](growth.svg)\n\n";
                text += &table.sections();
                text += "\n\n";
            }
        }
        text
    }

    /// Writes the document and its picture.
    pub fn write(&self) -> Result<(), Failure> {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let text = format!(
            "{}\n{}\n\n{}{}",
            include_str!("heading.md"),
            self.machine,
            self.text(),
            include_str!("reading.md")
        );
        std::fs::write(docs.join("benchmarks.md"), text)?;
        self.write_picture(&docs)?;
        println!("docs/benchmarks.md is written");
        Ok(())
    }

    /// Writes the picture, if there is one, below `folder`; gives its path.
    pub fn write_picture(&self, folder: &Path) -> Result<Option<PathBuf>, Failure> {
        let mut panels = self.hosts.iter().map(|(_, table)| &table.panels);
        let Some(panels) = panels.find(|panels| !panels.is_empty()) else {
            return Ok(None);
        };
        let file = folder.join("growth.svg");
        std::fs::write(&file, draw(panels)?)?;
        Ok(Some(file))
    }
}

/// What a program prints, without the line feed at its end.
fn said(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A host's version and how it is built.
fn name_of(host: Option<&Path>) -> String {
    let Some(host) = host else {
        return "The playing host, without tail".to_owned();
    };
    let version = said(&host.display().to_string(), &["--version"]).unwrap_or_default();
    let version = version.lines().next().unwrap_or("Fluent Bit").to_owned();
    match find_shipped() {
        Ok(shipped) if shipped == host => {
            format!("{version}, in the configuration of its packages and images")
        }
        _ => format!("{version}, built with its defaults"),
    }
}
