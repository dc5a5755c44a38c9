//! `Tag_Template`: the template, a container's name and its image, each up to a
//! NUL. A template is refused exactly if a brace is not part of a placeholder, and of a
//! container's names only letters, digits, `.`, `_` and `-` get into a tag.

#![no_main]

use fluent_bit_container_logs::format::position::Stream;
use fluent_bit_container_logs::pipeline::tag::{TagSource, TagTemplate};
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

fuzz_target!(|data: &str| {
    let mut parts = data.splitn(3, '\0');
    let text = parts.next().unwrap_or_default();
    let (name, image) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let filled = |stream: Stream| {
        // One after another: no value can contain a brace.
        text.replace("{name}", &safe(name))
            .replace("{id}", ID)
            .replace("{short_id}", &ID[..12])
            .replace("{image}", &safe(image))
            .replace("{namespace}", &safe(image))
            .replace("{pod}", &safe(name))
            .replace("{pod_uid}", "_")
            .replace("{user}", &safe(name))
            .replace("{stream}", stream.name())
    };
    let is_sound = !text.is_empty() && !filled(Stream::Stdout).contains(['{', '}']);
    match TagTemplate::parse(text) {
        Err(_) => assert!(!is_sound, "{text:?} is refused"),
        Ok(template) => {
            assert!(is_sound, "{text:?} is taken");
            assert_eq!(template.to_string(), text);
            assert_eq!(template.depends_on_stream(), text.contains("{stream}"));
            let short_id = &ID[..12];
            let (namespace, pod, pod_uid, user) = (image, name, "", name);
            let source = TagSource {
                name,
                id: ID,
                short_id,
                image,
                namespace,
                pod,
                pod_uid,
                user,
            };
            for stream in Stream::ALL {
                assert_eq!(template.render(source, stream), filled(stream));
            }
        }
    }
});
