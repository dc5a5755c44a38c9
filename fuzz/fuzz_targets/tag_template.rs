//! `Tag_Template`: the template, a container's name and its image, each up to a
//! NUL. A template is refused exactly if a brace is not part of a placeholder, and of a
//! container's values only letters, digits, `.`, `_` and `-` get into a tag.

#![no_main]

use fluent_bit_container_logs::format::position::Stream;
use fluent_bit_container_logs::pipeline::tag::{TagSource, TagTemplate};
use fluent_bit_container_logs::runtime::metadata::ContainerMetadata;
use libfuzzer_sys::fuzz_target;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn safe(value: &str) -> String {
    let safe: String = value
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        // What a value may take of a tag (`MOST_OF_VALUE`).
        .take(512)
        .collect();
    if safe.is_empty() {
        "_".to_owned()
    } else {
        safe
    }
}

/// What a placeholder becomes; `None` if there is no such placeholder.
fn value(field: &str, name: &str, image: &str, stream: Stream) -> Option<String> {
    Some(match field {
        "name" | "env:STAGE" => safe(name),
        "id" => ID.to_owned(),
        "short_id" => ID[..12].to_owned(),
        "image" | "compose_service" | "label:team" | "label:com.docker.compose.service" => {
            safe(image)
        }
        "stream" => stream.name().to_owned(),
        "namespace" | "pod" | "pod_uid" | "user" => "_".to_owned(),
        "compose_project" | "swarm_service" | "swarm_task" | "swarm_node" => "_".to_owned(),
        _ => {
            let key = ["label:", "env:"]
                .iter()
                .find_map(|prefix| field.strip_prefix(prefix))?;
            (!key.is_empty()).then(|| "_".to_owned())?
        }
    })
}

/// The tag; `None` if the template is not sound.
fn filled(text: &str, name: &str, image: &str, stream: Stream) -> Option<String> {
    let mut tag = String::new();
    let mut pieces = text.split('{');
    let first = pieces.next().filter(|text| !text.contains('}'))?;
    tag.push_str(first);
    for piece in pieces {
        let (field, text) = piece.split_once('}')?;
        if text.contains('}') {
            return None;
        }
        tag.push_str(&value(field, name, image, stream)?);
        tag.push_str(text);
    }
    (!tag.is_empty()).then_some(tag)
}

fuzz_target!(|data: &str| {
    let mut parts = data.splitn(3, '\0');
    let text = parts.next().unwrap_or_default();
    let (name, image) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let is_sound = filled(text, name, image, Stream::Stdout).is_some();
    match TagTemplate::parse(text) {
        Err(_) => assert!(!is_sound, "{text:?} is refused"),
        Ok(template) => {
            assert!(is_sound, "{text:?} is taken");
            assert_eq!(template.to_string(), text);
            assert_eq!(template.depends_on_stream(), text.contains("{stream}"));
            let labels = ["team", "com.docker.compose.service"];
            let metadata = ContainerMetadata {
                name: name.to_owned(),
                image: image.to_owned(),
                labels: labels.map(|key| (key.to_owned(), image.to_owned())).into(),
                env: vec![("STAGE".to_owned(), name.to_owned())],
                ..ContainerMetadata::default()
            };
            let source = TagSource {
                id: ID,
                short_id: &ID[..12],
                metadata: &metadata,
            };
            for stream in Stream::ALL {
                let tag = template.render(source, stream);
                assert_eq!(Some(tag), filled(text, name, image, stream));
            }
        }
    }
});
