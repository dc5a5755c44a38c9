//! Tasks of the repository that take more than a shell.

#![allow(
    clippy::disallowed_methods,
    reason = "a task reads what it wrote itself"
)]

mod picture;
mod runtimes;

use std::process::ExitCode;

use test_kit::in_project;

const USAGE: &str = "\
usage: xtask picture MINUTES    draws docs/metrics.svg
       xtask runtimes RELEASE   tries the runtimes of this machine, for docs/runtimes.json";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *words {
        ["picture", minutes] => minutes.parse::<f64>().ok().map(|minutes| {
            let file = in_project("docs/metrics.svg");
            picture::draw_to(&file, (minutes * 60.0) as u64).map_err(str::to_owned)
        }),
        ["runtimes", release] => Some(runtimes::add_to(&in_project("docs/runtimes.json"), release)),
        _ => None,
    };
    match done {
        Some(Ok(summary)) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Some(Err(reason)) => {
            eprintln!("xtask {}: {reason}", words[0]);
            ExitCode::FAILURE
        }
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
