//! The rates of a running Fluent Bit. It is asked more often than the plugin updates its figures: an
//! input with 10,000 containers does so every five seconds. Between two updates, the rates of the
//! last one stay. Pure; the caller tells the time.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::metrics::Metrics;
use super::table::Table;

/// The last answer, and the last update of each input.
pub struct Updates {
    last: Answer,
    inputs: BTreeMap<String, Update>,
}

/// What was answered, and when.
struct Answer {
    at: Instant,
    metrics: Rc<Metrics>,
}

/// An update of the figures of an input.
struct Update {
    /// When it was seen.
    at: Instant,
    /// The answer before it.
    before: Rc<Metrics>,
    /// The time in which its lines came.
    elapsed: Duration,
}

impl Updates {
    /// The first answer, which has no rates.
    pub fn new(at: Instant, metrics: Metrics) -> Updates {
        let metrics = Rc::new(metrics);
        Updates {
            last: Answer { at, metrics },
            inputs: BTreeMap::new(),
        }
    }

    /// When the last answer came.
    pub fn at(&self) -> Instant {
        self.last.at
    }

    /// The next answer.
    pub fn take(&mut self, at: Instant, metrics: Metrics) {
        let before = &self.last;
        let is_new = |input: &&str| metrics.lines_of(input) != before.metrics.lines_of(input);
        for input in metrics.inputs().filter(is_new) {
            // However soon after an answer it is seen, an update has the lines of all the time since
            // the one before.
            let elapsed = (at - before.at).max(metrics.update_interval(input));
            let before = Rc::clone(&before.metrics);
            let update = Update {
                at,
                before,
                elapsed,
            };
            self.inputs.insert(input.to_owned(), update);
        }
        let metrics = Rc::new(metrics);
        self.last = Answer { at, metrics };
    }

    /// The table of the last answer, with its rates.
    pub fn table(&self) -> Table {
        let Answer { at, metrics } = &self.last;
        metrics.table(|input| {
            let update = self.inputs.get(input)?;
            // Without an update for this long, nothing has come since.
            let is_recent = *at - update.at < 2 * metrics.update_interval(input);
            is_recent.then_some((&*update.before, update.elapsed))
        })
    }

    /// The table of the last answer, without rates.
    pub fn table_without_rates(&self) -> Table {
        self.last.metrics.table(|_| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer of an input with as many containers, one of which has all lines.
    fn answer(containers: u64, lines: u64) -> Metrics {
        let text = format!(
            "fluentbit_container_logs_containers{{name=\"logs\",source=\"file\"}} {containers}\n\
             fluentbit_container_logs_records_total{{name=\"logs\"}} {lines}\n\
             fluentbit_container_logs_container_records_total{{name=\"logs\",container_name=\"web\",\
             container_id=\"aaaaaaaaaaaa\"}} {lines}\n"
        );
        Metrics::parse(&text).unwrap()
    }

    /// The rates of the container, asked for each second.
    fn rates(containers: u64, lines: &[u64]) -> Vec<f64> {
        let begun = Instant::now();
        let mut updates = Updates::new(begun, answer(containers, 0));
        let seconds = (1..).map(Duration::from_secs);
        let rates = lines.iter().zip(seconds).map(|(lines, second)| {
            updates.take(begun + second, answer(containers, *lines));
            let table = updates.table();
            assert_eq!(table.rows[0].rate, table.total.rate);
            table.total.rate
        });
        rates.collect()
    }

    #[test]
    fn figures_that_change_each_second_give_the_rate_of_that_second() {
        assert_eq!(rates(10, &[10, 30, 35]), [10.0, 20.0, 5.0]);
    }

    #[test]
    fn figures_that_change_less_often_give_the_rate_of_all_the_time_between() {
        let lines = [0, 50, 50, 50, 50, 50, 150, 150];
        let expected = [0.0, 10.0, 10.0, 10.0, 10.0, 10.0, 20.0, 20.0];
        assert_eq!(rates(10_000, &lines), expected);
    }

    #[test]
    fn the_rate_is_0_when_no_update_comes_any_more_and_a_burst_after_that_is_one_of_now() {
        assert_eq!(
            rates(10, &[10, 10, 10, 10, 14]),
            [10.0, 10.0, 0.0, 0.0, 4.0]
        );
        let mut lines = [50; 14];
        lines[12] = 60;
        lines[13] = 60;
        let mut expected = [10.0; 14];
        expected[10] = 0.0;
        expected[11] = 0.0;
        expected[12] = 2.0;
        expected[13] = 2.0;
        assert_eq!(rates(10_000, &lines), expected);
    }
}
