//! The program `tail-containers`, and the page that its `check` prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The one that cargo built with the tests.
pub fn program() -> PathBuf {
    super::profile_folder().join("tail-containers")
}

/// Over a Docker root, with nothing on its standard input, and from the beginning of each log
/// unless the arguments say otherwise.
pub fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(["--runtime", "docker", "--docker-root"])
        .arg(root)
        .args(whole(arguments))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// Switches for the whole history, if it may have them.
fn whole(arguments: &[&str]) -> &'static [&'static str] {
    let has_other = ["check", "import", "top", "--new"];
    match arguments.iter().any(|it| has_other.contains(it)) {
        true => &[],
        false => &["--tail", "all"],
    }
}

/// Runs it to its end.
pub fn run(root: &Path, arguments: &[&str]) -> Output {
    command(root, arguments)
        .output()
        .expect("tail-containers runs")
}

/// What is printed, and whether all can be read.
pub fn page(output: &Output) -> (String, bool) {
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(complaints, "", "{page}");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    (page, output.status.success())
}

/// The page of `check` over a Docker root.
pub fn check(root: &Path, arguments: &[&str]) -> (String, bool) {
    page(&run(root, &[&["check"], arguments].concat()))
}

/// Image, driver and source of the container in the table.
pub fn row(page: &str, name: &str) -> String {
    let row = page
        .lines()
        .find(|line| line.starts_with(&format!("  {name} ")));
    let cells = row.map(|row| row.split_whitespace().skip(1).collect::<Vec<_>>().join(" "));
    cells.unwrap_or_else(|| panic!("no {name} in {page}"))
}
