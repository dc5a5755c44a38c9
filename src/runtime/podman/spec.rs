//! Whose a container is, by its OCI specification (`userdata/config.json`), which is written when it
//! is started.

use std::borrow::Cow;

use serde::Deserialize;

use crate::runtime::safe_path::SafePath;

/// The file.
const SPEC: &str = "config.json";
/// The `io.container.manager` of Podman. CRI-O keeps its containers in the same storage.
const MANAGER: &str = "libpod";

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(rename = "io.container.manager", borrow)]
    manager: Option<Cow<'a, str>>,
}

/// Whether the container with this folder is Podman's; `None` if it has no specification there.
pub(super) fn is_podmans(userdata: &SafePath, most_bytes: u64) -> Option<bool> {
    let path = userdata.join(SPEC);
    path.stat().ok()?;
    let bytes = path.read(most_bytes).unwrap_or_default();
    Some(is_of_podman(&bytes))
}

fn is_of_podman(bytes: &[u8]) -> bool {
    let spec = serde_json::from_slice::<Spec<'_>>(bytes);
    let manager = spec.map(|spec| spec.annotations.and_then(|all| all.manager));
    // Old releases do not say.
    manager.is_ok_and(|manager| manager.is_none_or(|manager| manager == MANAGER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_of_another_manager_is_not_podmans() {
        for (spec, is_ours) in [
            (
                r#"{"annotations":{"io.container.manager":"libpod","x":"y"}}"#,
                true,
            ),
            (r#"{"annotations":{"io.container.manager":"cri-o"}}"#, false),
            (r#"{"annotations":null}"#, true),
            ("{}", true),
            ("[", false),
        ] {
            assert_eq!(is_of_podman(spec.as_bytes()), is_ours, "{spec}");
        }
    }
}
