//! What was wanted, what was measured, and the verdict.

use crate::plot::Panel;

struct Row {
    axis: String,
    target: String,
    measured: String,
    other: String,
    verdict: &'static str,
}

/// What was measured in one host.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
    sections: Vec<String>,
    pub panels: Vec<Panel>,
}

impl Table {
    /// A row with a target.
    pub fn add(&mut self, axis: &str, target: &str, measured: String, other: String, is_met: bool) {
        self.push(
            axis,
            target,
            measured,
            other,
            if is_met { "met" } else { "NOT MET" },
        );
    }

    /// A row that could not be had here.
    pub fn skip(&mut self, axis: &str, target: &str, reason: &str) {
        let reason = reason.replace(['\n', '|'], " ");
        self.push(axis, target, reason, String::new(), "not measured");
    }

    fn push(
        &mut self,
        axis: &str,
        target: &str,
        measured: String,
        other: String,
        verdict: &'static str,
    ) {
        println!("{axis} | {target} | {measured} | {other} | {verdict}");
        let (axis, target) = (axis.to_owned(), target.to_owned());
        self.rows.push(Row {
            axis,
            target,
            measured,
            other,
            verdict,
        });
    }

    /// A line below the table.
    pub fn note(&mut self, text: String) {
        println!("{text}");
        self.notes.push(text);
    }

    /// A section behind the tables.
    pub fn section(&mut self, text: String) {
        println!("{text}\n");
        self.sections.push(text);
    }

    /// Curves for the picture.
    pub fn panel(&mut self, panel: Panel) {
        self.panels.push(panel);
    }

    /// The rows and notes, in Markdown.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "| axis | target | container_logs | compared with | verdict |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let Row {
                axis,
                target,
                measured,
                other,
                verdict,
            } = row;
            text += &format!("| {axis} | {target} | {measured} | {other} | {verdict} |\n");
        }
        for note in &self.notes {
            text += &format!("\n- {note}");
        }
        text
    }

    /// The sections, in Markdown.
    pub fn sections(&self) -> String {
        self.sections.join("\n\n")
    }
}

/// In the middle; what was measured `ROUNDS` times is compared by it.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) && middle > 0 {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted.get(middle).copied().unwrap_or(f64::NAN)
    }
}

/// `1/9.8`: the part of another's cost, which is `ratio` times as much.
pub fn fraction(ratio: f64) -> String {
    format!("1/{ratio:.1}")
}

/// `0.81 (0.79–0.85)`.
pub fn spread(values: &[f64], unit: &str) -> String {
    let places = if median(values) < 10.0 { 2 } else { 1 };
    spread_to(places, values, unit)
}

/// The same with this many decimal places.
pub fn spread_to(places: usize, values: &[f64], unit: &str) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values);
    format!("{middle:.places$} {unit} ({lowest:.places$}–{highest:.places$})")
}
