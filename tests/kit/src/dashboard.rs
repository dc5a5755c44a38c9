//! The Grafana dashboard, as far as its panels and queries go.

use serde_json::Value;

/// One panel that has queries.
pub struct Panel {
    pub title: String,
    /// `timeseries`, or `stat` for one number.
    pub kind: String,
    /// Grafana's name for the unit, such as `Bps`.
    pub unit: String,
    /// Where it stands, in Grafana's units: 24 to the width.
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
    /// Each query, and what its series are called, such as `{{container_name}}`.
    pub queries: Vec<(String, String)>,
}

/// Every panel that asks for something, its variables filled in as for the input `logs`.
pub fn panels() -> Vec<Panel> {
    let file = crate::in_project("dashboards/container_logs.json");
    let text = std::fs::read_to_string(file).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    panels
        .iter()
        .filter(|panel| panel["targets"].is_array())
        .map(panel)
        .collect()
}

fn panel(panel: &Value) -> Panel {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place") as u32;
    let queries = panel["targets"].as_array().into_iter().flatten();
    Panel {
        title: text(&panel["title"]),
        kind: text(&panel["type"]),
        unit: text(&panel["fieldConfig"]["defaults"]["unit"]),
        x: place("x"),
        y: place("y"),
        width: place("w"),
        height: place("h"),
        queries: queries
            .map(|query| {
                (
                    filled(query["expr"].as_str().expect("a query")),
                    text(&query["legendFormat"]),
                )
            })
            .collect(),
    }
}

fn filled(query: &str) -> String {
    query
        .replace("$__rate_interval", "15s")
        .replace("$__range", "1m")
        .replace("$input", "logs")
        .replace("$job", ".*")
        .replace("$instance", ".*")
        .replace("$namespace", ".*")
        .replace("$container", ".*")
}
