//! Maps in metadata files, limited in their number of entries: an entry of a few bytes takes a
//! hundred in memory. Entries beyond the limit are ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Most log-opts kept per container. Real containers have a few.
pub(crate) const MOST_ENTRIES: usize = 4096;

/// Strings by key; the last of duplicate keys wins.
#[derive(Debug, Default)]
pub(crate) struct TextMap(pub BTreeMap<String, String>);

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextMap, D::Error> {
        deserializer.deserialize_map(MapVisitor)
    }
}

struct MapVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = TextMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<TextMap, A::Error> {
        let mut map = BTreeMap::new();
        while map.len() < MOST_ENTRIES {
            let Some((key, value)) = pairs.next_entry()? else {
                return Ok(TextMap(map));
            };
            map.insert(key, value);
        }
        while pairs.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(TextMap(map))
    }
}
