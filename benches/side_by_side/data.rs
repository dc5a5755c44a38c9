//! Docker roots with logs whose content is known.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::Compression;

use crate::probe::{Answer, Field};
use crate::Failure;

/// 2026-11-23T18:00:00Z
const FIRST_SECOND: u64 = 1_795_456_800;

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    JsonFile,
    Local,
    Cri,
}

/// What the records of a big file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Lines of a web server.
    Plain,
    /// Lines that are JSON objects.
    Objects,
    /// Lines of a web server and stack traces of Java, in turn.
    Traces,
}

/// The fields of `Content::Objects` that are the same in each line.
const OBJECT_FIELDS: [Field<'_>; 5] = [
    ("level", b"info"),
    ("method", b"GET"),
    ("path", b"/api/v1/items"),
    ("status", &200u64.to_be_bytes()),
    ("user", b"alice"),
];

/// A big file, and what its records are.
#[derive(Default)]
pub struct Written {
    pub bytes: u64,
    pub lines: u64,
    pub without_metadata: Answer,
    /// With what Docker knows of the container.
    pub with_metadata: Answer,
}

/// A line that Docker gives in pieces has pieces of this size.
const PIECE_BYTES: usize = 16 * 1024;

/// The folder of container `number`, with its metadata, and its id.
pub fn container(root: &Path, number: usize, driver: &str) -> Result<(PathBuf, String), Failure> {
    let id = id_of(number);
    let dir = root.join("containers").join(&id);
    std::fs::create_dir_all(&dir)?;
    let config = serde_json::json!({
        "ID": id,
        "Name": format!("/{}", name_of(number)),
        "Config": {"Image": IMAGE, "Labels": {}},
        "State": {"Running": true},
    });
    std::fs::write(dir.join("config.v2.json"), config.to_string())?;
    let host_config = serde_json::json!({"LogConfig": {"Type": driver, "Config": {}}});
    std::fs::write(dir.join("hostconfig.json"), host_config.to_string())?;
    Ok((dir, id))
}

const IMAGE: &str = "shop/web:1.2";

fn name_of(number: usize) -> String {
    format!("web-{number}")
}

/// Spread like real ones, and the same in each run.
fn id_of(number: usize) -> String {
    (0..4u64)
        .map(|part| {
            format!(
                "{:016x}",
                (number as u64 * 4 + part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            )
        })
        .collect()
}

impl Format {
    /// The format that `FORMAT` names, for the rows over many containers.
    pub fn of_rows() -> Result<Format, Failure> {
        match std::env::var("FORMAT").as_deref() {
            Err(_) | Ok("json-file") => Ok(Format::JsonFile),
            Ok("cri") => Ok(Format::Cri),
            Ok(other) => Err(format!("FORMAT: {other} is neither json-file nor cri").into()),
        }
    }

    /// The folder below a root in which its containers are.
    pub fn folder(self) -> &'static str {
        match self {
            Format::JsonFile | Format::Local => "containers",
            Format::Cri => "pods",
        }
    }

    /// The log of container `number`, in a folder made for it.
    pub fn log(self, root: &Path, number: usize) -> Result<PathBuf, Failure> {
        match self {
            Format::JsonFile => {
                let (dir, id) = container(root, number, "json-file")?;
                Ok(dir.join(format!("{id}-json.log")))
            }
            Format::Local => {
                let dir = container(root, number, "local")?.0.join("local-logs");
                std::fs::create_dir_all(&dir)?;
                Ok(dir.join("container.log"))
            }
            Format::Cri => {
                let pod = format!("shop_web-{number}_0e8a3c1e-4f6b-4a57-9d3e-{number:012x}");
                let dir = root.join("pods").join(pod).join("web");
                std::fs::create_dir_all(&dir)?;
                let log = dir.join("0.log");
                // The kubelet's link, which tells the id.
                let links = root.join("containers");
                std::fs::create_dir_all(&links)?;
                let link = links.join(format!("web-{number}_shop_web-{}.log", id_of(number)));
                let _ = std::fs::remove_file(&link);
                std::os::unix::fs::symlink(&log, link)?;
                Ok(log)
            }
        }
    }

    /// One entry.
    pub fn put_line(self, out: &mut Vec<u8>, text: &[u8], nanos: u64) -> Result<(), Failure> {
        match self {
            Format::JsonFile => put_json_line(out, text, "\\n", nanos),
            Format::Local => {
                put_frame(out, text, nanos);
                Ok(())
            }
            Format::Cri => put_cri_line(out, text, nanos),
        }
    }
}

/// One container with `records` records.
pub fn write_big_file(
    root: &Path,
    format: Format,
    content: Content,
    records: u64,
) -> Result<Written, Failure> {
    let log = format.log(root, 0)?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&log)?);
    let mut written = put_records(&mut file, format, content, 0..records)?;
    file.flush()?;
    written.bytes = std::fs::metadata(&log)?.len();
    Ok(written)
}

/// Three compressed generations and a current one, as [`write_big_file`] would have them in one;
/// plain bytes of the former.
pub fn compressed_files(root: &Path, records: u64) -> Result<Written, Failure> {
    let (format, content) = (Format::JsonFile, Content::Plain);
    let log = format.log(root, 0)?;
    let mut current = File::create(&log)?;
    let last = records.saturating_sub(1);
    let mut all = put_records(&mut current, format, content, last..records)?;
    all.bytes = 0;
    for (index, name) in (0..3).zip([".3.gz", ".2.gz", ".1.gz"]) {
        let mut plain = Vec::new();
        let numbers = last * index / 3..last * (index + 1) / 3;
        let written = put_records(&mut plain, format, content, numbers)?;
        let file = File::create(format!("{}{name}", log.display()))?;
        let mut gzip = GzEncoder::new(file, Compression::new(6));
        gzip.write_all(&plain)?;
        gzip.finish()?;
        all = Written {
            bytes: all.bytes + plain.len() as u64,
            lines: all.lines + written.lines,
            without_metadata: all.without_metadata.join(written.without_metadata),
            with_metadata: all.with_metadata.join(written.with_metadata),
        };
    }
    Ok(all)
}

/// Writes records and tells what they are; the bytes are not counted.
fn put_records(
    out: &mut impl Write,
    format: Format,
    content: Content,
    numbers: std::ops::Range<u64>,
) -> Result<Written, Failure> {
    let (id, name) = (id_of(0), name_of(0));
    let metadata: [Field<'_>; 3] = [
        ("container_id", id.as_bytes()),
        ("container_name", name.as_bytes()),
        ("image", IMAGE.as_bytes()),
    ];
    let (mut written, mut text, mut line) = (Written::default(), Vec::new(), Vec::new());
    for number in numbers {
        let nanos = time_of(number);
        text.clear();
        content.put(&mut text, number)?;
        for part in text.split(|byte| *byte == b'\n') {
            line.clear();
            format.put_line(&mut line, part, nanos)?;
            out.write_all(&line)?;
            written.lines += 1;
        }
        let request = format!("{number:07}");
        let mut fields: Vec<Field<'_>> = vec![("stream", b"stdout")];
        if content == Content::Objects {
            text.clear();
            fields.extend(OBJECT_FIELDS);
            fields.push(("request", request.as_bytes()));
        }
        written.without_metadata.add_record(&text, nanos, &fields);
        fields.extend(metadata);
        written.with_metadata.add_record(&text, nanos, &fields);
    }
    Ok(written)
}

impl Content {
    /// The text of a record, whose lines are one log entry each.
    fn put(self, text: &mut Vec<u8>, number: u64) -> Result<(), Failure> {
        match self {
            Content::Traces if number % 2 == 1 => write!(
                text,
                "java.lang.IllegalStateException: request {number:07} has no stock\n\
                 \tat shop.Stock.take(Stock.java:41)\n\
                 \tat shop.Order.place(Order.java:118)\n\
                 \tat shop.Web.post(Web.java:77)"
            )?,
            Content::Plain | Content::Traces => put_text(text, number)?,
            Content::Objects => write!(
                text,
                r#"{{"level":"info","method":"GET","path":"/api/v1/items","status":200,"user":"alice","request":"{number:07}"}}"#
            )?,
        }
        Ok(())
    }
}

/// One container with `count` lines of this length, as Docker writes them; gives how many entries
/// they are.
pub fn lines_of_length(root: &Path, length: usize, count: u64) -> Result<(u64, Answer), Failure> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(Format::JsonFile.log(root, 0)?)?);
    let (mut text, mut line) = (Vec::new(), Vec::new());
    let (mut pieces, mut answer) = (0, Answer::default());
    for number in 0..count {
        let nanos = time_of(number);
        text.clear();
        write!(text, "{number:07} ")?;
        text.resize(length, b'.');
        line.clear();
        let mut parts = text.chunks(PIECE_BYTES).peekable();
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_some() { "" } else { "\\n" };
            put_json_line(&mut line, part, end, nanos)?;
            pieces += 1;
        }
        file.write_all(&line)?;
        answer.add(&text, nanos);
    }
    file.flush()?;
    Ok((pieces, answer))
}

/// The time of a line: about 2,000 lines a second, with nine digits.
pub fn time_of(number: u64) -> u64 {
    (FIRST_SECOND + number / 2000) * 1_000_000_000 + number % 2000 * 499_321 + 1
}

/// The text of a line.
pub fn put_text(text: &mut Vec<u8>, number: u64) -> Result<(), Failure> {
    text.clear();
    write!(
        text,
        "2026-11-23 10:00:00 INFO request {number:07} GET /api/v1/items?id={number:07} 200 12ms user=alice"
    )?;
    Ok(())
}

/// Passes the text and the time of each of `count` plain lines to `put`. Returns what they are.
pub fn plain_lines(
    count: u64,
    mut put: impl FnMut(&str, &str) -> Result<(), Failure>,
) -> Result<Answer, Failure> {
    let (mut text, mut time, mut answer) = (Vec::new(), Vec::new(), Answer::default());
    for number in 0..count {
        let nanos = time_of(number);
        put_text(&mut text, number)?;
        time.clear();
        put_time(&mut time, nanos)?;
        put(std::str::from_utf8(&text)?, std::str::from_utf8(&time)?)?;
        answer.add(&text, nanos);
    }
    Ok(answer)
}

/// As dockerd writes it; `end` is the escaped line feed, if there is one.
fn put_json_line(out: &mut Vec<u8>, text: &[u8], end: &str, nanos: u64) -> Result<(), Failure> {
    out.extend_from_slice(b"{\"log\":\"");
    if text.iter().any(|byte| matches!(byte, b'"' | b'\t')) {
        for byte in text {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\t' => out.extend_from_slice(b"\\t"),
                _ => out.push(*byte),
            }
        }
    } else {
        out.extend_from_slice(text);
    }
    write!(out, "{end}\",\"stream\":\"stdout\",\"time\":\"")?;
    put_time(out, nanos)?;
    out.extend_from_slice(b"\"}\n");
    Ok(())
}

/// As containerd writes it.
fn put_cri_line(out: &mut Vec<u8>, text: &[u8], nanos: u64) -> Result<(), Failure> {
    put_time(out, nanos)?;
    out.extend_from_slice(b" stdout F ");
    out.extend_from_slice(text);
    out.push(b'\n');
    Ok(())
}

/// A time as dockerd writes it.
pub fn put_time(out: &mut Vec<u8>, nanos: u64) -> Result<(), Failure> {
    let time = jiff::Timestamp::from_nanosecond(nanos.into())?;
    write!(out, "{time:.9}")?;
    Ok(())
}

/// A frame of the local driver: length, protobuf, length.
fn put_frame(out: &mut Vec<u8>, text: &[u8], nanos: u64) {
    let mut message = vec![0x0a, 6];
    message.extend_from_slice(b"stdout\x10");
    put_varint(&mut message, nanos);
    message.push(0x1a);
    put_varint(&mut message, text.len() as u64);
    message.extend_from_slice(text);
    let length = (message.len() as u32).to_be_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&message);
    out.extend_from_slice(&length);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
