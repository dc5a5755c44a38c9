//! Whether the kernel's limits suffice for these containers. Watches are not counted but
//! added, all that the reader would add, and removed again: other processes of the same
//! user use the same limits.

use std::path::Path;

use fluent_bit_container_logs::config::OpenFilesLimit;
use fluent_bit_container_logs::runtime::bounded_file::{read_text, FileKind};
use fluent_bit_container_logs::runtime::file::open_regular;
use fluent_bit_container_logs::runtime::safe_path::SafePath;
use fluent_bit_container_logs::runtime::RootWatch;
use fluent_bit_container_logs::source::watch::FileWatch;
use fluent_bit_container_logs::threads::Threads;
use rustix::process::{getrlimit, Resource};

use super::containers::{Containers, State};
use super::remedy::Place;
use super::Finding;

/// Descriptors in addition to those of logs: wakers, watches, `DB`, and the host's own.
const OTHER_DESCRIPTORS: u64 = 64;
/// The least values to recommend for the limits.
const MANY_WATCHES: u64 = 524_288;
const MANY_INSTANCES: u64 = 1_024;

const LATE: &str =
    "new files, and new lines of quiet logs, are found by polling (Rescan_Interval); nothing is lost";
const NO_MORE_WATCHES: &str = "the watch limit is reached";

/// A limit of the kernel. It has one value for the machine and one for the user namespace.
struct Limit {
    name: String,
    value: u64,
}

impl Limit {
    /// The lower of the two.
    fn of(kind: &str) -> Limit {
        let value = |name: &str| -> u64 {
            let path = Path::new("/proc/sys").join(name.replace('.', "/"));
            let text = read_text(&path, FileKind::Proc).unwrap_or_default();
            text.trim().parse().unwrap_or(u64::MAX)
        };
        let names = [
            format!("fs.inotify.max_user_{kind}"),
            format!("user.max_inotify_{kind}"),
        ];
        let limits = names.map(|name| Limit {
            value: value(&name),
            name,
        });
        let [machine, namespace] = limits;
        if namespace.value < machine.value {
            namespace
        } else {
            machine
        }
    }

    fn shown(&self) -> String {
        if self.value == u64::MAX {
            "?".to_owned()
        } else {
            self.value.to_string()
        }
    }
}

/// Adds the watches and says how many succeeded.
pub fn watches(containers: &Containers, findings: &mut Vec<Finding>) -> String {
    let (instances, watches) = (Limit::of("instances"), Limit::of("watches"));
    match take_watches(containers) {
        Ok(taken) => {
            format!(
                "{taken} test watches added; {} = {}",
                watches.name,
                watches.shown()
            )
        }
        Err((taken, what, error)) => {
            let (limit, most, about) = match what {
                What::Instance => (
                    instances,
                    MANY_INSTANCES,
                    "notification for all files".to_owned(),
                ),
                What::Watch => (
                    watches,
                    MANY_WATCHES,
                    format!("notification beyond {taken} watches"),
                ),
            };
            let wanted = most.max(limit.value.saturating_mul(2).min(1 << 30));
            let fix = format!(
                "sysctl {0}={wanted}, and the same line in a file in /etc/sysctl.d/ ({0} is {1} now)",
                limit.name,
                limit.shown()
            );
            let problem = format!("{error}: {LATE}");
            findings.push(Finding::minor(about, problem, fix));
            format!(
                "not available: {error} ({} = {})",
                limit.name,
                limit.shown()
            )
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Instance,
    Watch,
}

/// The number of watches; on an error, the number added before, and what failed.
fn take_watches(containers: &Containers) -> Result<usize, (usize, What, String)> {
    let mut watch = FileWatch::new().map_err(|error| (0, What::Instance, error.to_string()))?;
    let mut roots = Vec::new();
    let mut taken = 0;
    for group in containers
        .groups
        .iter()
        .filter(|group| matches!(group.state, State::Listed))
    {
        match RootWatch::new(&group.root, &Threads::default(), || {}) {
            Ok(root) => roots.push(root),
            Err(reason) if reason.contains("watch limit") => {
                return Err((taken, What::Watch, NO_MORE_WATCHES.to_owned()));
            }
            Err(reason) if reason.contains("os error 24") => {
                return Err((taken, What::Instance, reason));
            }
            // A file system without notification is reported elsewhere.
            Err(_) => {}
        }
        let mut folders: Vec<&SafePath> = group.folders.iter().collect();
        for seen in &group.seen {
            folders.push(&seen.dir);
            folders.extend(seen.files.as_ref().map(|files| &files.dir));
        }
        folders.sort_unstable_by_key(|folder| folder.as_os_str());
        folders.dedup();
        for folder in folders {
            let watched = folder.with_path(|folder| watch.watch_folder(taken, folder));
            taken += take(watched, taken)?;
        }
        let files = group
            .seen
            .iter()
            .filter_map(|seen| seen.files.as_ref()?.current());
        for file in files.filter_map(|path| open_regular(path).ok()) {
            taken += take(watch.watch_log(taken, &file).map(drop), taken)?;
        }
    }
    Ok(taken + roots.len())
}

/// 1 if the watch was added, 0 if its file has gone in the meantime.
fn take(watched: std::io::Result<()>, taken: usize) -> Result<usize, (usize, What, String)> {
    match watched {
        Ok(()) => Ok(1),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => {
            Err((taken, What::Watch, NO_MORE_WATCHES.to_owned()))
        }
        Err(_) => Ok(0),
    }
}

/// Compares the limit on open files with the number needed. Logs beyond a share of it are closed while they
/// are not read.
pub fn descriptors(containers: &Containers, place: &Place, findings: &mut Vec<Finding>) -> String {
    let logs = containers
        .all()
        .filter(|seen| seen.needs_api || seen.files.is_some())
        .count() as u64;
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        let needed = OTHER_DESCRIPTORS + logs;
        return format!("about {needed} needed, no limit here");
    };
    let most = OpenFilesLimit::within(Some(limit)).at_rest as u64;
    let needed = OTHER_DESCRIPTORS + logs.min(most);
    if limit < needed {
        let wanted = needed.saturating_mul(2).next_power_of_two().max(1_024);
        findings.push(Finding::fatal(
            "some of the logs",
            format!("about {needed} files need to be open, but only {limit} may be; the other logs wait"),
            place.for_open_files(wanted),
        ));
    }
    let closed = match logs.saturating_sub(most) {
        0 => String::new(),
        closed => format!(" ({closed} logs are closed while nothing is written to them)"),
    };
    format!("about {needed} needed{closed}, {limit} allowed here (ulimit -n; Fluent Bit's service has a LimitNOFILE of its own)")
}
