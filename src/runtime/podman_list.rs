//! Parses Podman's `containers.json`: names and images of all containers of a storage, and
//! `volatile-containers.json`, which has the same form. The
//! file may belong to any user, so the cost of reading it is bounded: its size is limited (see
//! `container_list`), and only what records need is kept of its entries.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::format::work;
use crate::runtime::id::ContainerId;

/// Longest `metadata` string that is parsed, in bytes; real ones have a few hundred.
const LONGEST_METADATA: usize = 1 << 20;

/// One container of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its image.
    pub image: String,
}

/// Parses a list into containers by id; the first of duplicate ids wins.
pub(crate) fn parse(bytes: &[u8]) -> Result<HashMap<ContainerId, Listed>, serde_json::Error> {
    work::add(bytes.len());
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let containers = json.deserialize_seq(Entries)?;
    json.end()?;
    Ok(containers)
}

#[derive(Deserialize)]
struct StoredContainer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    names: Option<FirstName<'a>>,
    /// JSON inside a string.
    #[serde(borrow)]
    metadata: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
struct StoredMetadata<'a> {
    #[serde(rename = "image-name", borrow)]
    image_name: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// A JSON string, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl StoredContainer<'_> {
    fn listed(self) -> Listed {
        let metadata = self
            .metadata
            .as_ref()
            .filter(|text| text.0.len() <= LONGEST_METADATA);
        let metadata: StoredMetadata<'_> = metadata
            .and_then(|text| serde_json::from_str(&text.0).ok())
            .unwrap_or_default();
        let first = || self.names.and_then(|names| names.0);
        let text =
            |text: Option<Text<'_>>| text.map(|text| text.0.into_owned()).unwrap_or_default();
        Listed {
            // After a rename, the metadata still have the first name.
            name: text(first().or(metadata.name)),
            image: text(metadata.image_name),
        }
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = HashMap<ContainerId, Listed>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of containers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut containers = HashMap::new();
        while let Some(entry) = entries.next_element::<StoredContainer<'de>>()? {
            if let Some(id) = ContainerId::parse(&entry.id) {
                containers.entry(id).or_insert_with(|| entry.listed());
            }
        }
        Ok(containers)
    }
}

/// The first of a list of names; the others are skipped, even if there are millions.
struct FirstName<'a>(Option<Text<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for FirstName<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FirstName<'a>, D::Error> {
        deserializer.deserialize_seq(Names).map(FirstName)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Option<Text<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Self::Value, A::Error> {
        let first = names.next_element()?;
        while names.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }
}
