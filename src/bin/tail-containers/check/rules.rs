//! Rules that have no effect.

use fluent_bit_container_logs::config::Config;

use super::containers::Containers;
use super::Finding;

/// Reports the rules that match no container, if there is any.
pub fn report(config: &Config, containers: &Containers, findings: &mut Vec<Finding>) {
    if containers.all().next().is_none() {
        return;
    }
    for (index, (option, rule)) in config.selection.rules().enumerate() {
        let is_used = containers
            .all()
            .any(|seen| seen.matches.get(index) == Some(&true));
        if !is_used {
            findings.push(Finding::minor(
                format!("{option} {rule}"),
                "it matches none of these containers",
                "compare it with the names and images above: a rule must match the whole value; image and labels of a container in a pod are not on disk, so no rule matches them",
            ));
        }
    }
}
