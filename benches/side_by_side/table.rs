//! What was wanted, what was measured, and the verdict.

use std::path::Path;
use std::process::Command;

use crate::Failure;

struct Row {
    axis: String,
    target: String,
    measured: String,
    other: String,
    verdict: &'static str,
}

pub struct Table {
    heading: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    pub fn new(host: Option<&Path>) -> Result<Table, Failure> {
        let first_line = |program: &Path, argument: &str| {
            let output = Command::new(program).arg(argument).output().ok()?;
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .next()
                .map(str::to_owned)
        };
        let host = match host {
            Some(host) => {
                first_line(host, "--version").unwrap_or_else(|| host.display().to_string())
            }
            None => "no Fluent Bit: the playing host, without tail".to_owned(),
        };
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
        let git = Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .output()?;
        let commit = String::from_utf8_lossy(&git.stdout).trim().to_owned();
        let date = Command::new("date").args(["-u", "+%F %R UTC"]).output()?;
        let date = String::from_utf8_lossy(&date.stdout).trim().to_owned();
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        let heading = format!(
            "{date}, commit {commit}, {cpu}, Linux {}, {host}, load before the run {load}",
            kernel.trim()
        );
        Ok(Table {
            heading,
            rows: Vec::new(),
            notes: Vec::new(),
        })
    }

    pub fn heading(&self) -> &str {
        &self.heading
    }

    /// A row with a target.
    pub fn add(&mut self, axis: &str, target: &str, measured: String, other: String, is_met: bool) {
        self.push(
            axis,
            target,
            measured,
            other,
            if is_met { "met" } else { "NOT MET" },
        );
    }

    /// A row that could not be had here.
    pub fn skip(&mut self, axis: &str, target: &str, reason: &str) {
        self.push(
            axis,
            target,
            reason.to_owned(),
            String::new(),
            "not measured",
        );
    }

    fn push(
        &mut self,
        axis: &str,
        target: &str,
        measured: String,
        other: String,
        verdict: &'static str,
    ) {
        println!("{axis} | {target} | {measured} | {other} | {verdict}");
        let (axis, target) = (axis.to_owned(), target.to_owned());
        self.rows.push(Row {
            axis,
            target,
            measured,
            other,
            verdict,
        });
    }

    /// A line below the table.
    pub fn note(&mut self, text: String) {
        println!("{text}");
        self.notes.push(text);
    }

    pub fn text(&self) -> String {
        let mut text = String::from(
            "\n| axis | target | container_logs | compared with | verdict |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let Row {
                axis,
                target,
                measured,
                other,
                verdict,
            } = row;
            text += &format!("| {axis} | {target} | {measured} | {other} | {verdict} |\n");
        }
        for note in &self.notes {
            text += &format!("\n- {note}");
        }
        text
    }

    pub fn document(&self) -> String {
        format!(
            "{}\n{}\n{}\n\n{}",
            include_str!("heading.md"),
            self.heading,
            self.text(),
            include_str!("reading.md")
        )
    }
}

/// In the middle; what was measured `ROUNDS` times is compared by it.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) && middle > 0 {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted.get(middle).copied().unwrap_or(f64::NAN)
    }
}

/// `0.81 (0.79–0.85)`.
pub fn spread(values: &[f64], unit: &str) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values);
    let places = if middle < 10.0 { 2 } else { 1 };
    format!("{middle:.places$} {unit} ({lowest:.places$}–{highest:.places$})")
}
