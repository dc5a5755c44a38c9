//! Parts of messages that depend on what is there.

use std::path::PathBuf;

/// The name of what was just mentioned, if it has one.
pub(super) fn by_name(name: &str) -> String {
    match name {
        "" => String::new(),
        name => format!(", `{name}`,"),
    }
}

/// Where containers are found.
pub(super) fn below(roots: &[PathBuf]) -> String {
    if roots.is_empty() {
        return "as soon as a runtime has any: no folder of a runtime exists or is visible now"
            .to_owned();
    }
    let roots: Vec<String> = roots
        .iter()
        .map(|root| root.display().to_string())
        .collect();
    format!("below {}", roots.join(", "))
}

#[cfg(test)]
mod tests {
    use crate::telemetry::event::Event;

    #[test]
    fn the_other_input_is_called_by_its_name_if_it_has_one() {
        let shared = |other: &str| {
            let event = Event::SharedContainers {
                count: 2,
                name: "web".to_owned(),
                short_id: "4c01db0b339c".to_owned(),
                other: other.to_owned(),
            };
            event.to_string()
        };
        let text = shared("all");
        assert!(text.starts_with("another input of this process, `all`, reads 2 "));
        let text = shared("");
        assert!(text.starts_with("another input of this process reads 2 "));
    }
}
