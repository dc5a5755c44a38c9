//! The dashboard as a picture: a real Fluent Bit reads containers of many kinds, a real
//! Prometheus scrapes it, and what it answers to each of the dashboard's queries is
//! drawn. A picture that lacks a panel or a line is an error, and its test draws one of some
//! seconds.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fluent_bit_container_logs::format::rfc3339;
use fluent_bit_container_logs::telemetry::account::wall_clock;
use plotters::prelude::*;
use serde_json::Value;

use test_kit::collector::PATIENCE;
use test_kit::dashboard::{panels, Panel};
use test_kit::docker_root::DockerRoot;
use test_kit::exporter::{host_over, METRICS};
use test_kit::fluent_bit::{find, plugin};
use test_kit::in_project;
use test_kit::prometheus::{self, Prometheus};

/// Pixels of one of Grafana's units, across and down.
const UNIT: (u32, u32) = (50, 26);
/// So many series of a panel are named beside it, the highest first: those that are not zero all
/// along.
const MOST_NAMES: usize = 10;
/// Pixels for the names beside a panel, and from one to the next.
const NAMES: (i32, i32) = (120, 15);
/// Over so many seconds a rate is taken.
const RATE_SECONDS: u64 = 15;

/// Containers that log as different things do, until told to stop.
struct Shop {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Name, lines of a burst, milliseconds between bursts, lines until a rotation.
const CONTAINERS: [(&str, usize, u64, usize); 6] = [
    ("storefront", 20, 50, 4000),
    ("checkout", 5, 40, 2000),
    ("search", 600, 2000, 5000),
    ("payments", 1, 100, 500),
    ("limited", 40, 100, 8000),
    ("torn", 3, 300, 1000),
];

impl Shop {
    fn open(root: &DockerRoot) -> Shop {
        let stopping = Arc::new(AtomicBool::new(false));
        let threads =
            CONTAINERS
                .iter()
                .zip('a'..)
                .map(|(&(name, burst, pause, rotation), digit)| {
                    let mut log = root.container(digit, name);
                    if name == "limited" {
                        let labels = serde_json::json!({"fluentbit.io/rate_limit": "20k"});
                        log.write_config_with(name, true, labels, &[]);
                    }
                    let stopping = Arc::clone(&stopping);
                    std::thread::spawn(move || {
                        let mut written = 0;
                        while !stopping.load(Ordering::SeqCst) {
                            for _ in 0..burst {
                                let text = format!(
                                    "{name} {written} of what a shop has to say about its day\n"
                                );
                                log.piece("stdout", &text, &rfc3339::format(wall_clock()));
                                written += 1;
                                if written % rotation == 0 {
                                    log.rotate(9, true);
                                }
                            }
                            if name == "torn" {
                                log.raw(b"{\"log\":\"half a rec");
                            }
                            // The load's own pace; nothing is awaited by it.
                            std::thread::sleep(Duration::from_millis(pause));
                        }
                    })
                });
        Shop {
            threads: threads.collect(),
            stopping,
        }
    }

    fn close(self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().expect("a writer"));
    }
}

/// A line in a panel: what it is called, and its points in seconds since the start.
struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

fn series_of(server: &Prometheus, panel: &Panel, start: u64, end: u64) -> Vec<Series> {
    let mut all = Vec::new();
    for (query, legend) in &panel.queries {
        let data = server.query_range(query, start, end).expect("an answer");
        for found in data["result"].as_array().into_iter().flatten() {
            let points = found["values"].as_array().into_iter().flatten();
            let point = |pair: &Value| {
                let value: f64 = pair[1].as_str()?.parse().ok()?;
                Some((pair[0].as_f64()? - start as f64, value))
                    .filter(|(_, value)| value.is_finite())
            };
            all.push(Series {
                name: named(legend, &found["metric"]),
                points: points.filter_map(point).collect(),
            });
        }
    }
    all
}

/// Grafana's legend, `{{label}}` filled in.
fn named(legend: &str, labels: &Value) -> String {
    let label = legend
        .strip_prefix("{{")
        .and_then(|rest| rest.strip_suffix("}}"));
    label
        .map_or(legend, |label| labels[label].as_str().unwrap_or(legend))
        .to_owned()
}

/// A number with its unit, as short as it can be told.
fn shown(value: f64, unit: &str) -> String {
    let (scale, prefix) = match value.abs() {
        large if large >= 1e6 => (1e6, "M"),
        large if large >= 1e3 => (1e3, "k"),
        small if small > 0.0 && small < 0.1 && unit == "s" => (1e-3, "m"),
        _ => (1.0, ""),
    };
    let unit = match unit {
        "Bps" => "B/s",
        "bytes" => "B",
        "cps" => "/s",
        "s" => "s",
        _ => "",
    };
    let number = format!("{:.1}", value / scale);
    format!(
        "{}{prefix}{unit}",
        number.strip_suffix(".0").unwrap_or(&number)
    )
}

/// Draws each panel where the dashboard has it; gives how many lines were drawn.
fn draw(file: &Path, drawn: &[(Panel, Vec<Series>)], seconds: f64) -> usize {
    let top = drawn.iter().map(|(panel, _)| panel.y).min().unwrap_or(0);
    let bottom = drawn
        .iter()
        .map(|(panel, _)| panel.y + panel.height)
        .max()
        .unwrap_or(0)
        - top;
    let root = SVGBackend::new(file, (24 * UNIT.0, bottom * UNIT.1)).into_drawing_area();
    root.fill(&WHITE).expect("a ground");
    let mut lines = 0;
    for (panel, series) in drawn {
        let place = (panel.x * UNIT.0, (panel.y - top) * UNIT.1);
        let area = root
            .clone()
            .shrink(place, (panel.width * UNIT.0, panel.height * UNIT.1));
        let width = i32::try_from(panel.width * UNIT.0).expect("pixels");
        // No name hides a curve.
        let (area, beside) = area.split_horizontally(width - NAMES.0);
        let highest = series
            .iter()
            .flat_map(|one| &one.points)
            .map(|point| point.1)
            .fold(0.0, f64::max);
        let ceiling = if highest > 0.0 { highest * 1.1 } else { 1.0 };
        let mut chart = ChartBuilder::on(&area)
            .caption(&panel.title, ("sans-serif", 15))
            .margin(8)
            .x_label_area_size(20)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..seconds, 0.0..ceiling)
            .expect("axes");
        let unit = panel.unit.as_str();
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.1))
            .x_labels(5)
            .y_labels(4)
            .x_label_formatter(&|second| format!("{second:.0} s"))
            .y_label_formatter(&|value| shown(*value, unit))
            .draw()
            .expect("a grid");
        for (index, one) in series.iter().enumerate() {
            let color = Palette99::pick(index).stroke_width(1);
            chart
                .draw_series(LineSeries::new(one.points.iter().copied(), color))
                .expect("a line");
            lines += 1;
        }
        let peak = |one: &Series| one.points.iter().map(|point| point.1).fold(0.0, f64::max);
        let mut named: Vec<(usize, &Series)> = series.iter().enumerate().collect();
        named.retain(|(_, one)| peak(one) > 0.0 || series.len() == 1);
        named.sort_by(|(_, one), (_, other)| peak(other).total_cmp(&peak(one)));
        for (row, (index, one)) in (0..).zip(named.into_iter().take(MOST_NAMES)) {
            let y = 36 + row * NAMES.1;
            let color = Palette99::pick(index).stroke_width(2);
            beside
                .draw(&PathElement::new([(0, y), (12, y)], color))
                .and_then(|()| {
                    let font = ("sans-serif", 11);
                    beside.draw(&Text::new(one.name.clone(), (16, y - 6), font))
                })
                .expect("a name");
        }
    }
    root.present().expect("a file");
    lines
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs()
}

/// Draws `seconds` of the dashboard into `file` and returns a summary; an error where a
/// program is missing that it takes.
///
/// # Panics
///
/// Where the picture is not complete.
pub fn draw_to(file: &Path, seconds: u64) -> Result<String, &'static str> {
    let (Some(plugin), Some(program)) = (plugin(), find()) else {
        return Err("no Fluent Bit, or the plugin's .so is not built");
    };
    let server = prometheus::find().ok_or("no prometheus")?;
    let root = DockerRoot::new();
    let shop = Shop::open(&root);
    let db = format!(
        "    DB {}\n    Tag_Template {{name}}\n",
        root.path().join("positions.db").display()
    );
    let mut host = host_over(
        &program,
        &plugin,
        &root,
        &(db + "    Label_Hints rate_limit\n"),
    );
    host.start().expect("the host starts");
    let server = Prometheus::start(
        &server,
        host.http_port(),
        METRICS,
        &in_project("dashboards/alerts.yml"),
    );
    host.wait_until(PATIENCE, "Prometheus", |_| server.is_ready());
    let panels = || {
        panels()
            .into_iter()
            .filter(|panel| panel.kind == "timeseries")
    };
    let has_data = |panel: &Panel| {
        // Of losses there may be none.
        let mut queries = panel
            .queries
            .iter()
            .filter(|(query, _)| !query.contains("> 0"));
        queries.all(|(query, _)| {
            let data = server.query(query).expect("an answer");
            data["result"]
                .as_array()
                .is_some_and(|series| !series.is_empty())
        })
    };
    host.wait_until(PATIENCE, "data in every panel", |_| {
        panels().all(|panel| has_data(&panel))
    });
    // A picture to be looked at starts behind the first seconds, of which no rate is known yet.
    let start = now()
        + if seconds > RATE_SECONDS {
            RATE_SECONDS
        } else {
            0
        };
    host.wait_until(
        PATIENCE + Duration::from_secs(seconds + RATE_SECONDS),
        "the time of the picture",
        |_| now() >= start + seconds,
    );
    let drawn: Vec<(Panel, Vec<Series>)> = panels()
        .map(|panel| {
            let series = series_of(&server, &panel, start, start + seconds);
            (panel, series)
        })
        .collect();
    shop.close();
    let lines = draw(file, &drawn, seconds as f64);
    let picture = std::fs::read_to_string(file).expect("the picture");
    for (panel, series) in &drawn {
        assert!(
            picture.contains(panel.title.as_str()),
            "{} is not drawn",
            panel.title
        );
        assert!(
            series.iter().any(|one| one.points.len() > 1),
            "{} has no line",
            panel.title
        );
    }
    for name in ["storefront", "p95", "file", "skipped"] {
        assert!(picture.contains(name), "no line is called {name}");
    }
    assert!(
        picture.matches("<polyline").count() >= lines,
        "{lines} lines"
    );
    Ok(format!(
        "{} panels, {lines} lines, {seconds} s: {}",
        drawn.len(),
        file.display()
    ))
}

#[test]
fn the_dashboard_can_be_drawn_of_what_a_real_prometheus_has() {
    let test = "picture::the_dashboard_can_be_drawn_of_what_a_real_prometheus_has";
    let folder = tempfile::tempdir().expect("a folder");
    match draw_to(&folder.path().join("metrics.svg"), 6) {
        Ok(summary) => println!("{summary}"),
        Err(reason) => test_kit::skip(test, reason),
    }
}
