//! Tasks of the repository that take more than a shell.

#![allow(
    clippy::disallowed_methods,
    reason = "a task reads what it wrote itself"
)]

mod picture;

use std::process::ExitCode;

const USAGE: &str = "usage: xtask picture MINUTES    draws docs/metrics.svg";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let minutes = match &*arguments {
        [task, minutes] if task == "picture" => minutes.parse::<f64>().ok(),
        _ => None,
    };
    let Some(minutes) = minutes else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let file = test_kit::in_project("docs/metrics.svg");
    match picture::draw_to(&file, (minutes * 60.0) as u64) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("xtask picture: {reason}");
            ExitCode::FAILURE
        }
    }
}
