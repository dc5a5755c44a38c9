//! Rules that have no effect.

use fluent_bit_container_logs::config::Config;

use super::containers::Containers;
use super::Finding;

/// Reports the rules that match no container, if there is any, and those that cannot match some.
pub fn report(config: &Config, containers: &Containers, findings: &mut Vec<Finding>) {
    if containers.all().next().is_none() {
        return;
    }
    let fix = match containers.all().any(|seen| !seen.blind.is_empty()) {
        true => "compare it with the names and images above: a rule must match the whole value; the image and labels of a pod's container are only in containerd's database, which is read only for nerdctl, so no rule about them matches",
        false => "compare it with the names and images above: a rule must match the whole value",
    };
    let mut unused = Vec::new();
    for (index, (option, rule)) in config.selection.rules().enumerate() {
        let is_used = containers
            .all()
            .any(|seen| seen.matches.get(index) == Some(&true));
        if !is_used {
            let rule = format!("{option} {rule}");
            findings.push(Finding::minor(
                rule.clone(),
                "it matches none of these containers",
                fix,
            ));
            unused.push(rule);
        }
    }
    // One container stands for all.
    let Some(seen) = containers.all().find(|seen| !seen.blind.is_empty()) else {
        return;
    };
    for rule in seen.blind.iter().filter(|rule| !unused.contains(rule)) {
        let problem = format!(
            "it has no effect on containers such as {}, whose image and labels are only in containerd's database, which is not read for pods and cannot be read for nerdctl",
            seen.name
        );
        let fix = "use rules about name, namespace or pod";
        findings.push(Finding::minor(rule.clone(), problem, fix));
    }
}
