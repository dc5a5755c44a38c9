//! Selects the containers to read: `Include`, `Exclude`, the label `fluentbit.io/exclude`, and
//! the container this process runs in.
//!
//! A container is read if no `Exclude` rule matches it and, if there are `Include` rules, at
//! least one of them does. Pure.

use std::fmt;

use globset::{Glob, GlobMatcher};

use crate::runtime::id::ContainerId;
use crate::runtime::image;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::name_glob::Name;
use crate::runtime::nerdctl;
use crate::runtime::own_container::{Candidate, OwnContainer};

/// The label by which a container asks not to be read.
pub const EXCLUDE_LABEL: &str = "fluentbit.io/exclude";

/// The property of a container that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Name,
    Image,
    Driver,
    Namespace,
    Pod,
    User,
    Label(String),
}

/// Rule keywords for a property of the container.
const SUBJECTS: [(&str, Subject); 6] = [
    ("name", Subject::Name),
    ("image", Subject::Image),
    ("driver", Subject::Driver),
    ("namespace", Subject::Namespace),
    ("pod", Subject::Pod),
    ("user", Subject::User),
];

/// Rule keywords for labels set by other tools.
const LABEL_SUBJECTS: [(&str, &str); 3] = [
    ("compose_project", "com.docker.compose.project"),
    ("compose_service", "com.docker.compose.service"),
    ("swarm_service", "com.docker.swarm.service.name"),
];

/// One rule, such as `name=web-*`.
#[derive(Debug, Clone)]
pub struct Rule {
    text: String,
    subject: Subject,
    /// `None` matches any value that is present.
    glob: Option<GlobMatcher>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.text == other.text
    }
}

impl Eq for Rule {}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Rule {
    /// Parses `text`; the error quotes it.
    pub fn parse(text: &str) -> Result<Rule, String> {
        let Some((word, value)) = text.split_once('=') else {
            return Err(format!(
                "`{text}` is not a rule; use {}; write a comma inside a value as `\\,`",
                forms()
            ));
        };
        let (word, value) = (word.trim(), value.trim());
        let (subject, pattern) = if word == "label" {
            match value.split_once('=') {
                Some((key, pattern)) => {
                    (Subject::Label(unescaped(key.trim())), Some(pattern.trim()))
                }
                None => (Subject::Label(unescaped(value)), None),
            }
        } else if let Some((_, subject)) = SUBJECTS.iter().find(|(known, _)| *known == word) {
            (subject.clone(), Some(value))
        } else if let Some((_, label)) = LABEL_SUBJECTS.iter().find(|(known, _)| *known == word) {
            (Subject::Label((*label).to_owned()), Some(value))
        } else {
            return Err(format!("`{text}` does not begin with any of {}", forms()));
        };
        if value.is_empty() || subject == Subject::Label(String::new()) {
            return Err(format!("`{text}` has nothing after `=`"));
        }
        let glob = match pattern {
            None => None,
            Some(pattern) => {
                let glob =
                    Glob::new(pattern).map_err(|error| format!("`{text}`: {}", error.kind()))?;
                Some(glob.compile_matcher())
            }
        };
        Ok(Rule {
            text: text.to_owned(),
            subject,
            glob,
        })
    }

    /// The word before `=`.
    pub fn keyword(&self) -> &str {
        self.text.split('=').next().unwrap_or_default().trim()
    }

    /// Whether a container matches it. `driver` is empty if its log driver is unknown.
    pub fn fits(&self, metadata: &ContainerMetadata, driver: &str) -> bool {
        let value = match &self.subject {
            Subject::Name => metadata.name.as_str(),
            Subject::Image => {
                let spellings = image::spellings(&metadata.image);
                return spellings.iter().any(|image| self.matches(image));
            }
            Subject::Driver => driver,
            Subject::Namespace => metadata.pod.as_ref().map_or("", |pod| &pod.namespace),
            Subject::Pod => metadata.pod.as_ref().map_or("", |pod| &pod.name),
            // `user=*` matches the containers of users, and none of a daemon.
            Subject::User => match &metadata.owner {
                Some(owner) => &owner.user,
                None => return false,
            },
            Subject::Label(key) => match metadata.labels.get(key) {
                Some(value) => value,
                None => return false,
            },
        };
        self.matches(value)
    }

    fn matches(&self, value: &str) -> bool {
        self.glob.as_ref().is_none_or(|glob| glob.is_match(value))
    }
}

/// A label's key without the backslashes of a list.
fn unescaped(text: &str) -> String {
    let mut is_escaped = false;
    text.chars()
        .filter(|character| {
            is_escaped = *character == '\\' && !is_escaped;
            !is_escaped
        })
        .collect()
}

/// The possible forms of a rule, for errors.
fn forms() -> String {
    let names = SUBJECTS
        .iter()
        .map(|(name, _)| *name)
        .chain(LABEL_SUBJECTS.iter().map(|(name, _)| *name));
    let names: Vec<String> = names.map(|name| format!("{name}=GLOB")).collect();
    format!("{}, label=KEY or label=KEY=GLOB", names.join(", "))
}

/// All rules of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// If empty, all containers are included.
    pub include: Vec<Rule>,
    /// Takes precedence over `include`.
    pub exclude: Vec<Rule>,
    /// If not empty, one of these must match in addition. Not an option of the plugin;
    /// `tail-containers NAME` sets it.
    pub names: Vec<Name>,
    /// Whether the exclude label is allowed (`Label_Hints`).
    pub allows_label: bool,
}

/// Why a container is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Excluded {
    #[error("this process runs in it (Exclude_Self)")]
    Own,
    #[error("it has the label {EXCLUDE_LABEL}")]
    ByLabel,
    #[error("it matches Exclude {0}")]
    ByRule(String),
    #[error("no Include rule matches it")]
    NotIncluded,
    #[error("no NAME matches it")]
    NotNamed,
}

impl Selection {
    /// All rules, with the option that each is from.
    pub fn rules(&self) -> impl Iterator<Item = (&'static str, &Rule)> {
        let include = self.include.iter().map(|rule| ("Include", rule));
        include.chain(self.exclude.iter().map(|rule| ("Exclude", rule)))
    }

    /// The rules, with their options, that cannot match a container because its image or its labels
    /// are only in containerd's database: that of a pod, or of nerdctl if the database is not read.
    pub fn without_effect(&self, metadata: &ContainerMetadata) -> Vec<String> {
        let is_of_nerdctl = metadata.runtime == nerdctl::RUNTIME_NAME && metadata.labels.is_empty();
        if metadata.pod.is_none() && !is_of_nerdctl {
            return Vec::new();
        }
        let is_blind = |rule: &Rule| match rule.subject {
            Subject::Image => metadata.image.is_empty(),
            Subject::Label(_) => metadata.labels.is_empty(),
            _ => false,
        };
        let rules = self.rules().filter(|(_, rule)| is_blind(rule));
        let rules = rules.map(|(option, rule)| format!("{option} {rule}"));
        let is_deaf = self.allows_label && metadata.labels.is_empty();
        rules
            .chain(is_deaf.then(|| "Label_Hints exclude".to_owned()))
            .collect()
    }

    /// Why a container is not read; `None` if it is. `driver` is empty if the log driver is
    /// unknown.
    pub fn excludes(
        &self,
        own: &OwnContainer,
        id: &ContainerId,
        metadata: &ContainerMetadata,
        driver: &str,
    ) -> Option<Excluded> {
        if own.is(&candidate(id, metadata)) {
            return Some(Excluded::Own);
        }
        let asks_for_it = || {
            metadata
                .labels
                .get(EXCLUDE_LABEL)
                .is_some_and(|value| is_true(value))
        };
        if self.allows_label && asks_for_it() {
            return Some(Excluded::ByLabel);
        }
        if let Some(rule) = self.exclude.iter().find(|rule| rule.fits(metadata, driver)) {
            return Some(Excluded::ByRule(rule.to_string()));
        }
        let is_in =
            self.include.is_empty() || self.include.iter().any(|rule| rule.fits(metadata, driver));
        if !is_in {
            return Some(Excluded::NotIncluded);
        }
        let is_named =
            self.names.is_empty() || self.names.iter().any(|name| name.fits(id, metadata));
        (!is_named).then_some(Excluded::NotNamed)
    }
}

fn candidate<'a>(id: &ContainerId, metadata: &'a ContainerMetadata) -> Candidate<'a> {
    let (pod, owner) = (metadata.pod.as_ref(), metadata.owner.as_ref());
    Candidate {
        id: match (pod, owner) {
            // The checkpoint's id of both is not the runtime's.
            (Some(pod), _) => pod.container_id,
            (None, Some(owner)) => Some(owner.container_id),
            (None, None) => Some(*id),
        },
        in_pod: pod.map(|pod| (pod.uid.as_str(), metadata.name.as_str())),
        mounted: &metadata.mounted,
    }
}

/// Whether a label value means yes.
pub fn is_true(value: &str) -> bool {
    ["true", "on", "yes", "1"]
        .iter()
        .any(|yes| yes.eq_ignore_ascii_case(value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Owner, Pod};

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let rules = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Rule::parse(text).unwrap())
                .collect()
        };
        Selection {
            include: rules(include),
            exclude: rules(exclude),
            names: Vec::new(),
            allows_label: true,
        }
    }

    fn container(name: &str, image: &str, labels: &[(&str, &str)]) -> ContainerMetadata {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        ContainerMetadata {
            name: name.into(),
            image: image.into(),
            labels,
            ..ContainerMetadata::default()
        }
    }

    fn excludes(selection: &Selection, metadata: &ContainerMetadata) -> Option<Excluded> {
        let id = ContainerId::parse(&"a".repeat(64)).unwrap();
        selection.excludes(&OwnContainer::default(), &id, metadata, "json-file")
    }

    #[test]
    fn a_rule_fits_by_what_it_names() {
        let web = container(
            "shop-web-1",
            "registry:5000/shop/web:1.2@sha256:ab",
            &[
                ("team", "front"),
                ("empty", ""),
                ("hosts", "a.example,b.example"),
                ("json", r#"{"a":1,"b":2}"#),
                ("a,b", "x"),
                (r"back\slash", "1"),
                ("com.docker.compose.project", "shop"),
            ],
        );
        for (rule, fits) in [
            ("name=shop-*", true),
            ("name=web", false),
            ("name=shop-{web,api}-?", true),
            ("name = shop-web-[0-9]", true),
            ("image=*/shop/*", true),
            ("image=registry:5000/*", true),
            ("image=nginx*", false),
            ("driver=json-file", true),
            ("driver=local", false),
            ("label=team", true),
            ("label=team=fr*", true),
            ("label=team=back", false),
            ("label=empty", true),
            ("label=empty=", true),
            ("label=team=", false),
            ("label=other", false),
            ("label=other=*", false),
            ("compose_project=shop", true),
            ("compose_service=*", false),
            ("swarm_service=*", false),
            (r"label=hosts=a.example\,b.example", true),
            ("label=hosts=a.example[,]b.example", true),
            ("label=hosts=a.example", false),
            (r"label=json=\{*\,*\}", true),
            (r"label=a\,b", true),
            (r"label=back\\slash=1", true),
            ("image=registry:5000/shop/web:1.2", true),
            ("image=web:1.2", false),
        ] {
            match Rule::parse(rule) {
                Ok(parsed) => assert_eq!(parsed.fits(&web, "json-file"), fits, "{rule}"),
                Err(error) => panic!("{rule}: {error}"),
            }
        }
    }

    #[test]
    fn a_rule_for_users_fits_their_containers_alone() {
        let web = container("web", "i", &[]);
        let owner = Owner {
            user: "ada".into(),
            container_id: ContainerId::from_bytes([1; 32]),
        };
        let of_ada = ContainerMetadata {
            owner: Some(Box::new(owner)),
            ..web.clone()
        };
        for (rule, fits_ada) in [
            ("user=*", true),
            ("user=ada", true),
            ("user=a*", true),
            ("user=eve", false),
        ] {
            let rule = Rule::parse(rule).unwrap();
            assert_eq!(
                (rule.fits(&of_ada, ""), rule.fits(&web, "")),
                (fits_ada, false),
                "{rule}"
            );
        }
        let own = OwnContainer::from_parts(&format!("0::/podman/{}", "01".repeat(32)), "", "");
        let key = ContainerId::from_bytes([9; 32]);
        assert_eq!(
            selection(&[], &[]).excludes(&own, &key, &of_ada, ""),
            Some(Excluded::Own)
        );
        assert_eq!(selection(&[], &[]).excludes(&own, &key, &web, ""), None);
    }

    #[test]
    fn any_include_admits_and_any_exclude_wins() {
        let web = container("web", "nginx", &[]);
        let api = container("api", "nginx", &[]);
        let db = container("db", "postgres", &[]);
        let all = selection(&[], &[]);
        assert_eq!(excludes(&all, &web), None);
        let some = selection(&["name=db", "image=nginx"], &["name=api"]);
        assert_eq!(excludes(&some, &web), None);
        assert_eq!(excludes(&some, &db), None);
        assert_eq!(
            excludes(&some, &api),
            Some(Excluded::ByRule("name=api".into()))
        );
        assert_eq!(
            excludes(&selection(&["name=x"], &[]), &web),
            Some(Excluded::NotIncluded)
        );
    }

    #[test]
    fn the_label_and_the_own_container_win_over_every_include() {
        let all = selection(&["name=*"], &[]);
        for (value, is_out) in [
            ("true", true),
            ("True", true),
            ("1", true),
            ("false", false),
            ("", false),
        ] {
            let found = excludes(&all, &container("web", "i", &[(EXCLUDE_LABEL, value)]));
            assert_eq!(found, is_out.then_some(Excluded::ByLabel), "{value}");
        }
        let deaf = Selection {
            allows_label: false,
            ..all.clone()
        };
        assert_eq!(
            excludes(&deaf, &container("web", "i", &[(EXCLUDE_LABEL, "true")])),
            None
        );
        let id = ContainerId::parse(&"a".repeat(64)).unwrap();
        let own = OwnContainer::from_parts(&format!("0::/docker/{id}"), "", "");
        let web = container("web", "i", &[]);
        assert_eq!(all.excludes(&own, &id, &web, ""), Some(Excluded::Own));
    }

    #[test]
    fn rules_about_what_is_not_known_are_told() {
        let rules = selection(&["name=a", "label=team"], &["image=x", "compose_service=y"]);
        let known = container("web", "i", &[]);
        let nameless = container("web", "", &[]);
        for of_docker in [&known, &nameless] {
            assert_eq!(rules.without_effect(of_docker), [""; 0]);
        }
        let pod = Pod {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
            container_id: None,
            restart_count: 0,
            is_complete: true,
        };
        let of_pod = ContainerMetadata {
            pod: Some(Box::new(pod.clone())),
            ..nameless
        };
        let below_docker = ContainerMetadata {
            pod: Some(Box::new(pod)),
            ..container("web", "i", &[("io.kubernetes.pod.name", "web")])
        };
        assert_eq!(rules.without_effect(&below_docker), [""; 0]);
        assert_eq!(
            rules.without_effect(&of_pod),
            [
                "Include label=team",
                "Exclude image=x",
                "Exclude compose_service=y",
                "Label_Hints exclude"
            ]
        );
        let of_nerdctl = ContainerMetadata {
            pod: None,
            runtime: nerdctl::RUNTIME_NAME,
            ..of_pod.clone()
        };
        assert_eq!(
            rules.without_effect(&of_nerdctl),
            rules.without_effect(&of_pod)
        );
    }

    #[test]
    fn errors_quote_the_rule() {
        for rule in [
            "web", "nam=web", "name=", "label=", "label==x", "name=[a", "name={a", "=x", "Name=web",
        ] {
            let error = Rule::parse(rule).unwrap_err();
            assert!(error.contains(rule), "{rule}: {error}");
        }
    }
}
