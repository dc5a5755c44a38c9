//! Docker roots with logs whose content is known.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::Compression;

use crate::probe::Answer;
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

/// The folder of container `number`, with its metadata, and its id.
pub fn container(root: &Path, number: usize, driver: &str) -> Result<(PathBuf, String), Failure> {
    let id = id_of(number);
    let dir = root.join("containers").join(&id);
    std::fs::create_dir_all(&dir)?;
    let config = serde_json::json!({
        "ID": id,
        "Name": format!("/web-{number}"),
        "Config": {"Image": "shop/web:1.2", "Labels": {}},
        "State": {"Running": true},
    });
    std::fs::write(dir.join("config.v2.json"), config.to_string())?;
    let host_config = serde_json::json!({"LogConfig": {"Type": driver, "Config": {}}});
    std::fs::write(dir.join("hostconfig.json"), host_config.to_string())?;
    Ok((dir, id))
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

    /// One entry; `text` needs no escape.
    pub fn put_line(self, out: &mut Vec<u8>, text: &[u8], nanos: u64) -> Result<(), Failure> {
        match self {
            Format::JsonFile => put_json_line(out, text, nanos),
            Format::Local => {
                put_frame(out, text, nanos);
                Ok(())
            }
            Format::Cri => put_cri_line(out, text, nanos),
        }
    }
}

/// One container with `records` lines of a web server; the bytes of its log.
pub fn big_file(root: &Path, format: Format, records: u64) -> Result<(u64, Answer), Failure> {
    let (log, mut answer) = (format.log(root, 0)?, Answer::default());
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&log)?);
    put_lines(&mut file, format, 0..records, &mut answer)?;
    file.flush()?;
    Ok((std::fs::metadata(&log)?.len(), answer))
}

/// Three compressed generations and a current one; plain bytes of the former.
pub fn compressed_files(root: &Path, records: u64) -> Result<(u64, Answer), Failure> {
    let log = Format::JsonFile.log(root, 0)?;
    let mut answer = Answer::default();
    let mut bytes = 0;
    for (index, name) in [".3.gz", ".2.gz", ".1.gz"].into_iter().enumerate() {
        let mut plain = Vec::new();
        let first = index as u64 * records;
        put_lines(
            &mut plain,
            Format::JsonFile,
            first..first + records,
            &mut answer,
        )?;
        bytes += plain.len() as u64;
        let file = File::create(format!("{}{name}", log.display()))?;
        let mut gzip = GzEncoder::new(file, Compression::new(6));
        gzip.write_all(&plain)?;
        gzip.finish()?;
    }
    let mut current = File::create(&log)?;
    put_lines(
        &mut current,
        Format::JsonFile,
        3 * records..3 * records + 1,
        &mut answer,
    )?;
    Ok((bytes, answer))
}

fn put_lines(
    out: &mut impl Write,
    format: Format,
    numbers: std::ops::Range<u64>,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let (mut text, mut line) = (Vec::new(), Vec::new());
    for number in numbers {
        let nanos = time_of(number);
        put_text(&mut text, number)?;
        line.clear();
        format.put_line(&mut line, &text, nanos)?;
        out.write_all(&line)?;
        answer.add(&text, nanos);
    }
    Ok(())
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

/// As dockerd writes it.
fn put_json_line(out: &mut Vec<u8>, text: &[u8], nanos: u64) -> Result<(), Failure> {
    out.extend_from_slice(b"{\"log\":\"");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\\n\",\"stream\":\"stdout\",\"time\":\"");
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
