//! How the cost grows: with containers, with lines a second, with the length of a line, ours beside
//! `tail`'s. Each axis is a table, a panel of the picture, and a row that tells whether the cost is
//! linear or better: the slope between neighbouring points on logarithmic axes.

use std::time::Duration;

use crate::data::lines_of_length;
use crate::host::{Lab, Setup};
use crate::many::{self, Asked, Load};
use crate::one_file::METADATA_OFF;
use crate::plot::{Curve, Panel};
use crate::probe::Compared;
use crate::runner::{run_in_turns, Runner};
use crate::sparse::{quiet_root, Idle};
use crate::table::{median, Table};
use crate::Failure;

/// Linear is 1; the rest is for noise.
const STEEPEST: f64 = 1.1;

const OURS: &str = "container_logs";
const BARE: &str = "container_logs, no metadata";
const TAIL: &str = "tail, parser docker";
const JOINING: &str = "tail, multiline.parser docker";

/// The same in each panel: blue is ours.
fn color_of(name: &str) -> (u8, u8, u8) {
    match name {
        OURS => (0x1f, 0x5f, 0xa8),
        BARE => (0x7f, 0xb4, 0xe6),
        TAIL => (0xd6, 0x5a, 0x1e),
        _ => (0x8c, 0x3a, 0x3a),
    }
}

/// What one input took where something had the value `x`.
struct Point {
    x: f64,
    cost: f64,
    /// Without what nothing along the axis causes.
    net: f64,
    /// What is less than this is noise.
    floor: f64,
    remark: String,
}

struct Measured {
    name: &'static str,
    points: Vec<Point>,
}

impl Measured {
    fn of(name: &'static str) -> Measured {
        Measured {
            name,
            points: Vec::new(),
        }
    }
}

/// A slope, and between which values.
type Slope = (f64, f64, f64);

/// The steepest slope between neighbours. Below the noise floor a curve begins at the floor: a
/// cliff out of the noise is seen as well.
fn steepest(measured: &Measured) -> Option<Slope> {
    let slopes = measured.points.windows(2).filter_map(|pair| {
        let [left, right] = pair else { return None };
        let rise = right.net / left.net.max(left.floor);
        (right.net > right.floor).then(|| (rise.ln() / (right.x / left.x).ln(), left.x, right.x))
    });
    slopes.max_by(|a, b| a.0.total_cmp(&b.0))
}

fn slope_text(steepest: Option<Slope>) -> String {
    match steepest {
        Some((slope, left, right)) => format!("steepest {slope:.2} ({left} → {right})"),
        None => "all below the noise floor".into(),
    }
}

/// The row of an axis, its table, and its panel.
fn report(
    table: &mut Table,
    (title, x, y, floor): (&str, &'static str, &'static str, &str),
    (mine, others): (Measured, Vec<Measured>),
) {
    let slope = steepest(&mine);
    let slopes: Vec<String> = others
        .iter()
        .map(|other| format!("{}: {}", other.name, slope_text(steepest(other))))
        .collect();
    table.add(
        &format!("growth: {title}"),
        &format!("slope ≤ {STEEPEST}: linear or better, no cliff"),
        slope_text(slope),
        slopes.join("; "),
        slope.is_none_or(|(slope, ..)| slope <= STEEPEST),
    );
    let mut text = format!("### {title}\n\n{y}. {floor}\n\n| {x} |");
    let all: Vec<Measured> = std::iter::once(mine).chain(others).collect();
    for measured in &all {
        text += &format!(" {} |", measured.name);
    }
    text += &format!("\n|---{}|", "|---".repeat(all.len()));
    for (index, row) in all
        .iter()
        .take(1)
        .flat_map(|one| one.points.iter().enumerate())
    {
        text += &format!("\n| {} |", row.x);
        for point in all.iter().filter_map(|measured| measured.points.get(index)) {
            text += &format!(" {}{} |", rounded(point.cost), point.remark);
        }
    }
    table.section(text);
    let curve = |measured: Measured| Curve {
        name: measured.name,
        color: color_of(measured.name),
        points: measured
            .points
            .iter()
            .map(|point| (point.x, point.cost))
            .collect(),
    };
    table.panel(Panel {
        title: title.to_owned(),
        x,
        y,
        curves: all.into_iter().map(curve).collect(),
    });
}

/// With three digits that count.
fn rounded(value: f64) -> String {
    let places = (2.0 - value.abs().max(1e-6).log10().floor()).clamp(0.0, 4.0) as usize;
    format!("{value:.places$}")
}

/// Containers that talk at most, where not all do.
const MOST_TALKING: usize = 100;

/// Cost against containers: most of them idle, and all of them talking.
pub fn containers(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let counts = [10, 100, 1000, 10_000];
    let some_talk = counts.map(|containers| Load {
        containers,
        talking: containers.min(MOST_TALKING),
        rate: 10 * containers.min(MOST_TALKING) as u64,
    });
    let all_talk = counts.map(|containers| Load::of_all(containers, containers as u64));
    let at = |load: &Load| load.containers as f64;
    let title = "containers of which at most 100 talk, 10 lines/s each";
    live(lab, table, (title, "containers"), &some_talk, at)?;
    let title = "containers that all talk, 1 line/s each";
    live(lab, table, (title, "containers"), &all_talk, at)
}

/// Cost against lines a second.
pub fn rates(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let rates = [1, 10, 100, 1000, 10_000, 50_000, 200_000].map(|rate| Load::of_all(50, rate));
    let title = "lines/s of 50 containers";
    live(lab, table, (title, "lines/s"), &rates, |load| {
        load.rate as f64
    })
}

/// An axis along which the load of a running host grows.
fn live(
    lab: &Lab,
    table: &mut Table,
    (title, x): (&str, &'static str),
    loads: &[Load],
    at: impl Fn(&Load) -> f64,
) -> Result<(), Failure> {
    let empty = quiet_root(lab, 0)?;
    let (mut mine, mut other) = (Idle::default(), Idle::default());
    let settle = Duration::from_secs(3);
    mine.measure(lab, many::ours(lab)(empty.path()), settle)?;
    other.measure(lab, many::tail(lab)(empty.path()), settle)?;
    let none = [median(&mine.cpu), median(&other.cpu)];
    let floor = format!(
        "A host with no container takes {} % with container_logs and {} % with tail: that is taken off \
         for the slopes, and as much again is the noise floor.",
        rounded(none[0]),
        rounded(none[1])
    );
    let measured = under_loads(lab, loads, at, none)?;
    report(table, (title, x, "% of a processor", &floor), measured);
    Ok(())
}

/// Each load once for each input, ours first.
fn under_loads(
    lab: &Lab,
    loads: &[Load],
    at: impl Fn(&Load) -> f64,
    none: [f64; 2],
) -> Result<(Measured, Vec<Measured>), Failure> {
    let (mut mine, mut other) = (Measured::of(OURS), Measured::of(TAIL));
    for load in loads {
        let ours = many::run(lab, *load, many::ours(lab), Asked::Number)?;
        let tail = many::run(lab, *load, many::tail(lab), Asked::Losses)?;
        for (live, of, none) in [(ours, &mut mine, none[0]), (tail, &mut other, none[1])] {
            eprintln!("{} {}: {:.3} % CPU", at(load), of.name, live.cpu);
            let mut remark = String::new();
            // The last line of a slow rate may not be due yet.
            if live.written_rate + 1.0 < 0.95 * load.rate as f64 {
                remark += &format!(", at {:.0} lines/s", live.written_rate);
            }
            if live.lost > 0 {
                remark += &format!(", {} lines missing", live.lost);
            }
            of.points.push(Point {
                x: at(load),
                cost: live.cpu,
                net: live.cpu - none,
                floor: none,
                remark,
            });
        }
    }
    Ok((mine, vec![other]))
}

/// Bytes of text at each length, as long as that is not too many lines: with a quarter of it, the host's
/// start and its page faults decide.
const TEXT_BYTES: u64 = 512_000_000;
const MOST_LINES: u64 = 500_000;

/// CPU for a line of each length, in a file that is there before the host starts.
pub fn lengths(lab: &Lab, table: &mut Table) -> Result<(), Failure> {
    let mut mine = Measured::of(OURS);
    let mut others = [BARE, TAIL, JOINING].map(Measured::of);
    let starts = cpu_for(lab, 16, 1)?;
    for length in [16, 64, 256, 1024, 4096, 16_384, 65_536] {
        let lines = (TEXT_BYTES / length as u64).min(MOST_LINES);
        let cpu = cpu_for(lab, length, lines)?;
        let all = std::iter::once(&mut mine).chain(&mut others);
        for ((measured, cpu), start) in all.zip(cpu).zip(starts) {
            let micros = |seconds: f64| seconds * 1e6 / lines as f64;
            let net = micros((cpu - start).max(0.0));
            measured.points.push(Point {
                x: length as f64,
                cost: net,
                net,
                floor: micros(start),
                remark: String::new(),
            });
        }
    }
    let floor = "The host's start is taken off. The noise floor is what costs less than it. From 16 KiB on \
                 Docker writes a line in pieces, which tail with parser docker does not join.";
    let title = "length of a line";
    report(
        table,
        (title, "bytes", "µs of CPU for a line", floor),
        (mine, others.into()),
    );
    Ok(())
}

/// Seconds of each input over `lines` lines of `length` bytes.
fn cpu_for(lab: &Lab, length: usize, lines: u64) -> Result<[f64; 4], Failure> {
    let folder = lab.folder()?;
    let root = folder.path();
    let (pieces, expected) = lines_of_length(root, length, lines)?;
    let ours = || lab.ours(root, &lab.fresh("lengths.db"));
    let compared = (&expected, Compared::Times);
    let bare = || -> Setup { ours().with(METADATA_OFF) };
    let mut runners = [
        Runner::checked(lab, OURS, root, compared, ours)?,
        Runner::new(BARE, root, lines, bare),
        Runner::new(TAIL, root, pieces, || lab.tail_docker(root)),
        Runner::new(JOINING, root, lines, || {
            lab.tail(root).with("multiline.parser=docker")
        }),
    ];
    eprintln!("{lines} lines of {length} bytes");
    run_in_turns(lab, &mut runners)?;
    let cpu = runners.each_ref().map(|runner| median(&runner.cpu()));
    Ok(cpu)
}
