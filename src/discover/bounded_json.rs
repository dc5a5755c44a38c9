//! Maps and lists of metadata files, up to a number of entries: each entry of a few bytes
//! takes a hundred in memory, and an image author chooses how many there are. Those
//! beyond are passed over.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Labels, variables of the environment, or log-opts of one container that are known.
/// Real ones are a few dozen.
pub(super) const MOST_ENTRIES: usize = 4096;

/// Texts by their names; of two with one name the last counts.
#[derive(Debug, Default)]
pub(super) struct TextMap(pub BTreeMap<String, String>);

/// Texts in order.
#[derive(Debug, Default)]
pub(super) struct TextList(pub Vec<String>);

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextMap, D::Error> {
        deserializer.deserialize_map(MapVisitor)
    }
}

impl<'de> Deserialize<'de> for TextList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TextList, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct MapVisitor;

struct ListVisitor;

impl<'de> Visitor<'de> for MapVisitor {
    type Value = TextMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<TextMap, A::Error> {
        let mut map = BTreeMap::new();
        while map.len() < MOST_ENTRIES {
            let Some((key, value)) = pairs.next_entry()? else { return Ok(TextMap(map)) };
            map.insert(key, value);
        }
        while pairs.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(TextMap(map))
    }
}

impl<'de> Visitor<'de> for ListVisitor {
    type Value = TextList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<TextList, A::Error> {
        let mut list = Vec::new();
        while list.len() < MOST_ENTRIES {
            let Some(text) = texts.next_element()? else { return Ok(TextList(list)) };
            list.push(text);
        }
        while texts.next_element::<IgnoredAny>()?.is_some() {}
        Ok(TextList(list))
    }
}
