//! Containers that run and write to one log, which `--log-opt path` put outside their folders.

use std::collections::HashMap;

use fluent_bit_container_logs::runtime::LogFiles;

use super::containers::Containers;
use super::Finding;

/// Reports each container that writes to the log of another one.
pub fn report_shared(containers: &Containers, findings: &mut Vec<Finding>) {
    let mut first = HashMap::new();
    for seen in containers.all().filter(|seen| seen.is_said_to_run) {
        let is_outside = |files: &&LogFiles| !files.dir.starts_with(&seen.dir);
        let Some(files) = seen.files.as_ref().filter(is_outside) else {
            continue;
        };
        let Some(other) = first.insert(files.path.to_path_buf(), &*seen.name) else {
            continue;
        };
        findings.push(Finding::minor(
            &*seen.name,
            format!(
                "it runs and writes to the same log as {other}, {}: their lines cannot be told apart, and all since the second one was created are delivered once, as lines of that one",
                files.path.display()
            ),
            "give each container a path of its own (--log-opt path= of Podman, log-path= of nerdctl)",
        ));
    }
}
