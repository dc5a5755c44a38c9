//! The row over a log that only Docker's API has. The daemon is the tests' (no `dockerd` is
//! needed); beside the plugin, Fluent Bit's `stdin` reads what a client prints, as in
//! `docker logs -f -t NAME | fluent-bit -i stdin`. The client is this program.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use test_kit::played_api::{PlayedApi, PlayedContainer};

use crate::data::{container, plain_lines};
use crate::host::Lab;
use crate::probe::Compared;
use crate::runner::{compare, run_in_turns, Runner};
use crate::table::Table;
use crate::{records, Failure};

/// The first argument of this program where it is the client.
pub const CLIENT: &str = "--follow-log";

/// A log driver that keeps nothing on this machine but what `docker logs` can read.
const DRIVER: &str = "loki";

/// CPU of the host that reads a log from the API.
pub fn row(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let folder = lab.folder()?;
    let root = folder.path();
    let id = container(root, 0, DRIVER)?.1;
    let mut log = Vec::new();
    let expected = plain_lines(records()? / 10, |text, time| {
        log.push((1, time.to_owned(), format!("{text}\n")));
        Ok(())
    })?;
    let played = PlayedContainer {
        name: "web-0".into(),
        driver: DRIVER.into(),
        state: "running".into(),
        log: Some(log),
    };
    let api = PlayedApi::of_docker([(id.clone(), played)]);
    let program = std::env::current_exe()?;
    let mut runners = [
        Runner::checked(
            lab,
            "container_logs",
            root,
            (&expected, Compared::Times),
            || {
                lab.ours(root, &lab.fresh("api.db"))
                    .with(&format!("docker_socket={}", api.socket()))
            },
        )?,
        Runner::checked(
            lab,
            "docker logs | stdin",
            root,
            (&expected, Compared::Texts),
            || {
                let mut client = Command::new(&program);
                client.args([CLIENT, &api.socket(), &id]);
                lab.stdin(client)
            },
        )?,
    ];
    run_in_turns(lab, &mut runners)?;
    let [mine, other] = &runners;
    let axis = "CPU, a log from Docker's API, with metadata and position";
    let target = "≤ 1/5 of stdin behind a client such as docker logs -f -t";
    compare(table, axis, target, mine, other, 5.0);
    Ok(())
}

/// Prints a container's log with its times, and what follows, as `docker logs -f -t` does: a
/// write for each frame.
pub fn follow(socket: &str, id: &str) -> Result<(), Failure> {
    let mut stream = UnixStream::connect(socket)?;
    let target = format!("/containers/{id}/logs?follow=1&stdout=1&stderr=1&timestamps=1");
    write!(stream, "GET {target} HTTP/1.1\r\nHost: docker\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(32 * 1024, stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let (mut header, mut frame) = ([0; 8], Vec::new());
    let mut output = std::fs::File::from(rustix::io::dup(std::io::stdout())?);
    loop {
        reader.read_exact(&mut header)?;
        let [_, _, _, _, length @ ..] = header;
        frame.resize(u32::from_be_bytes(length) as usize, 0);
        reader.read_exact(&mut frame)?;
        output.write_all(&frame)?;
    }
}
