//! What is wrong with the labels of a container: reported once, however often they are read.

use crate::config::labels::Read;
use crate::delivery::link::Link;
use crate::telemetry::account::Account;
use crate::telemetry::event::Event;

/// Invalid values, and labels that are ignored.
type Problems = (Vec<String>, Vec<&'static str>);

/// What was last reported.
#[derive(Debug, Default)]
pub struct LabelTrouble {
    /// Boxed, since few have any.
    reported: Option<Box<Problems>>,
}

impl LabelTrouble {
    /// Reports what was found, unless it was reported.
    pub fn report(&mut self, read: &Read, of: &Account, link: &Link) {
        let found = (read.problems.clone(), read.ignored.clone());
        let reported = self.reported.as_deref();
        if reported.map_or(found == Problems::default(), |it| *it == found) {
            return;
        }
        let mut is_kept = true;
        for problem in &found.0 {
            let ((name, short_id), problem) = (of.names(), problem.clone());
            is_kept &= link.report(Event::LabelInvalid {
                name,
                short_id,
                problem,
            });
        }
        if !found.1.is_empty() {
            let ((name, short_id), labels) = (of.names(), found.1.join(", "));
            is_kept &= link.report(Event::LabelIgnored {
                name,
                short_id,
                labels,
            });
        }
        if is_kept {
            self.reported = Some(Box::new(found));
        }
    }
}
