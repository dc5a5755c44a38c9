//! `Tag_Template`: text with `{name} {id} {short_id} {image} {stream}` in it, and for
//! a container of a pod `{namespace} {pod} {pod_uid}`, for one of a user `{user}`.

use std::fmt;

use crate::format::position::Stream;

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

/// Bytes of a value that come into a tag: of names longer than any runtime allows the
/// host would warn at each append.
const MOST_OF_VALUE: usize = 512;

/// A template that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTemplate {
    parts: Vec<Part>,
}

/// What is wrong with a template, in words for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// What a tag is made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct TagSource<'a> {
    /// Container name without the slash; of a user's container with the user before it, so
    /// that its records get no tag of another container.
    pub name: &'a str,
    /// 64 hexadecimal digits; of a user's container, who may have chosen them, with the user
    /// before them likewise.
    pub id: &'a str,
    /// Its first twelve digits, likewise.
    pub short_id: &'a str,
    /// The image as the user gave it.
    pub image: &'a str,
    /// The namespace of its pod, if it is in one.
    pub namespace: &'a str,
    /// The name of its pod.
    pub pod: &'a str,
    /// The uid of its pod.
    pub pod_uid: &'a str,
    /// The user in whose storage it is.
    pub user: &'a str,
}

impl TagTemplate {
    /// Checks `text`; the error quotes the placeholder that is wrong.
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
        Ok(TagTemplate { parts })
    }

    /// Whether the two streams of a container have tags of their own.
    pub fn depends_on_stream(&self) -> bool {
        self.parts.contains(&Part::Field(Field::Stream))
    }

    /// The tag of one container's stream. What a value may not bring into a
    /// tag (all but letters, digits, `.`, `_`, `-`) becomes `_`, and so does a value that is empty.
    pub fn render(&self, source: TagSource<'_>, stream: Stream) -> String {
        let mut tag = String::new();
        for part in &self.parts {
            let value = match part {
                Part::Text(text) => {
                    tag.push_str(text);
                    continue;
                }
                Part::Field(Field::Name) => source.name,
                Part::Field(Field::Id) => source.id,
                Part::Field(Field::ShortId) => source.short_id,
                Part::Field(Field::Image) => source.image,
                Part::Field(Field::Stream) => stream.name(),
                Part::Field(Field::Namespace) => source.namespace,
                Part::Field(Field::Pod) => source.pod,
                Part::Field(Field::PodUid) => source.pod_uid,
                Part::Field(Field::User) => source.user,
            };
            if value.is_empty() {
                tag.push('_');
            }
            tag.extend(sanitized(value).chars().take(MOST_OF_VALUE));
        }
        tag
    }
}

/// A tag that somebody else chose: what a tag may not hold becomes `_`.
pub fn sanitized(text: &str) -> String {
    text.chars()
        .map(|character| if is_safe(character) { character } else { '_' })
        .collect()
}

/// Letters, digits, `.`, `_` and `-`: what `Match` compares literally and what
/// an output that makes file or topic names of tags can take.
fn is_safe(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

fn parse_field(name: &str, template: &str) -> Result<Field, TemplateError> {
    FIELDS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, field)| *field)
        .ok_or_else(|| {
            let known: Vec<String> = FIELDS
                .iter()
                .map(|(name, _)| format!("{{{name}}}"))
                .collect();
            TemplateError(format!(
                "unknown placeholder `{{{name}}}` in `{template}`; available are {}",
                known.join(" ")
            ))
        })
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Field(field) => {
                    let name = FIELDS
                        .iter()
                        .find(|(_, known)| known == field)
                        .map_or("", |(name, _)| name);
                    write!(f, "{{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: TagSource<'_> = TagSource {
        name: "web-1.prod",
        id: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        short_id: "0123456789ab",
        image: "registry:5000/shop/web:1.2@sha256:ab",
        namespace: "shop",
        pod: "web-6d4cf56db6-x2x7v",
        pod_uid: "b0e7a1de-0d2c-4f9a-8a55-0c3a3a2f2c11",
        user: "ada",
    };

    fn keep(template: &str, name: &str) {
        crate::fuzz_seeds::keep(
            "tag_template",
            format!("{template}\0{name}\0{}", SOURCE.image),
        );
    }

    fn render(template: &str) -> String {
        keep(template, SOURCE.name);
        TagTemplate::parse(template)
            .unwrap()
            .render(SOURCE, Stream::Stderr)
    }

    #[test]
    fn every_placeholder_is_filled() {
        assert_eq!(render("docker.{name}"), "docker.web-1.prod");
        assert_eq!(render("{id}"), SOURCE.id);
        assert_eq!(render("a.{short_id}.{stream}.z"), "a.0123456789ab.stderr.z");
        assert_eq!(render("{image}"), "registry_5000_shop_web_1.2_sha256_ab");
        assert_eq!(
            render("{namespace}/{pod}/{pod_uid}"),
            format!("shop/{}/{}", SOURCE.pod, SOURCE.pod_uid)
        );
        assert_eq!(render("{user}.x"), "ada.x");
        assert_eq!(render("plain"), "plain");
    }

    #[test]
    fn a_long_value_makes_no_long_tag() {
        let long = "n".repeat(100_000);
        let source = TagSource {
            name: &long,
            image: &long,
            ..TagSource::default()
        };
        let tag = TagTemplate::parse("{name}.{image}.x")
            .unwrap()
            .render(source, Stream::Stdout);
        assert_eq!(tag, format!("{0}.{0}.x", "n".repeat(MOST_OF_VALUE)));
    }

    #[test]
    fn values_are_made_safe_for_routing() {
        let template = TagTemplate::parse("{name}").unwrap();
        for (name, tag) in [("a b*c/d\n", "a_b_c_d_"), ("", "_"), ("日本", "__")] {
            keep("{name}", name);
            assert_eq!(
                template.render(TagSource { name, ..SOURCE }, Stream::Stdout),
                tag
            );
        }
    }

    #[test]
    fn errors_quote_what_is_wrong() {
        for (template, part) in [
            ("x.{nam}", "{nam}"),
            ("x.{name", "never closed"),
            ("x}", "without"),
            ("", "empty"),
            ("{}", "{}"),
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
