//! The metadata that records carry about their container: which fields, under which names, and
//! where in the record. Pure; computed once per container, never per record.

use xxhash_rust::xxh3::xxh3_64;

use crate::format::msgpack::Field;
use crate::pipeline::encode::PackedFields;
use crate::runtime::bounds::{Budget, LONGEST_KEY, MOST_PAIRS};
use crate::runtime::globs::Globs;
use crate::runtime::image::Image;
use crate::runtime::metadata::ContainerMetadata;
use crate::runtime::Pod;

/// Labels of Compose and Swarm, and their names in records and tags.
pub(crate) const KNOWN_LABELS: [(&str, &str); 5] = [
    ("com.docker.compose.project", "compose_project"),
    ("com.docker.compose.service", "compose_service"),
    ("com.docker.swarm.service.name", "swarm_service"),
    ("com.docker.swarm.task.name", "swarm_task"),
    ("com.docker.swarm.node.id", "swarm_node"),
];

/// Keys that records have of their own.
pub const RECORD_KEYS: [&str; 4] = ["log", "stream", "attrs", "truncated"];

/// Whether records may have this key of their own.
pub fn is_own_key(key: &str) -> bool {
    let names = [
        "container_id",
        "container_name",
        "image",
        "user",
        "labels",
        "env",
    ];
    let known = KNOWN_LABELS.iter().map(|(_, name)| name);
    RECORD_KEYS
        .iter()
        .chain(&names)
        .chain(&POD_KEYS)
        .chain(known)
        .any(|own| *own == key)
}

/// `Metadata`: where to put container metadata in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// At the top level.
    #[default]
    Flat,
    /// All under `Metadata_Key`.
    Nested,
    /// Nowhere.
    Off,
    /// As an OpenTelemetry resource, in a group around the records.
    Otel,
}

/// Which container metadata to add to records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetadataOptions {
    /// Where to put it.
    pub shape: Shape,
    /// The key for `Nested`.
    pub key: String,
    /// Which labels.
    pub labels: Globs,
    /// Which environment variables.
    pub env: Globs,
}

impl MetadataOptions {
    /// The metadata fields for the records of a container.
    pub fn fields(&self, id: &str, metadata: &ContainerMetadata) -> PackedFields {
        let mut budget = Budget::default();
        let fields = match self.shape {
            Shape::Off => PackedFields::new(&[]),
            Shape::Flat => PackedFields::new(&self.plain(id, metadata, &mut budget)),
            Shape::Nested => {
                let fields = self.plain(id, metadata, &mut budget);
                PackedFields::new(&[(self.key.clone(), Field::Map(fields))])
            }
            Shape::Otel => self.group(id, metadata, &mut budget),
        };
        fields.noting(budget.is_cut)
    }

    fn plain(
        &self,
        id: &str,
        metadata: &ContainerMetadata,
        budget: &mut Budget,
    ) -> Vec<(String, Field)> {
        let mut fields = Vec::new();
        if is_id_known(metadata) {
            fields.push(("container_id".to_owned(), Field::text(id)));
        }
        fields.push(("container_name".to_owned(), Field::text(&metadata.name)));
        if let Some(pod) = &metadata.pod {
            fields.extend(pod_fields(pod, POD_KEYS));
        }
        // A pod container's image is stored on disk only by Docker.
        if metadata.pod.is_none() || !metadata.image.is_empty() {
            fields.push(("image".to_owned(), Field::text(&metadata.image)));
        }
        fields.extend(
            metadata
                .owner
                .as_ref()
                .map(|owner| ("user".to_owned(), Field::text(&owner.user))),
        );
        fields.extend(known(metadata));
        for (key, map) in [
            ("labels", self.labels_of(metadata)),
            ("env", self.env_of(metadata)),
        ] {
            if !map.is_empty() {
                fields.push((key.to_owned(), Field::Map(map)));
            }
        }
        budget.fit(&mut fields);
        fields
    }

    fn labels_of(&self, metadata: &ContainerMetadata) -> Vec<(String, Field)> {
        let labels = metadata
            .labels
            .iter()
            .filter(|(key, _)| self.labels.fit(key));
        let labels = labels.filter(|(key, _)| key.len() <= LONGEST_KEY);
        labels
            .map(|(key, value)| (key.clone(), Field::text(value)))
            .collect()
    }

    fn env_of(&self, metadata: &ContainerMetadata) -> Vec<(String, Field)> {
        let env = metadata.env.iter().filter(|(key, _)| self.env.fit(key));
        env.map(|(key, value)| (key.clone(), Field::text(value)))
            .collect()
    }

    /// The layout that the `opentelemetry` output reads: the resource in the body of a group's
    /// first record, the stream in each record's metadata. That output distinguishes resources
    /// by a number.
    fn group(&self, id: &str, metadata: &ContainerMetadata, budget: &mut Budget) -> PackedFields {
        let Image { name, tag, .. } = Image::parse(&metadata.image);
        let mut attributes = Vec::new();
        if is_id_known(metadata) {
            attributes.push(("container.id".to_owned(), Field::text(id)));
        }
        match &metadata.pod {
            Some(pod) => {
                attributes.push(("k8s.container.name".to_owned(), Field::text(&metadata.name)));
                attributes.extend(pod_fields(pod, OTEL_POD_KEYS));
            }
            None => attributes.push(("container.name".to_owned(), Field::text(&metadata.name))),
        }
        if let Some(owner) = &metadata.owner {
            attributes.push(("container.user".to_owned(), Field::text(&owner.user)));
        }
        if !metadata.runtime.is_empty() {
            attributes.push((
                "container.runtime".to_owned(),
                Field::text(metadata.runtime),
            ));
        }
        if !name.is_empty() {
            attributes.push(("container.image.name".to_owned(), Field::text(name)));
        }
        if let Some(tag) = tag {
            attributes.push((
                "container.image.tags".to_owned(),
                Field::List(vec![Field::text(tag)]),
            ));
        }
        attributes.extend(known(metadata));
        for (prefix, fields) in [
            ("label", self.labels_of(metadata)),
            ("env", self.env_of(metadata)),
        ] {
            let fields = fields.into_iter().take(MOST_PAIRS);
            attributes
                .extend(fields.map(|(key, value)| (format!("container.{prefix}.{key}"), value)));
        }
        budget.fit(&mut attributes);
        let resource = Field::Map(vec![("attributes".to_owned(), Field::Map(attributes))]);
        let body = Field::Map(vec![
            ("resource".to_owned(), resource),
            (
                "scope".to_owned(),
                Field::Map(vec![("name".to_owned(), Field::text("container_logs"))]),
            ),
        ]);
        let mut encoded = Vec::new();
        body.put(&mut encoded);
        let head = Field::Map(vec![
            ("schema".to_owned(), Field::text("otlp")),
            // Shifted so that it is also positive as a signed number.
            (
                "resource_id".to_owned(),
                Field::Number(xxh3_64(&encoded) >> 1),
            ),
            ("scope_id".to_owned(), Field::Number(0)),
        ]);
        PackedFields::in_group(&head, &body)
    }
}

/// Names of a pod's fields: namespace, name, UID, restart count.
type PodKeys = [&'static str; 4];
const POD_KEYS: PodKeys = ["namespace", "pod", "pod_uid", "restart_count"];
const OTEL_POD_KEYS: PodKeys = [
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.container.restart_count",
];

fn pod_fields(pod: &Pod, keys: PodKeys) -> Vec<(String, Field)> {
    let values = [
        Field::text(&pod.namespace),
        Field::text(&pod.name),
        Field::text(&pod.uid),
        Field::Number(pod.restart_count.into()),
    ];
    keys.into_iter().map(str::to_owned).zip(values).collect()
}

/// A container in a pod can be found before its id is known.
fn is_id_known(metadata: &ContainerMetadata) -> bool {
    metadata
        .pod
        .as_ref()
        .is_none_or(|pod| pod.container_id.is_some())
}

fn known(metadata: &ContainerMetadata) -> impl Iterator<Item = (String, Field)> + '_ {
    KNOWN_LABELS.iter().filter_map(|(label, name)| {
        metadata
            .labels
            .get(*label)
            .map(|value| ((*name).to_owned(), Field::text(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::host::embedded::decode_records;
    use crate::format::position::Stream;
    use crate::pipeline::encode::put_record;
    use crate::pipeline::partial::Line;
    use crate::runtime::bounds::{LONGEST_VALUE, MOST_BYTES};
    use crate::runtime::Owner;
    use serde_json::{json, Value};

    fn metadata() -> ContainerMetadata {
        let owned = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        ContainerMetadata {
            name: "shop-web-1".into(),
            image: "registry:5000/shop/web:1.2@sha256:ab".into(),
            labels: owned(&[
                ("com.docker.compose.project", "shop"),
                ("com.docker.compose.service", "web"),
                ("com.docker.swarm.node.id", "n1"),
                ("team", "front"),
                ("team.lead", "Ada"),
                ("other", "x"),
            ]),
            env: vec![
                ("STAGE".into(), "prod".into()),
                ("PASSWORD".into(), "secret".into()),
            ],
            runtime: "docker",
            ..ContainerMetadata::default()
        }
    }

    fn options(shape: Shape, labels: &[&str], env: &[&str]) -> MetadataOptions {
        let globs = |texts: &[&str]| {
            Globs::parse(
                &texts
                    .iter()
                    .map(|text| (*text).to_owned())
                    .collect::<Vec<_>>(),
            )
            .unwrap()
        };
        MetadataOptions {
            shape,
            key: "docker".into(),
            labels: globs(labels),
            env: globs(env),
        }
    }

    /// A batch of one record.
    fn encoded(fields: &PackedFields, stream: Stream) -> Vec<u8> {
        let fields = &fields.unpack();
        let mut out = fields.group_start().to_vec();
        let line = Line {
            text: b"x",
            ..Line::default()
        };
        put_record(&mut out, &line, stream, fields);
        out.extend_from_slice(fields.group_end());
        out
    }

    fn record(options: &MetadataOptions) -> (Value, Vec<u8>) {
        let out = encoded(&options.fields("abc", &metadata()), Stream::Stderr);
        let mut records = decode_records(&out).unwrap();
        assert_eq!(records.len(), 1);
        (Value::Object(records.remove(0).body), out)
    }

    #[test]
    fn flat_has_compose_and_swarm_and_only_the_labels_that_are_wanted() {
        let (body, _) = record(&options(Shape::Flat, &["team*"], &["STAGE"]));
        assert_eq!(
            body,
            json!({
                "log": "x", "stream": "stderr", "container_id": "abc", "container_name": "shop-web-1",
                "image": "registry:5000/shop/web:1.2@sha256:ab", "compose_project": "shop",
                "compose_service": "web", "swarm_node": "n1",
                "labels": {"team": "front", "team.lead": "Ada"}, "env": {"STAGE": "prod"},
            })
        );
        let (body, _) = record(&options(Shape::Flat, &[], &[]));
        assert!(body.get("labels").is_none() && body.get("env").is_none());
    }

    #[test]
    fn nested_puts_all_under_one_key_and_off_nothing_anywhere() {
        let (body, _) = record(&options(Shape::Nested, &["team"], &[]));
        assert_eq!(body["docker"]["container_name"], "shop-web-1");
        assert_eq!(body["docker"]["labels"], json!({"team": "front"}));
        assert_eq!(body.as_object().unwrap().len(), 3);
        let (body, _) = record(&options(Shape::Off, &["*"], &["*"]));
        assert_eq!(body, json!({"log": "x", "stream": "stderr"}));
    }

    #[test]
    fn otel_names_the_resource_in_a_group_and_the_stream_in_each_record() {
        let (body, out) = record(&options(Shape::Otel, &["team"], &[]));
        assert_eq!(body, json!({"log": "x"}));
        let mut rest = out.as_slice();
        let mut values = Vec::new();
        while !rest.is_empty() {
            values.push(rmpv::decode::read_value(&mut rest).unwrap().to_string());
        }
        let [start, record, end] = values.as_slice() else {
            panic!("{values:?}")
        };
        assert!(
            start.contains(r#""schema": "otlp", "resource_id": "#),
            "{start}"
        );
        let attributes = r#"{"resource": {"attributes": {"container.id": "abc", "container.name": "shop-web-1", "container.runtime": "docker", "container.image.name": "registry:5000/shop/web", "container.image.tags": ["1.2"], "compose_project": "shop", "compose_service": "web", "swarm_node": "n1", "container.label.team": "front"}}, "scope": {"name": "container_logs"}}"#;
        assert!(start.contains(attributes), "{start}");
        assert!(
            start.contains("[255, 255, 255, 255, 0, 0, 0, 0]"),
            "{start}"
        );
        assert!(
            record.contains(r#"{"otlp": {"attributes": {"log.iostream": "stderr"}}}"#),
            "{record}"
        );
        assert!(end.contains("[255, 255, 255, 254, 0, 0, 0, 0]"), "{end}");
    }

    #[test]
    fn the_user_in_whose_storage_a_container_is_stands_in_every_shape() {
        let container_id = crate::runtime::id::ContainerId::from_bytes([1; 32]);
        let owner = Owner {
            user: "ada".into(),
            container_id,
        };
        let metadata = ContainerMetadata {
            owner: Some(Box::new(owner)),
            ..metadata()
        };
        let of = |shape| {
            let fields = options(shape, &[], &[]).fields("abc", &metadata);
            let out = encoded(&fields, Stream::Stdout);
            (
                Value::Object(decode_records(&out).unwrap().remove(0).body),
                out,
            )
        };
        assert_eq!(of(Shape::Flat).0["user"], "ada");
        assert_eq!(of(Shape::Nested).0["docker"]["user"], "ada");
        let start = rmpv::decode::read_value(&mut of(Shape::Otel).1.as_slice())
            .unwrap()
            .to_string();
        assert!(start.contains(r#""container.user": "ada""#), "{start}");
        assert!(record(&options(Shape::Flat, &[], &[]))
            .0
            .get("user")
            .is_none());
    }

    #[test]
    fn what_records_say_of_a_container_is_bounded_in_every_shape() {
        let mut metadata = metadata();
        for number in 0..70_000 {
            metadata
                .labels
                .insert(format!("n{number:05}"), "v".repeat(1 + number % 20_000));
            metadata
                .env
                .push((format!("N{number:05}"), "v".repeat(1000)));
        }
        metadata
            .labels
            .insert("com.docker.compose.project".into(), "é".repeat(100_000));
        for shape in [Shape::Flat, Shape::Nested, Shape::Otel] {
            let fields = options(shape, &["n*"], &["*"]).fields("abc", &metadata);
            assert!(fields.is_cut(), "{shape:?}");
            let out = encoded(&fields, Stream::Stdout);
            assert!(
                out.len() <= MOST_BYTES + 1000,
                "{shape:?}: {} bytes",
                out.len()
            );
            let record = decode_records(&out).unwrap().remove(0);
            if shape == Shape::Flat {
                assert_eq!(
                    record.text("compose_project"),
                    "é".repeat(LONGEST_VALUE / 2),
                    "cut between characters"
                );
                assert!(record.body["labels"].as_object().unwrap().len() <= MOST_PAIRS);
            }
        }
        assert!(!options(Shape::Off, &["n*"], &[])
            .fields("abc", &metadata)
            .is_cut());
        assert!(!options(Shape::Flat, &["n00001", "team"], &[])
            .fields("abc", &self::metadata())
            .is_cut());
    }
}
