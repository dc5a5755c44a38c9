//! What the daemon itself answers, asked in the plainest way: one request, the
//! whole answer, nothing interpreted but its framing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An answer to a request for logs.
#[derive(Debug)]
pub struct Logs {
    /// Time and text of each entry, as they came.
    pub entries: Vec<(String, String)>,
    /// Whether the daemon is older than 23: it does not say what it sends.
    pub is_of_old_daemon: bool,
}

impl Logs {
    /// The texts.
    pub fn texts(&self) -> Vec<&str> {
        self.entries.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// Asks for the log of a container without a terminal and reads to the end of the
/// answer. `query` is for example `follow=1&tail=10`.
pub fn logs(socket: &Path, id: &str, query: &str) -> Logs {
    logs_after(socket, id, query, || {})
}

/// As [`logs`], with something done once the answer has begun and before it is read.
pub fn logs_after(socket: &Path, id: &str, query: &str, before_reading: impl FnOnce()) -> Logs {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    let target = format!("/containers/{id}/logs?stdout=1&stderr=1&timestamps=1&{query}");
    let request = format!("GET {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = vec![0];
    stream.read_exact(&mut answer).expect("an answer");
    before_reading();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{target}: {head}");
    let mut body = &answer[end + 4..];
    let joined;
    if head.contains("transfer-encoding: chunked") {
        joined = join_chunks(body);
        body = &joined;
    }
    Logs {
        entries: entries(body),
        is_of_old_daemon: !head.contains("application/vnd.docker."),
    }
}

fn join_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length in hexadecimal");
        joined.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
    joined
}

fn entries(mut rest: &[u8]) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let [kind, _, _, _, length @ ..] = *header;
        assert!(
            kind < 3,
            "the daemon complains: {}",
            String::from_utf8_lossy(after)
        );
        let (frame, after) = after.split_at(u32::from_be_bytes(length) as usize);
        let frame = String::from_utf8_lossy(frame);
        let (time, text) = frame
            .trim_end_matches('\n')
            .split_once(' ')
            .expect("a time and a text");
        entries.push((time.to_owned(), text.to_owned()));
        rest = after;
    }
    entries
}
