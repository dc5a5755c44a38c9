//! When a container ran last, as far as the files of its runtime say. What it wrote to a file that
//! has no name any more is lost, if it ran then.

/// The last run of a container. Times are in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastRun {
    /// Whether it runs; `None` if nothing says.
    pub is_running: Option<bool>,
    /// When it was started last, if something says.
    pub started: Option<u64>,
    /// When it ended last, if something says.
    pub ended: Option<u64>,
}

impl LastRun {
    /// Whether it may have run at this time.
    pub fn may_include(&self, time: u64) -> bool {
        self.runs_since_before(time) || self.ended.is_none_or(|ended| ended > time)
    }

    /// Whether it runs, and did so at this time.
    pub fn runs_since_before(&self, time: u64) -> bool {
        let is_earlier = self.started.is_some_and(|started| started < time);
        self.is_running == Some(true) && is_earlier
    }

    /// Whether it may run, and have done so at this time.
    pub fn may_run_since_before(&self, time: u64) -> bool {
        let may_be_earlier = self.started.is_none_or(|started| started < time);
        self.is_running != Some(false) && may_be_earlier
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_may_have_been() {
        let of = |is_running, started, ended| LastRun {
            is_running,
            started,
            ended,
        };
        let unknown = LastRun::default();
        assert!(unknown.may_include(5) && unknown.may_run_since_before(5));
        assert!(!unknown.runs_since_before(5));
        let runs = of(Some(true), Some(3), None);
        assert!(runs.may_include(5) && runs.runs_since_before(5));
        // Started again since: whether it ran before, its last end tells.
        assert!(of(Some(true), Some(7), None).may_include(5));
        assert!(of(Some(true), Some(7), Some(6)).may_include(5));
        assert!(!of(Some(true), Some(7), Some(4)).may_include(5));
        assert!(!of(Some(true), Some(7), None).may_run_since_before(5));
        // It ended.
        assert!(of(Some(false), None, None).may_include(5));
        assert!(of(Some(false), Some(3), Some(6)).may_include(5));
        assert!(!of(Some(false), Some(3), Some(4)).may_include(5));
        assert!(!of(Some(false), Some(3), None).may_run_since_before(5));
    }
}
