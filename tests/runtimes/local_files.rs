//! Files that a real dockerd wrote in its `local` format, read by our decoder
//! in the simplest way: the container's own, and the dual-logging cache.

use std::path::{Path, PathBuf};

use fluent_bit_container_logs::format::local::{decode, first_frame, Frame};

use test_kit::dockerd::shared;
use test_kit::skip;
use test_kit::writer::{
    interleaved, literal, numbered, of_lengths, unterminated, Stream, EDGE_LENGTHS, TRICKY_TEXTS,
};

/// What the files hold: the lines of each stream, and how many of them had to
/// be joined. An unfinished line comes last.
#[derive(Default)]
struct Held {
    lines: [Vec<Vec<u8>>; 2],
    open: [Option<Vec<u8>>; 2],
    pieces: usize,
}

impl Held {
    fn read(&mut self, file: &Path) {
        let bytes = std::fs::read(file).expect("a log is readable");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Frame::Whole { message, length } = first_frame(rest) else {
                panic!(
                    "{}: {:?} at {}",
                    file.display(),
                    first_frame(rest),
                    bytes.len() - rest.len()
                )
            };
            let entry = decode(message).expect("a log entry");
            assert!(entry.time.seconds > 1_600_000_000, "{:?}", entry.time);
            assert_eq!(entry.attrs.count(), 0);
            let stream = entry.stream.index();
            let mut line = self.open[stream].take().unwrap_or_default();
            line.extend_from_slice(entry.line);
            match entry.ends_line {
                true => self.lines[stream].push(line),
                false => {
                    self.open[stream] = Some(line);
                    self.pieces += 1;
                }
            }
            rest = &rest[length..];
        }
    }
}

/// `name.9` … `name.1`, `name`, as far as they exist.
fn files(current: &Path) -> Vec<PathBuf> {
    let rotated = (1..100)
        .rev()
        .map(|number| PathBuf::from(format!("{}.{number}", current.display())));
    rotated
        .filter(|file| file.exists())
        .chain([current.to_owned()])
        .collect()
}

#[test]
fn what_a_real_daemon_wrote_decodes_byte_by_byte() {
    let docker = match shared() {
        Ok(docker) => docker,
        Err(reason) => {
            return skip(
                "local_files::what_a_real_daemon_wrote_decodes_byte_by_byte",
                &reason,
            )
        }
    };
    let known = numbered(Stream::Stdout, "line", 5000)
        .then(of_lengths(Stream::Stdout, &EDGE_LENGTHS))
        .then(of_lengths(Stream::Stderr, &EDGE_LENGTHS))
        .then(interleaved(500))
        .then(literal(Stream::Stderr, &TRICKY_TEXTS));
    // What no `String` holds: bytes that are no UTF-8, and a character that
    // the limit of a piece cuts in two.
    let end = unterminated(Stream::Stdout, 20_000);
    let sh = format!(
        "{}; printf 'bad \\377\\376 \\200\\n'; printf '%16383s\\303\\251\\n' ''; {}",
        known.sh, end.sh
    );
    let mut stdout: Vec<Vec<u8>> = known
        .of(Stream::Stdout)
        .iter()
        .map(|line| line.as_bytes().to_vec())
        .collect();
    stdout.push(b"bad \xff\xfe \x80".to_vec());
    stdout.push([&[b' '; 16_383][..], b"\xc3\xa9"].concat());
    let tail = end.of(Stream::Stdout)[0].as_bytes();

    let rotated = ["max-size=30k", "max-file=90", "compress=false"];
    let local = |options: &[&str]| {
        let options = options
            .iter()
            .flat_map(|option| ["--log-opt".to_owned(), option.to_string()]);
        ["--log-driver".to_owned(), "local".to_owned()]
            .into_iter()
            .chain(options)
            .collect::<Vec<_>>()
    };
    // A driver that cannot be read, so that Docker keeps a cache: somebody has
    // to take what it sends, or it keeps nothing.
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("syslog");
    let receiver = std::os::unix::net::UnixDatagram::bind(&socket).expect("a socket");
    std::thread::spawn(move || while receiver.recv(&mut [0; 1]).is_ok() {});
    let address = format!("syslog-address=unixgram://{}", socket.display());
    let syslog = ["--log-driver", "syslog", "--log-opt", &address];
    for (name, options, file) in [
        ("plain", local(&[]), "local-logs/container.log"),
        ("rotated", local(&rotated), "local-logs/container.log"),
        (
            "cache",
            syslog.map(str::to_owned).to_vec(),
            "container-cached.log",
        ),
    ] {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let id = docker
            .run_detached(&format!("local-{name}"), &options, &sh)
            .expect("docker run");
        assert_eq!(docker.wait(&id), Ok(0));
        let files = files(&docker.root().join("containers").join(&id).join(file));
        assert_eq!(files.len() > 1, name == "rotated", "{files:?}");
        let mut held = Held::default();
        for file in &files {
            held.read(file);
        }
        let [got_out, got_err] = &held.lines;
        assert_eq!(
            got_out
                .iter()
                .zip(&stdout)
                .position(|(got, want)| got != want),
            None,
            "{name}"
        );
        assert_eq!(got_out.len(), stdout.len(), "{name}");
        let stderr = known.of(Stream::Stderr);
        assert_eq!(
            got_err
                .iter()
                .zip(&stderr)
                .position(|(got, want)| got != want.as_bytes()),
            None,
            "{name}"
        );
        assert_eq!(got_err.len(), stderr.len(), "{name}");
        assert_eq!(held.open[0].as_deref(), Some(tail), "{name}");
        assert_eq!(held.open[1], None, "{name}");
    }
}
