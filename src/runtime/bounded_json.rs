//! Maps of metadata files, up to a number of entries: each entry of a few bytes takes a
//! hundred in memory. Those beyond are passed over.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Log-opts of one container that are known. Real ones are a few.
pub(crate) const MOST_ENTRIES: usize = 4096;

/// MultilineBuffer by their names; of two with one name the last counts.
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
