//! Options that are set and do nothing with the others. Each is reported at the start.

use crate::config::labels::Hint;
use crate::config::Config;
use crate::pipeline::fields::Shape;
use crate::runtime::RuntimeChoice;

/// An option without effect, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inert {
    /// The option, with the value if it has several.
    pub option: String,
    /// Why it has no effect.
    pub reason: String,
}

impl Config {
    /// The options that are set and have no effect.
    pub fn inert(&self) -> Vec<Inert> {
        let mut all = Vec::new();
        let mut add = |is_inert: bool, option: &str, reason: &str| {
            all.extend(is_inert.then(|| Inert {
                option: option.to_owned(),
                reason: reason.to_owned(),
            }));
        };
        let never_merges = !self.merge.is_on && !self.label_hints.allows(Hint::MergeLog);
        let merges = "Merge_Log is off";
        add(never_merges && self.merge.keep_log, "Keep_Log", merges);
        add(
            never_merges && self.merge.key.is_some(),
            "Merge_Log_Key",
            merges,
        );
        let defaults = Config::from_lookup(|_| None::<String>).unwrap_or_default();
        let has_key = self.metadata.key != defaults.metadata.key;
        let is_nested = self.metadata.shape == Shape::Nested;
        add(
            has_key && !is_nested,
            "Metadata_Key",
            "Metadata is not nested",
        );
        let is_off = self.metadata.shape == Shape::Off;
        add(
            is_off && !self.metadata.labels.is_empty(),
            "Labels",
            "Metadata is off",
        );
        add(
            is_off && !self.metadata.env.is_empty(),
            "Env",
            "Metadata is off",
        );
        if let RuntimeChoice::Only(only) = self.runtimes.choice {
            let reason = format!("Runtime is {only}");
            for (option, runtimes, is_set) in self.roots(&defaults) {
                add(is_set && !runtimes.contains(&only), option, &reason);
            }
        }
        for (option, rule) in self.selection.rules() {
            if let Some(reason) = self.why_never(rule.keyword()) {
                add(true, &format!("{option} {rule}"), &reason);
            }
        }
        all
    }

    /// The options about folders of runtimes: the runtimes that read them, and whether each is set.
    fn roots(&self, defaults: &Config) -> [(&'static str, &'static [&'static str], bool); 8] {
        type Runtimes = &'static [&'static str];
        let (own, unset) = (&self.runtimes, &defaults.runtimes);
        let [docker, cri]: [Runtimes; 2] = [&["docker"], &["cri"]];
        let [podman, nerdctl]: [Runtimes; 2] = [&["podman"], &["nerdctl"]];
        // The logs of pods may be links into Docker's data root (cri-dockerd).
        let docker_and_cri: Runtimes = &["docker", "cri"];
        [
            (
                "Docker_Root",
                docker_and_cri,
                own.docker_roots != unset.docker_roots,
            ),
            (
                "Docker_Users",
                docker,
                own.docker_users != unset.docker_users,
            ),
            ("Pod_Logs", cri, own.pod_logs != unset.pod_logs),
            ("Pod_Links", cri, own.pod_links != unset.pod_links),
            ("Podman_Root", podman, own.podman_root != unset.podman_root),
            (
                "Podman_Users",
                podman,
                own.podman_users != unset.podman_users,
            ),
            (
                "Nerdctl_Root",
                nerdctl,
                own.nerdctl_root != unset.nerdctl_root,
            ),
            (
                "Nerdctl_Users",
                nerdctl,
                own.nerdctl_users != unset.nerdctl_users,
            ),
        ]
    }

    /// Why a rule with this keyword matches no container of the runtimes that are read.
    fn why_never(&self, keyword: &str) -> Option<String> {
        let only = match self.runtimes.choice {
            RuntimeChoice::Only(only) => only,
            RuntimeChoice::Auto => "",
        };
        match keyword {
            "user" if !self.runtimes.reads_users() => Some(
                "no containers of users are read (Docker_Users, Podman_Users, Nerdctl_Users)"
                    .to_owned(),
            ),
            "namespace" | "pod" if ["podman", "nerdctl"].contains(&only) => {
                Some(format!("containers of {only} are never in a pod"))
            }
            "image" | "label" | "compose_project" | "compose_service" | "swarm_service"
                if only == "cri" =>
            {
                Some(
                    "with Runtime cri, images and labels are only in the runtime's database"
                        .to_owned(),
                )
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inert(pairs: &[(&str, &str)]) -> Vec<String> {
        let config = Config::from_lookup(|name| {
            let value = pairs.iter().find(|(key, _)| *key == name);
            value.map(|(_, value)| (*value).to_owned())
        });
        let inert = config.unwrap().inert().into_iter();
        inert
            .map(|it| format!("{}: {}", it.option, it.reason))
            .collect()
    }

    #[test]
    fn options_that_do_nothing_are_told_with_the_reason() {
        for (pairs, expected) in [
            (&[("Keep_Log", "on")][..], "Keep_Log: Merge_Log is off"),
            (&[("Merge_Log_Key", "f")], "Merge_Log_Key: Merge_Log is off"),
            (&[("Metadata_Key", "c")], "Metadata_Key: Metadata is not nested"),
            (&[("Labels", "a"), ("Metadata", "off")], "Labels: Metadata is off"),
            (&[("Env", "A"), ("Metadata", "off")], "Env: Metadata is off"),
            (&[("Podman_Root", "/p"), ("Runtime", "docker")], "Podman_Root: Runtime is docker"),
            (&[("Docker_Root", "/d"), ("Runtime", "nerdctl")], "Docker_Root: Runtime is nerdctl"),
            (&[("Docker_Users", "ada"), ("Runtime", "cri")], "Docker_Users: Runtime is cri"),
            (&[("Pod_Links", "/l"), ("Runtime", "docker")], "Pod_Links: Runtime is docker"),
            (
                &[("Include", "image=a"), ("Runtime", "cri")],
                "Include image=a: with Runtime cri, images and labels are only in the runtime's database",
            ),
            (
                &[("Exclude", "pod=a"), ("Runtime", "podman")],
                "Exclude pod=a: containers of podman are never in a pod",
            ),
            (
                &[("Exclude", "user=a")],
                "Exclude user=a: no containers of users are read (Docker_Users, Podman_Users, Nerdctl_Users)",
            ),
        ] {
            assert_eq!(inert(pairs), [expected], "{pairs:?}");
        }
    }

    #[test]
    fn options_that_do_something_are_not() {
        for pairs in [
            &[][..],
            &[
                ("Keep_Log", "on"),
                ("Merge_Log", "on"),
                ("Merge_Log_Key", "f"),
            ],
            &[("Keep_Log", "on"), ("Label_Hints", "merge_log")],
            &[
                ("Metadata", "nested"),
                ("Metadata_Key", "c"),
                ("Labels", "a"),
            ],
            &[
                ("Podman_Root", "/p"),
                ("Docker_Root", "/d"),
                ("Pod_Logs", "/l"),
            ],
            &[
                ("Runtime", "docker"),
                ("Docker_Root", "/d"),
                ("Include", "pod=a,image=b,label=c"),
            ],
            &[
                ("Runtime", "cri"),
                ("Docker_Root", "/d"),
                ("Pod_Links", "/l"),
            ],
            &[("Include", "user=a"), ("Podman_Users", "ada")],
        ] {
            assert_eq!(inert(pairs), [""; 0], "{pairs:?}");
        }
    }
}
