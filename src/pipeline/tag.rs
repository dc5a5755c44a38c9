//! `Tag_Template`, and the label `fluentbit.io/tag`: a text with placeholders for what is known
//! of the container. Pure.

use std::borrow::Cow;
use std::fmt;

use crate::format::position::Stream;
use crate::pipeline::fields::KNOWN_LABELS;
use crate::runtime::metadata::ContainerMetadata;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Name,
    Id,
    ShortId,
    Image,
    Stream,
    Namespace,
    Pod,
    PodUid,
    User,
    /// The label of this key.
    Label(String),
    /// The environment variable of this name.
    Env(String),
}

const FIELDS: [(&str, Field); 9] = [
    ("name", Field::Name),
    ("id", Field::Id),
    ("short_id", Field::ShortId),
    ("image", Field::Image),
    ("stream", Field::Stream),
    ("namespace", Field::Namespace),
    ("pod", Field::Pod),
    ("pod_uid", Field::PodUid),
    ("user", Field::User),
];

/// Before the key of a label in a placeholder.
const LABEL: &str = "label:";
/// Before the name of a variable in a placeholder.
const ENV: &str = "env:";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// Maximum bytes of a value in a tag. With names longer than any runtime allows, the host
/// would log a warning on each append.
const MOST_OF_VALUE: usize = 512;

/// A validated template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTemplate {
    text: String,
    parts: Vec<Part>,
}

/// Why a template is invalid, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// The values for a tag.
#[derive(Debug, Clone, Copy)]
pub struct TagSource<'a> {
    /// 64 hexadecimal digits.
    pub id: &'a str,
    /// The first twelve.
    pub short_id: &'a str,
    /// Everything else.
    pub metadata: &'a ContainerMetadata,
}

impl TagSource<'_> {
    /// A value that whoever starts or builds the container chooses freely. A user's container
    /// has the user prepended, so that its records cannot get the tag of another container.
    fn chosen<'b>(&self, value: &'b str) -> Cow<'b, str> {
        match &self.metadata.owner {
            Some(owner) => Cow::Owned(owner.title_of(value)),
            None => Cow::Borrowed(value),
        }
    }

    fn value<'b>(&'b self, field: &Field, stream: Stream) -> Cow<'b, str> {
        let metadata = self.metadata;
        let pod = metadata.pod.as_ref();
        Cow::Borrowed(match field {
            Field::Name => return self.chosen(&metadata.name),
            Field::Id => return self.chosen(self.id),
            Field::ShortId => return self.chosen(self.short_id),
            Field::Label(key) => {
                return self.chosen(metadata.labels.get(key).map_or("", String::as_str))
            }
            Field::Env(name) => {
                let mut variables = metadata.env.iter();
                let found = variables.find(|(known, _)| known == name);
                return self.chosen(found.map_or("", |(_, value)| value));
            }
            Field::Image => &metadata.image,
            Field::Stream => stream.name(),
            Field::Namespace => pod.map_or("", |pod| &pod.namespace),
            Field::Pod => pod.map_or("", |pod| &pod.name),
            Field::PodUid => pod.map_or("", |pod| &pod.uid),
            Field::User => metadata.owner.as_ref().map_or("", |owner| &owner.user),
        })
    }
}

impl TagTemplate {
    /// Parses and validates `text`; the error quotes the wrong placeholder.
    pub fn parse(text: &str) -> Result<TagTemplate, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest[open..].starts_with('}') {
                return Err(TemplateError(format!(
                    "`}}` without `{{` before it in `{text}`"
                )));
            }
            let (before, after) = (&rest[..open], &rest[open + 1..]);
            let Some(close) = after.find('}') else {
                return Err(TemplateError(format!("`{{` is never closed in `{text}`")));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Field(parse_field(&after[..close], text)?));
            rest = &after[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if parts.is_empty() {
            return Err(TemplateError("the template is empty".to_owned()));
        }
        Ok(TagTemplate {
            text: text.to_owned(),
            parts,
        })
    }

    /// Like [`TagTemplate::parse`], for a label: its text is foreign input as well, so in it
    /// the same characters become `_` as in values.
    pub fn of_label(text: &str) -> Result<TagTemplate, TemplateError> {
        let mut template = TagTemplate::parse(text)?;
        for part in &mut template.parts {
            if let Part::Text(text) = part {
                *text = sanitized(text);
            }
        }
        Ok(template)
    }

    /// Whether the two streams of a container have different tags.
    pub fn depends_on_stream(&self) -> bool {
        self.parts.contains(&Part::Field(Field::Stream))
    }

    /// Returns the tag of one container's stream. In values, every character except letters,
    /// digits, `.`, `_` and `-` becomes `_`, and so does an empty value.
    pub fn render(&self, source: TagSource<'_>, stream: Stream) -> String {
        let mut tag = String::new();
        for part in &self.parts {
            let field = match part {
                Part::Text(text) => {
                    tag.push_str(text);
                    continue;
                }
                Part::Field(field) => field,
            };
            let value = source.value(field, stream);
            if value.is_empty() {
                tag.push('_');
            }
            tag.extend(sanitized(&value).chars().take(MOST_OF_VALUE));
        }
        tag
    }
}

/// A text with the characters that tags do not allow replaced by `_`.
fn sanitized(text: &str) -> String {
    text.chars()
        .map(|character| if is_safe(character) { character } else { '_' })
        .collect()
}

/// Letters, digits, `.`, `_` and `-`: characters that `Match` compares literally and that
/// outputs can use in file and topic names.
fn is_safe(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

fn parse_field(name: &str, template: &str) -> Result<Field, TemplateError> {
    let of_key = |prefix| name.strip_prefix(prefix).filter(|key| !key.is_empty());
    if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
        Ok(field.clone())
    } else if let Some((label, _)) = KNOWN_LABELS.iter().find(|(_, known)| *known == name) {
        Ok(Field::Label((*label).to_owned()))
    } else if let Some(key) = of_key(LABEL) {
        Ok(Field::Label(key.to_owned()))
    } else if let Some(name) = of_key(ENV) {
        Ok(Field::Env(name.to_owned()))
    } else {
        let fields = FIELDS.iter().map(|(known, _)| *known);
        let known: Vec<String> = fields
            .chain(KNOWN_LABELS.iter().map(|(_, known)| *known))
            .chain(["label:KEY", "env:NAME"])
            .map(|known| format!("{{{known}}}"))
            .collect();
        Err(TemplateError(format!(
            "unknown placeholder `{{{name}}}` in `{template}`; available are {}",
            known.join(" ")
        )))
    }
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Pod;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const IMAGE: &str = "registry:5000/shop/web:1.2@sha256:ab";

    fn metadata() -> ContainerMetadata {
        let labels = [
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "web"),
            ("com.docker.swarm.service.name", "shop_web"),
            ("team", "front/one"),
            ("k8s.io/app=", "x"),
        ];
        ContainerMetadata {
            name: "web-1.prod".into(),
            image: IMAGE.into(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            env: vec![("STAGE".into(), "prod".into())],
            pod: Some(Box::new(Pod {
                namespace: "shop".into(),
                name: "web-6d4cf56db6-x2x7v".into(),
                uid: "b0e7a1de-0d2c-4f9a-8a55-0c3a3a2f2c11".into(),
                container_id: None,
                restart_count: 0,
                is_complete: true,
            })),
            ..ContainerMetadata::default()
        }
    }

    fn render_of(template: &TagTemplate, metadata: &ContainerMetadata, stream: Stream) -> String {
        let source = TagSource {
            id: ID,
            short_id: &ID[..12],
            metadata,
        };
        template.render(source, stream)
    }

    fn keep(template: &str, name: &str) {
        crate::fuzz_seeds::keep("tag_template", format!("{template}\0{name}\0{IMAGE}"));
    }

    fn render(template: &str) -> String {
        let metadata = metadata();
        keep(template, &metadata.name);
        let template = TagTemplate::parse(template).unwrap();
        render_of(&template, &metadata, Stream::Stderr)
    }

    #[test]
    fn every_placeholder_is_filled() {
        assert_eq!(render("docker.{name}"), "docker.web-1.prod");
        assert_eq!(render("{id}"), ID);
        assert_eq!(render("a.{short_id}.{stream}.z"), "a.0123456789ab.stderr.z");
        assert_eq!(render("{image}"), "registry_5000_shop_web_1.2_sha256_ab");
        assert_eq!(
            render("{namespace}/{pod}/{pod_uid}"),
            "shop/web-6d4cf56db6-x2x7v/b0e7a1de-0d2c-4f9a-8a55-0c3a3a2f2c11"
        );
        assert_eq!(render("{user}.x"), "_.x");
        assert_eq!(
            render("{compose_project}.{compose_service}.{swarm_service}.{swarm_task}"),
            "shop.web.shop_web._"
        );
        assert_eq!(render("{label:team}.{label:none}"), "front_one._");
        assert_eq!(render("{label:k8s.io/app=}"), "x");
        assert_eq!(render("{env:STAGE}.{env:STAG}"), "prod._");
        assert_eq!(render("plain"), "plain");
    }

    #[test]
    fn a_long_value_makes_no_long_tag() {
        let long = "n".repeat(100_000);
        let metadata = ContainerMetadata {
            name: long.clone(),
            image: long.clone(),
            labels: [("team".to_owned(), long)].into(),
            ..ContainerMetadata::default()
        };
        let template = TagTemplate::parse("{name}.{image}.{label:team}.x").unwrap();
        let tag = render_of(&template, &metadata, Stream::Stdout);
        assert_eq!(tag, format!("{0}.{0}.{0}.x", "n".repeat(MOST_OF_VALUE)));
    }

    #[test]
    fn values_are_made_safe_for_routing() {
        let template = TagTemplate::parse("{name}").unwrap();
        for (name, tag) in [("a b*c/d\n", "a_b_c_d_"), ("", "_"), ("日本", "__")] {
            keep("{name}", name);
            let metadata = ContainerMetadata {
                name: name.into(),
                ..metadata()
            };
            assert_eq!(render_of(&template, &metadata, Stream::Stdout), tag);
        }
    }

    #[test]
    fn a_label_is_a_template_whose_text_is_made_safe_too() {
        let of_label = |text: &str| {
            let template = TagTemplate::of_label(text)?;
            Ok::<_, TemplateError>(render_of(&template, &metadata(), Stream::Stdout))
        };
        assert_eq!(of_label("parse.nginx*x"), Ok("parse.nginx_x".to_owned()));
        assert_eq!(
            of_label("a/{label:team}.{compose_service}.{stream}"),
            Ok("a_front_one.web.stdout".to_owned())
        );
        let error = of_label("parse.{nam}").unwrap_err().to_string();
        assert!(error.contains("{nam}"), "{error}");
    }

    #[test]
    fn errors_quote_what_is_wrong() {
        for (template, part) in [
            ("x.{nam}", "{nam}"),
            ("x.{name", "never closed"),
            ("x}", "without"),
            ("", "empty"),
            ("{}", "{}"),
            ("{label:}", "{label:KEY}"),
            ("{env:}", "{env:NAME}"),
            ("{labels:team}", "{compose_service}"),
        ] {
            keep(template, "x");
            let error = TagTemplate::parse(template).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn it_knows_whether_streams_have_tags_of_their_own() {
        assert!(TagTemplate::parse("{name}.{stream}")
            .unwrap()
            .depends_on_stream());
        assert!(!TagTemplate::parse("{name}").unwrap().depends_on_stream());
        assert_eq!(
            TagTemplate::parse("a.{name}.{stream}").unwrap().to_string(),
            "a.{name}.{stream}"
        );
    }
}
