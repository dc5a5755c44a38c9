//! Parts of messages that depend on what there is.

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
        return "as soon as a runtime has any: none of their folders can be seen now".to_owned();
    }
    let roots: Vec<String> = roots
        .iter()
        .map(|root| root.display().to_string())
        .collect();
    format!("below {}", roots.join(", "))
}
