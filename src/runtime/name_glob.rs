//! Containers by name, as `tail-containers NAME` selects them: globs for the names that people call
//! a container by. Pure.

use globset::{GlobBuilder, GlobMatcher};

use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;

/// The least number of digits by which an id is meant: those that `docker ps` shows.
const SHORT_ID: usize = 12;
/// The labels with a container's project and service.
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const SWARM_SERVICE: &str = "com.docker.swarm.service.name";

/// A glob for the name of a container. `*` matches no `/`.
#[derive(Debug, Clone)]
pub struct Name {
    text: String,
    glob: GlobMatcher,
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.text == other.text
    }
}

impl Eq for Name {}

impl Name {
    /// Compiles `text`; the error quotes it.
    pub fn parse(text: &str) -> Result<Name, String> {
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|error| format!("`{text}`: {}", error.kind()))?;
        Ok(Name {
            text: text.to_owned(),
            glob: glob.compile_matcher(),
        })
    }

    /// The text that was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether one of the container's names matches, or its id begins with it.
    pub fn fits(&self, id: &ContainerId, metadata: &ContainerMetadata) -> bool {
        let is_id = self.text.len() >= SHORT_ID
            && (runtime_id(id, metadata).to_string()).starts_with(&self.text);
        is_id || names_of(metadata).iter().any(|it| self.glob.is_match(it))
    }
}

/// The id that its runtime gave a container.
fn runtime_id(id: &ContainerId, metadata: &ContainerMetadata) -> ContainerId {
    match (&metadata.pod, &metadata.owner) {
        (Some(pod), _) => pod.container_id.unwrap_or(*id),
        (None, Some(owner)) => owner.container_id,
        (None, None) => *id,
    }
}

/// All names of a container: `web`; `shop/web` for the service of a project; `namespace/pod` and
/// `namespace/pod/container`; `~user/web`.
pub fn names_of(metadata: &ContainerMetadata) -> Vec<String> {
    let mut names = vec![metadata.name.clone(), metadata.title()];
    if let Some(pod) = &metadata.pod {
        names.push(pod.name.clone());
        names.push(format!("{}/{}", pod.namespace, pod.name));
    }
    let label = |key: &str| metadata.labels.get(key).filter(|value| !value.is_empty());
    names.extend(label(SERVICE).cloned());
    names.extend(label(SWARM_SERVICE).cloned());
    if let Some(project) = label(PROJECT) {
        let within = metadata.name.strip_prefix(project.as_str());
        let within = within.and_then(|rest| rest.strip_prefix(['-', '_']));
        let of_project = label(SERVICE).map(String::as_str).into_iter().chain(within);
        names.extend(of_project.map(|name| format!("{project}/{name}")));
    }
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Owner, Pod};

    fn fits(text: &str, metadata: &ContainerMetadata) -> bool {
        let id = ContainerId::parse(&"ab".repeat(32)).unwrap();
        Name::parse(text).unwrap().fits(&id, metadata)
    }

    #[test]
    fn a_container_of_a_project_has_the_names_of_its_service() {
        let labels = [(PROJECT, "shop"), (SERVICE, "web")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let web = ContainerMetadata {
            name: "shop-web-1".into(),
            labels: labels.into(),
            ..ContainerMetadata::default()
        };
        for (text, expected) in [
            ("web", true),
            ("shop/web", true),
            ("shop/web-*", true),
            ("shop/*", true),
            ("shop-*", true),
            ("*/web", true),
            ("we", false),
            ("shop", false),
            ("other/web", false),
            ("abababababab", true),
            ("ababababab", false),
            ("abababababac", false),
        ] {
            assert_eq!(fits(text, &web), expected, "{text}");
        }
    }

    #[test]
    fn a_container_of_a_pod_has_the_names_of_the_pod() {
        let pod = Pod {
            namespace: "shop".into(),
            name: "web-6d4b".into(),
            uid: "u".into(),
            container_id: ContainerId::parse(&"cd".repeat(32)),
            restart_count: 0,
            is_complete: true,
        };
        let app = ContainerMetadata {
            name: "app".into(),
            pod: Some(Box::new(pod)),
            ..ContainerMetadata::default()
        };
        for (text, expected) in [
            ("app", true),
            ("web-*", true),
            ("shop/web-*", true),
            ("shop/*", true),
            ("shop/web-*/app", true),
            ("*/*/app", true),
            ("shop/app", false),
            ("cdcdcdcdcdcd", true),
            ("abababababab", false),
        ] {
            assert_eq!(fits(text, &app), expected, "{text}");
        }
    }

    #[test]
    fn a_container_of_a_user_is_told_from_one_of_the_machine() {
        let of_ada = ContainerMetadata {
            name: "web".into(),
            owner: Some(Box::new(Owner {
                user: "ada".into(),
                container_id: ContainerId::from_bytes([1; 32]),
            })),
            ..ContainerMetadata::default()
        };
        assert!(fits("web", &of_ada) && fits("~ada/*", &of_ada) && !fits("~eve/*", &of_ada));
    }

    #[test]
    fn a_glob_that_is_none_is_quoted() {
        assert!(Name::parse("web[").unwrap_err().contains("`web[`"));
    }
}
