//! Limits on the metadata kept per container. Image authors and whoever starts a container
//! choose names, labels and variables of any size, and each record repeats them: without
//! limits 256 KiB of a log become gigabytes of records (I6). Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::format::msgpack::Field;
use crate::runtime::metadata::ContainerMetadata;

/// Longest name of a container, image or pod, in bytes. Kubernetes allows 253; an image
/// reference with registry, tag and digest is longer.
pub const LONGEST_NAME: usize = 512;
/// Longest Compose or Swarm project, service, task or node, in bytes. Every record carries
/// them, requested or not, so even a short line grows by this much.
pub const LONGEST_KNOWN: usize = 256;
/// Longest value of a label or variable, in bytes.
pub const LONGEST_VALUE: usize = 2 * 1024;
/// Longest key of a label or variable, in bytes. Longer ones are dropped, not cut: a prefix of
/// a key is a different key.
pub const LONGEST_KEY: usize = 1024;
/// Most labels, or variables, in a record.
pub const MOST_PAIRS: usize = 256;
/// Most bytes of container metadata in a record.
pub const MOST_BYTES: usize = 8 * 1024;
/// Longest tag, in bytes. Fluent Bit allows 65,531, but each chunk keeps a copy.
pub const LONGEST_TAG: usize = 1024;

/// Most labels, or variables, kept per container, including those used only by rules and
/// `Label_Hints`.
const MOST_KEPT: usize = 1024;
/// Most bytes of them in total.
const MOST_KEPT_BYTES: usize = 64 * 1024;
/// Largest MessagePack overhead of a key-value pair, in bytes.
const PAIR_BYTES: usize = 10;
/// Prefixes of labels that configure the plugin or have record keys of their own. They are
/// kept in preference to all others.
const WANTED: [&str; 2] = ["fluentbit.io/", "com.docker."];

/// The longest prefix of `text` of at most `most` bytes that does not split a character.
pub fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    &text[..end]
}

/// Longest value of the label or variable `key`, in bytes.
fn longest_value(key: &str) -> usize {
    let is_known = ["com.docker.compose.project", "com.docker.compose.service"].contains(&key)
        || key.starts_with("com.docker.swarm.");
    if is_known {
        LONGEST_KNOWN
    } else {
        LONGEST_VALUE
    }
}

/// Cuts `text` in place and releases the memory. Returns whether it was too long.
fn shorten(text: &mut String, most: usize) -> bool {
    let is_long = text.len() > most;
    if is_long {
        *text = cut(text, most).to_owned();
    }
    is_long
}

/// Counts the pairs kept so far and decides on the next one.
#[derive(Debug, Default)]
struct Kept {
    bytes: PerRank,
    count: PerRank,
    is_cut: bool,
}

/// One value for the wanted keys and one for the others, so that the others cannot displace
/// them.
type PerRank = [usize; 2];

impl Kept {
    /// The value to keep, cut if necessary; `None` if the pair is dropped.
    fn take(&mut self, key: &str, mut value: String) -> Option<String> {
        self.is_cut |= shorten(&mut value, longest_value(key));
        let rank = usize::from(!WANTED.iter().any(|prefix| key.starts_with(prefix)));
        let bytes = self.bytes[rank] + key.len() + value.len();
        if key.len() > LONGEST_KEY || self.count[rank] == MOST_KEPT || bytes > MOST_KEPT_BYTES {
            self.is_cut = true;
            return None;
        }
        self.bytes[rank] = bytes;
        self.count[rank] += 1;
        Some(value)
    }
}

/// Labels within the limits. The others are dropped during parsing.
#[derive(Debug, Default)]
pub struct Labels {
    /// The labels that are kept.
    pub pairs: BTreeMap<String, String>,
    /// Whether any label was dropped or cut.
    pub is_cut: bool,
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        deserializer.deserialize_map(LabelsVisitor)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let (mut labels, mut kept) = (Labels::default(), Kept::default());
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if let Some(value) = kept.take(&key, value) {
                labels.pairs.insert(key, value);
            }
        }
        labels.is_cut = kept.is_cut;
        Ok(labels)
    }
}

/// Environment variables (`NAME=value`) within the limits.
#[derive(Debug, Default)]
pub struct Env {
    /// The variables that are kept.
    pub pairs: Vec<(String, String)>,
    /// Whether any variable was dropped or cut.
    pub is_cut: bool,
}

impl<'de> Deserialize<'de> for Env {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Env, D::Error> {
        deserializer.deserialize_seq(EnvVisitor)
    }
}

struct EnvVisitor;

impl<'de> Visitor<'de> for EnvVisitor {
    type Value = Env;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Env, A::Error> {
        let (mut env, mut kept) = (Env::default(), Kept::default());
        while let Some(mut variable) = list.next_element::<String>()? {
            let Some(end) = variable.find('=') else {
                continue;
            };
            let name = cut(&variable[..end], LONGEST_KEY + 1).to_owned();
            // In place, since a file at its size limit may be a single variable that is
            // already in memory.
            variable.drain(..=end);
            if let Some(value) = kept.take(&name, variable) {
                env.pairs.push((name, value));
            }
        }
        env.is_cut = kept.is_cut;
        Ok(env)
    }
}

impl ContainerMetadata {
    /// Applies the limits. Must be called wherever metadata enters.
    pub fn bounded(mut self) -> ContainerMetadata {
        let mut is_cut = self.is_cut;
        let pod = self
            .pod
            .as_mut()
            .map(|pod| [&mut pod.namespace, &mut pod.name, &mut pod.uid]);
        for name in [&mut self.name, &mut self.image]
            .into_iter()
            .chain(pod.into_iter().flatten())
        {
            is_cut |= shorten(name, LONGEST_NAME);
        }
        let mut kept = Kept::default();
        let labels = std::mem::take(&mut self.labels).into_iter();
        self.labels = labels
            .filter_map(|(key, value)| Some((kept.take(&key, value)?, key)))
            .map(swap)
            .collect();
        is_cut |= kept.is_cut;
        let mut kept = Kept::default();
        let env = std::mem::take(&mut self.env).into_iter();
        self.env = env
            .filter_map(|(key, value)| Some((kept.take(&key, value)?, key)))
            .map(swap)
            .collect();
        self.is_cut = is_cut | kept.is_cut;
        self
    }
}

fn swap((value, key): (String, String)) -> (String, String) {
    (key, value)
}

/// The bytes left for the metadata fields of a record.
#[derive(Debug)]
pub struct Budget {
    left: usize,
    /// Whether any field was dropped or cut.
    pub is_cut: bool,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            left: MOST_BYTES,
            is_cut: false,
        }
    }
}

impl Budget {
    /// Shortens fields to the remaining budget, in order. Fields that do not fit are dropped.
    pub fn fit(&mut self, fields: &mut Vec<(String, Field)>) {
        fields.retain_mut(|(key, field)| self.fits(key.len(), field));
    }

    fn fits(&mut self, key_bytes: usize, field: &mut Field) -> bool {
        let Some(left) = self
            .left
            .checked_sub(key_bytes + PAIR_BYTES)
            .filter(|left| *left > 0)
        else {
            self.left = 0;
            self.is_cut = true;
            return false;
        };
        self.left = left;
        match field {
            Field::Text(text) => {
                self.is_cut |= shorten(text, LONGEST_VALUE.min(left));
                self.left -= text.len();
            }
            Field::Number(_) => {}
            Field::List(values) => values.retain_mut(|value| self.fits(0, value)),
            Field::Map(pairs) => {
                self.is_cut |= pairs.len() > MOST_PAIRS;
                pairs.truncate(MOST_PAIRS);
                self.fit(pairs);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Pod;

    #[test]
    fn a_text_is_cut_between_two_characters() {
        for (text, most, want) in [
            ("abc", 3, "abc"),
            ("abc", 2, "ab"),
            ("aé", 2, "a"),
            ("日", 2, ""),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, most), want, "{text} {most}");
        }
    }

    #[test]
    fn names_labels_and_variables_are_kept_within_bounds_and_that_is_noted() {
        let long = "é".repeat(1 << 20);
        let mut metadata = ContainerMetadata {
            name: long.clone(),
            image: long.clone(),
            pod: Some(Box::new(Pod {
                namespace: long.clone(),
                name: long.clone(),
                uid: long.clone(),
                container_id: None,
                restart_count: 0,
                is_complete: true,
            })),
            ..ContainerMetadata::default()
        };
        for number in 0..10_000 {
            metadata
                .labels
                .insert(format!("a{number:06}"), "v".repeat(40));
            metadata.env.push((format!("A{number}"), "v".to_owned()));
        }
        metadata
            .labels
            .insert("z".repeat(LONGEST_KEY + 1), "x".into());
        metadata
            .labels
            .insert("fluentbit.io/tag".into(), long.clone());
        let metadata = metadata.bounded();
        assert!(metadata.is_cut);
        let pod = metadata.pod.as_ref().unwrap();
        for name in [
            &metadata.name,
            &metadata.image,
            &pod.namespace,
            &pod.name,
            &pod.uid,
        ] {
            assert_eq!(name.len(), LONGEST_NAME);
        }
        assert_eq!(
            (metadata.labels.len(), metadata.env.len()),
            (MOST_KEPT + 1, MOST_KEPT)
        );
        assert_eq!(
            metadata.labels["fluentbit.io/tag"].len(),
            LONGEST_VALUE,
            "wanted labels come first"
        );
        let again = ContainerMetadata {
            is_cut: false,
            ..metadata.clone()
        }
        .bounded();
        assert!(!again.is_cut, "what is within bounds stays");
        assert_eq!(
            ContainerMetadata {
                is_cut: true,
                ..again
            },
            metadata
        );
    }

    #[test]
    fn the_sum_of_what_is_kept_is_bounded_and_the_first_ones_are() {
        let labels = (0..100)
            .map(|number| (format!("k{number:02}"), "v".repeat(5_000)))
            .collect();
        let metadata = ContainerMetadata {
            labels,
            ..ContainerMetadata::default()
        }
        .bounded();
        let keys: Vec<&String> = metadata.labels.keys().collect();
        assert_eq!(
            (keys.len(), keys[0].as_str(), metadata.is_cut),
            (MOST_KEPT_BYTES / (LONGEST_VALUE + 3), "k00", true)
        );
    }

    #[test]
    fn labels_and_variables_are_dropped_while_they_are_read() {
        let labels: Vec<String> = (0..20_000)
            .map(|number| format!("\"k{number}\":\"v\""))
            .collect();
        let text = format!(
            "{{{},\"com.docker.compose.project\":\"shop\"}}",
            labels.join(",")
        );
        let labels: Labels = serde_json::from_str(&text).unwrap();
        assert_eq!((labels.pairs.len(), labels.is_cut), (MOST_KEPT + 1, true));
        let env: Vec<String> = (0..20_000)
            .map(|number| format!("\"k{number}=v\""))
            .collect();
        let env: Env = serde_json::from_str(&format!("[{}]", env.join(","))).unwrap();
        assert_eq!((env.pairs.len(), env.is_cut), (MOST_KEPT, true));
        let few: Env = serde_json::from_str(r#"["A=b=c","x"]"#).unwrap();
        assert_eq!(
            (few.pairs, few.is_cut),
            (vec![("A".to_owned(), "b=c".to_owned())], false)
        );
    }

    #[test]
    fn fields_have_a_value_a_number_and_a_sum() {
        let pairs = |count: usize, bytes: usize| -> Vec<(String, Field)> {
            (0..count)
                .map(|number| (format!("k{number:04}"), Field::Text("v".repeat(bytes))))
                .collect()
        };
        for (count, bytes, is_cut) in [
            (3, 10, false),
            (3, LONGEST_VALUE + 1, true),
            (40, LONGEST_VALUE, true),
            (3000, 100, true),
        ] {
            let mut fields = vec![("labels".to_owned(), Field::Map(pairs(count, bytes)))];
            let mut budget = Budget::default();
            budget.fit(&mut fields);
            let mut encoded = Vec::new();
            fields[0].1.put(&mut encoded);
            assert_eq!(budget.is_cut, is_cut, "{count} of {bytes}");
            assert!(encoded.len() <= MOST_BYTES, "{} bytes", encoded.len());
            let Field::Map(left) = &fields[0].1 else {
                panic!("{fields:?}")
            };
            assert!(left.len() <= MOST_PAIRS);
            assert_eq!(left.len() == count && !is_cut, !is_cut);
        }
    }
}
