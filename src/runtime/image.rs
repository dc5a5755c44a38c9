//! References to images, such as `registry:5000/shop/web:1.2@sha256:…`. Pure.

/// The registry and the folder that a reference without them means.
const DEFAULT_REGISTRY: &str = "docker.io/";
const OFFICIAL: &str = "library/";
/// The registry's older name.
const OLD_REGISTRY: &str = "index.docker.io/";
/// The registry that Podman writes before the name of an image built on this machine.
const LOCAL: &str = "localhost/";
/// The tag that a reference without tag and digest means.
const DEFAULT_TAG: &str = "latest";

/// A reference in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image<'a> {
    /// Registry and path.
    pub name: &'a str,
    /// What follows the colon, if there is one.
    pub tag: Option<&'a str>,
    /// What follows the `@`, if there is one.
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Splits a reference.
    pub fn parse(reference: &'a str) -> Image<'a> {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => Image {
                name,
                tag: Some(tag),
                digest,
            },
            _ => Image {
                name: rest,
                tag: None,
                digest,
            },
        }
    }

    /// The names by which people call this image: without the default registry, and with it.
    fn names(&self) -> Vec<String> {
        let name = self.name;
        let in_default = [OLD_REGISTRY, DEFAULT_REGISTRY]
            .iter()
            .find_map(|registry| name.strip_prefix(registry));
        let has_registry = name
            .split_once('/')
            .is_some_and(|(first, _)| first.contains(['.', ':']) || format!("{first}/") == LOCAL);
        let path = match in_default {
            Some(path) => path,
            None if has_registry => {
                let local = name.strip_prefix(LOCAL);
                return std::iter::once(name)
                    .chain(local)
                    .map(str::to_owned)
                    .collect();
            }
            None => name,
        };
        let short = path.strip_prefix(OFFICIAL).unwrap_or(path);
        let mut names = vec![short.to_owned(), format!("{DEFAULT_REGISTRY}{short}")];
        if !short.contains('/') {
            names.push(format!("{OFFICIAL}{short}"));
            names.push(format!("{DEFAULT_REGISTRY}{OFFICIAL}{short}"));
        }
        names
    }

    /// The ends by which people call it: its tag, the one that is implied, and its digest.
    fn ends(&self) -> Vec<String> {
        let mut tags = vec![self.tag.map_or(String::new(), |tag| format!(":{tag}"))];
        match (self.tag, self.digest) {
            (None, None) => tags.push(format!(":{DEFAULT_TAG}")),
            (Some(DEFAULT_TAG), _) => tags.push(String::new()),
            _ => {}
        }
        if let Some(digest) = self.digest {
            let tagged = tags.iter().map(|tag| format!("{tag}@{digest}"));
            let ends: Vec<String> = tagged.chain([format!("@{digest}")]).collect();
            tags.extend(ends);
        }
        tags
    }
}

/// All ways to write a reference that mean the same image, among them `reference` itself:
/// with and without the default registry, the implied tag and the digest.
pub fn spellings(reference: &str) -> Vec<String> {
    let mut all = vec![reference.to_owned()];
    if !reference.is_empty() {
        let image = Image::parse(reference);
        let ends = image.ends();
        for name in image.names() {
            all.extend(ends.iter().map(|end| format!("{name}{end}")));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_split_at_its_tag() {
        for (image, name, tag) in [
            ("nginx", "nginx", None),
            ("nginx:1", "nginx", Some("1")),
            ("r:5000/a/b", "r:5000/a/b", None),
            ("r:5000/a/b:1@sha256:x", "r:5000/a/b", Some("1")),
            ("sha256:ab", "sha256", Some("ab")),
            ("", "", None),
        ] {
            let found = Image::parse(image);
            assert_eq!((found.name, found.tag), (name, tag), "{image}");
        }
    }

    #[test]
    fn every_spelling_of_an_image_is_known_and_no_other_images() {
        for (reference, same, other) in [
            (
                "nginx:1.25@sha256:ab",
                &[
                    "nginx:1.25",
                    "nginx:1.25@sha256:ab",
                    "nginx@sha256:ab",
                    "library/nginx:1.25",
                    "docker.io/nginx:1.25",
                    "docker.io/library/nginx:1.25",
                    "docker.io/library/nginx:1.25@sha256:ab",
                ][..],
                &["nginx", "nginx:latest", "nginx:1.2", "localhost/nginx:1.25"][..],
            ),
            (
                "docker.io/library/nginx:latest",
                &["nginx", "nginx:latest", "docker.io/library/nginx"],
                &["nginx:1.25", "library/nginx:1.25"],
            ),
            (
                "nginx",
                &["nginx:latest", "docker.io/library/nginx:latest"],
                &["nginx:1.25"],
            ),
            (
                "nginx@sha256:ab",
                &["nginx", "docker.io/library/nginx@sha256:ab"],
                &["nginx:latest"],
            ),
            (
                "localhost/debug:1",
                &["debug:1", "localhost/debug:1"],
                &["docker.io/library/debug:1"],
            ),
            (
                "index.docker.io/shop/web:2",
                &["shop/web:2", "docker.io/shop/web:2"],
                &["web:2", "library/shop/web:2"],
            ),
            (
                "registry:5000/shop/web:1",
                &["registry:5000/shop/web:1"],
                &["shop/web:1", "docker.io/registry:5000/shop/web:1"],
            ),
            ("", &[""], &[":latest", "docker.io/"]),
        ] {
            let spellings = spellings(reference);
            for name in same {
                assert!(
                    spellings.iter().any(|known| known == name),
                    "{reference}: {name}"
                );
            }
            for name in other {
                assert!(
                    spellings.iter().all(|known| known != name),
                    "{reference}: {name}"
                );
            }
            assert!(spellings.iter().any(|known| known == reference));
        }
    }
}
