//! What metrics say of a container besides its figures.

use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::Pod;
use crate::telemetry::metrics::SourceKind;

/// Where a container's log comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its log driver; empty if the runtime has only one, or does not report it.
    pub driver: String,
    /// The source being read.
    pub source: SourceKind,
}

/// What else metrics say of a container; each is empty where it is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Of its pod.
    pub namespace: String,
    /// The name of its pod.
    pub pod: String,
    /// Its name without those of its pod or its user.
    pub container: String,
    /// Its image.
    pub image: String,
}

impl About {
    /// As its metadata has it.
    pub fn of(metadata: &ContainerMetadata) -> About {
        let pod = metadata.pod.as_deref().filter(|pod| !pod.name.is_empty());
        let of_pod = |part: fn(&Pod) -> &String| pod.map(part).cloned().unwrap_or_default();
        About {
            namespace: of_pod(|pod| &pod.namespace),
            pod: of_pod(|pod| &pod.name),
            container: metadata.name.clone(),
            image: metadata.image.clone(),
        }
    }
}
