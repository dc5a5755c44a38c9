//! The rows over what the plugin does by itself, beside what people put together for it today:
//! `tail` with parsers and filters.

use std::path::{Path, PathBuf};

use crate::data::{compressed_files, write_big_file, Content, Format, Written};
use crate::host::{Lab, Setup};
use crate::one_file::METADATA_OFF;
use crate::probe::Compared;
use crate::runner::{compare, run_in_turns, text_beside, Runner};
use crate::table::{median, spread, Table};
use crate::{records, Failure};

/// Half of the big file's: what is compared with takes long.
fn half_of_records() -> Result<u64, Failure> {
    Ok(records()? / 2)
}

/// The filter with its root put in.
fn script(lab: &Lab, root: &Path) -> Result<PathBuf, Failure> {
    let path = lab.scratch.join("docker_names.lua");
    let text = include_str!("native/docker_names.lua");
    std::fs::write(&path, text.replace("ROOT", &root.display().to_string()))?;
    Ok(path)
}

/// A container's id, name and image in each record, on both sides.
pub fn names(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let folder = lab.folder()?;
    let root = folder.path();
    let written = write_big_file(root, Format::JsonFile, Content::Plain, half_of_records()?)?;
    let script = script(lab, root)?;
    let expected = (&written.with_metadata, Compared::Fields);
    let mut runners = [
        Runner::checked(lab, "container_logs", root, expected, || {
            lab.ours(root, &lab.fresh("names.db"))
        })?,
        Runner::checked(lab, "tail, parser docker, Lua", root, expected, || {
            lab.tail_docker(root)
                .with("tag=docker.*")
                .filter("lua")
                .with(&format!("script={}", script.display()))
                .with("call=add_names")
        })?,
    ];
    run_in_turns(lab, &mut runners)?;
    let [mine, other] = &runners;
    let axis = "CPU, names of containers: the same fields on both sides";
    let target = "≤ 1/10 of tail, parser docker, Lua filter";
    compare(table, axis, target, mine, other, 10.0);
    Ok(())
}

/// Lines that are JSON objects become fields.
pub fn merge(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let axis = "CPU, Merge_Log: the same fields on both sides, no metadata";
    let target = "≤ 1/5 of tail, parser docker, filter parser json";
    let ours = |root: &Path| lab.ours(root, &lab.fresh("merge.db")).with("merge_log=on");
    let tail = |root: &Path| {
        lab.tail_docker(root)
            .filter("parser")
            .with("key_name=log")
            .with("parser=json")
            .with("reserve_data=on")
    };
    let content = (Content::Objects, half_of_records()?);
    content_row(lab, table, (axis, target), content, (ours, tail))?;
    Ok(())
}

/// Stack traces become records.
pub fn multiline(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let axis = "CPU, Multiline java, no metadata";
    let target = "≤ 1/5 of tail, parser docker, filter multiline java";
    let ours = |root: &Path| {
        lab.ours(root, &lab.fresh("multiline.db"))
            .with("multiline=java")
    };
    let tail = |root: &Path| {
        lab.tail_docker(root)
            .filter("multiline")
            .with("multiline.parser=java")
            .with("multiline.key_content=log")
            .with("emitter_mem_buf_limit=4G")
            // Its timer ends a trace that is still being read: with 2 s, the default, or 10 s, a few of a
            // million records are two.
            .with("flush_ms=600000")
            .counted_at_output()
    };
    // An odd number, so that the last one is a line, which nothing waits for.
    let content = (Content::Traces, (half_of_records()? / 2) | 1);
    let written = content_row(lab, table, (axis, target), content, (ours, tail))?;
    table.note(format!(
        "Multiline: {} lines are {} records.",
        written.lines, written.without_metadata.records
    ));
    Ok(())
}

/// A row over a big file of some content and number of records: ours without metadata beside the
/// other, and ours with metadata as a remark. Returns what the file is.
fn content_row(
    lab: &Lab,
    table: &mut Table,
    (axis, target): (&str, &str),
    (content, records): (Content, u64),
    (ours, tail): (impl Fn(&Path) -> Setup, impl Fn(&Path) -> Setup),
) -> Result<Written, Failure> {
    let folder = lab.folder()?;
    let root = folder.path();
    let written = write_big_file(root, Format::JsonFile, content, records)?;
    let bare = &written.without_metadata;
    let described = (&written.with_metadata, Compared::All);
    let mut runners = [
        Runner::checked(lab, "no metadata", root, (bare, Compared::All), || {
            ours(root).with(METADATA_OFF)
        })?,
        Runner::checked(lab, "metadata", root, described, || ours(root))?,
        Runner::checked(lab, "tail", root, (bare, Compared::Fields), || tail(root))?,
    ];
    run_in_turns(lab, &mut runners)?;
    let [mine, described, other] = &runners;
    let texts = [mine, described].map(|ours| text_beside(ours, other));
    table.add(
        axis,
        target,
        texts.join("; with metadata "),
        spread(&other.cpu(), "CPU-s"),
        other.ratio_to(mine) >= 5.0,
    );
    Ok(written)
}

/// The same lines as other drivers and runtimes write them.
pub fn formats(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let records = half_of_records()?;
    let folder = lab.folder()?;
    let [json, local, cri] = ["json", "local", "cri"].map(|name| folder.path().join(name));
    let write = |root: &Path, format| write_big_file(root, format, Content::Plain, records);
    let of_json = write(&json, Format::JsonFile)?;
    let of_local = write(&local, Format::Local)?.with_metadata;
    let of_cri = write(&cri, Format::Cri)?.without_metadata;
    let (of_json, of_plain) = (of_json.with_metadata, of_json.without_metadata);
    let read_json = || lab.ours(&json, &lab.fresh("json.db"));
    let mut runners = [
        Runner::checked(
            lab,
            "json-file",
            &json,
            (&of_json, Compared::All),
            read_json,
        )?,
        Runner::checked(lab, "local", &local, (&of_local, Compared::All), || {
            lab.ours(&local, &lab.fresh("local.db"))
        })?,
        Runner::checked(
            lab,
            "json-file, no metadata",
            &json,
            (&of_plain, Compared::All),
            || read_json().with(METADATA_OFF),
        )?,
        Runner::checked(
            lab,
            "CRI, no metadata",
            &cri,
            (&of_cri, Compared::All),
            || {
                lab.ours_of_pods(&cri, &lab.fresh("cri.db"))
                    .with(METADATA_OFF)
            },
        )?,
        Runner::checked(
            lab,
            "tail, docker",
            &json,
            (&of_plain, Compared::Fields),
            || lab.tail_docker(&json),
        )?,
        Runner::checked(
            lab,
            "tail, parser cri",
            &cri,
            (&of_cri, Compared::Texts),
            || lab.tail_of_pods(&cri).with("parser=cri"),
        )?,
        Runner::checked(
            lab,
            "tail, multiline cri",
            &cri,
            (&of_cri, Compared::Texts),
            || lab.tail_of_pods(&cri).with("multiline.parser=cri"),
        )?,
    ];
    run_in_turns(lab, &mut runners)?;
    let [of_json, of_local, of_plain, of_cri, docker, parser, joined] = &runners;
    let mut beside_json = |axis: &str, mine: &Runner<'_>, json: &Runner<'_>| {
        table.add(
            axis,
            "no worse than json-file",
            spread(&mine.cpu(), "CPU-s"),
            format!("json-file: {}", spread(&json.cpu(), "CPU-s")),
            json.ratio_to(mine) >= 0.98,
        );
    };
    beside_json("CPU, local driver", of_local, of_json);
    // A pod's records say more: its namespace, its name and so on.
    beside_json("CPU, CRI format, no metadata", of_cri, of_plain);
    let [cri_axis, local_axis] = [
        "CPU, CRI format, no metadata",
        "CPU, local driver, with metadata",
    ];
    compare(
        table,
        cri_axis,
        "≤ 1/5 of tail, parser cri",
        of_cri,
        parser,
        5.0,
    );
    let target = "≤ 1/5 of tail, multiline.parser cri";
    compare(table, cri_axis, target, of_cri, joined, 5.0);
    let target = "≤ 1/5 of tail over json-file, parser docker: it cannot read local";
    compare(table, local_axis, target, of_local, docker, 5.0);
    Ok(())
}

/// Compressed generations, read at the start.
pub fn compressed(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let folder = lab.folder()?;
    let [gz, plain] = ["gz", "plain"].map(|name| folder.path().join(name));
    let records = half_of_records()? / 2;
    let written = compressed_files(&gz, records)?;
    let of_plain = write_big_file(&plain, Format::JsonFile, Content::Plain, records)?;
    let described = (&written.with_metadata, Compared::All);
    let of_tail = (&of_plain.without_metadata, Compared::Fields);
    let mut runners = [
        Runner::checked(lab, "gz", &gz, described, || {
            lab.ours(&gz, &lab.fresh("gz.db"))
        })?,
        Runner::checked(lab, "tail, not compressed", &plain, of_tail, || {
            lab.tail_docker(&plain)
        })?,
    ];
    run_in_turns(lab, &mut runners)?;
    let [mine, other] = &runners;
    let megabytes = written.bytes as f64 / 1e6;
    let rates: Vec<f64> = mine.wall().iter().map(|wall| megabytes / wall).collect();
    table.add(
        "gz catch-up, plain text, the host's start included",
        "≥ 150 MB/s",
        spread(&rates, "MB/s"),
        "cannot".into(),
        median(&rates) >= 150.0,
    );
    let axis = "CPU, rotated files in gz, with metadata";
    let target =
        "≤ 1/5 of tail, parser docker, over the same lines not compressed: it cannot read gz";
    compare(table, axis, target, mine, other, 5.0);
    Ok(())
}
