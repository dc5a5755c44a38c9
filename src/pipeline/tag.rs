//! `Tag_Template`: a text with `{name} {id} {short_id} {image} {stream}`, for containers in a
//! pod also `{namespace} {pod} {pod_uid}`, and for a user's containers `{user}`.

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

/// Maximum bytes of a value in a tag. With names longer than any runtime allows, the host
/// would log a warning on each append.
const MOST_OF_VALUE: usize = 512;

/// A validated template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagTemplate {
    parts: Vec<Part>,
}

/// Why a template is invalid, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// The values for a tag.
#[derive(Debug, Clone, Copy, Default)]
pub struct TagSource<'a> {
    /// Container name without the slash. A user's container has the user prepended, so that
    /// its records cannot get the tag of another container.
    pub name: &'a str,
    /// 64 hexadecimal digits. Since a user may have chosen them, a user's container has the
    /// user prepended here too.
    pub id: &'a str,
    /// The first twelve digits, with the user prepended likewise.
    pub short_id: &'a str,
    /// The image as given by the user.
    pub image: &'a str,
    /// The pod's namespace, if the container is in a pod.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The pod's UID.
    pub pod_uid: &'a str,
    /// The user whose storage contains it.
    pub user: &'a str,
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
        Ok(TagTemplate { parts })
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

/// A tag taken from foreign input, with disallowed characters replaced by `_`.
pub fn sanitized(text: &str) -> String {
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
