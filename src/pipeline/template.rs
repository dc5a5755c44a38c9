//! What all records of a container have in common: metadata fields, tags and line processing.
//! Encoded once, and rebuilt when the container's metadata changes. Pure.

use std::sync::Arc;

use crate::delivery::parser::Parsing;
use crate::format::position::{PerStream, Stream};
use crate::pipeline::encode::PackedFields;
use crate::pipeline::fields::MetadataOptions;
use crate::pipeline::merge::MergeOptions;
use crate::pipeline::multiline::MultilineOptions;
use crate::pipeline::tag::{TagSource, TagTemplate};
use crate::runtime::bounds::{cut, LONGEST_TAG};
use crate::runtime::id::ContainerId;
use crate::runtime::metadata::ContainerMetadata;

/// How a container's entries become records, from the options or its labels.
#[derive(Debug, Clone)]
pub struct RecordOptions<'a> {
    /// The template for its tags; `None` for the instance's own tag.
    pub template: Option<&'a TagTemplate>,
    /// Which metadata records carry.
    pub metadata: &'a MetadataOptions,
    /// How lines that are JSON are merged.
    pub merge: MergeOptions,
    /// How lines are joined.
    pub multiline: MultilineOptions,
    /// The host parser named by its label.
    pub parser: Option<&'a str>,
}

impl<'a> RecordOptions<'a> {
    /// Options with metadata only.
    pub fn plain(metadata: &'a MetadataOptions) -> RecordOptions<'a> {
        RecordOptions {
            template: None,
            metadata,
            merge: MergeOptions::default(),
            multiline: MultilineOptions::default(),
            parser: None,
        }
    }
}

/// What all records of a container have in common, encoded once.
#[derive(Debug)]
pub struct RecordTemplate {
    /// Name, image and state as last read.
    pub metadata: Arc<ContainerMetadata>,
    pub(crate) fields: PackedFields,
    pub(crate) merge: MergeOptions,
    pub(crate) multiline: MultilineOptions,
    pub(crate) parsing: Option<Arc<Parsing>>,
    /// The tag of each stream's records; `None` for the instance's own.
    pub(crate) tags: PerStream<Option<Arc<str>>>,
    is_tagged_by_stream: bool,
    is_cut: bool,
}

impl RecordTemplate {
    /// The template used until the metadata is read.
    pub fn unnamed(id: &ContainerId, metadata: ContainerMetadata) -> RecordTemplate {
        RecordTemplate::new(
            id,
            metadata,
            RecordOptions::plain(&MetadataOptions::default()),
        )
    }

    /// Builds the record fields and tags of container `id`.
    pub fn new(
        id: &ContainerId,
        mut metadata: ContainerMetadata,
        options: RecordOptions<'_>,
    ) -> RecordTemplate {
        let pod = metadata.pod.as_ref();
        // The runtime's id if it is known; a tag always has an id.
        let of_owner = metadata.owner.as_ref().map(|owner| &owner.container_id);
        let known = pod.map_or(of_owner, |pod| pod.container_id.as_ref());
        let id = known.unwrap_or(id);
        let mut fields = options.metadata.fields(&id.to_string(), &metadata);
        if !options.merge.is_on {
            fields.forget_keys();
        }
        let (id, short_id) = (id.to_string(), id.short());
        let source = TagSource {
            id: &id,
            short_id: &short_id,
            metadata: &metadata,
        };
        let mut is_cut = metadata.is_cut || fields.is_cut();
        let mut tag_of = |tag: &str| -> Arc<str> {
            is_cut |= tag.len() > LONGEST_TAG;
            cut(tag, LONGEST_TAG).into()
        };
        let tags = Stream::ALL.map(|stream| {
            let template = options.template?;
            Some(tag_of(&template.render(source, stream)))
        });
        let is_tagged_by_stream = options.template.is_some_and(TagTemplate::depends_on_stream);
        let RecordOptions {
            merge, multiline, ..
        } = options;
        let parsing = options.parser.map(|parser| {
            Arc::new(Parsing {
                parser: parser.to_owned(),
                key: merge.key.clone(),
                keep_log: merge.keep_log,
            })
        });
        // Often long, and not needed any more.
        metadata.env = Vec::new();
        RecordTemplate {
            metadata: Arc::new(metadata),
            fields,
            merge,
            multiline,
            parsing,
            tags,
            is_tagged_by_stream,
            is_cut,
        }
    }

    /// Whether metadata of the container was left out of its records or cut in its tags
    /// because it was too long or too much (`bounds`).
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether each stream's records go into separate batches.
    pub(crate) fn is_tagged_by_stream(&self) -> bool {
        self.is_tagged_by_stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Owner;

    #[test]
    fn what_a_user_chose_makes_no_tag_of_a_container_of_the_machine() {
        let id = ContainerId::from_bytes([0xab; 32]);
        let owner = Some(Box::new(Owner {
            user: "ada".into(),
            container_id: id,
        }));
        let of_machine = ContainerMetadata {
            name: "web".into(),
            labels: [("team".to_owned(), "front".to_owned())].into(),
            env: vec![("STAGE".to_owned(), "prod".to_owned())],
            ..ContainerMetadata::default()
        };
        let of_user = ContainerMetadata {
            owner,
            ..of_machine.clone()
        };
        let unnamed = RecordTemplate::unnamed(&id, of_user.clone());
        assert!(unnamed.tags.iter().all(Option::is_none));
        for (placeholder, value) in [
            ("{id}", "ab".repeat(32)),
            ("{short_id}", "ab".repeat(6)),
            ("{name}", "web".to_owned()),
            ("{label:team}", "front".to_owned()),
            ("{env:STAGE}", "prod".to_owned()),
        ] {
            let template = TagTemplate::parse(&format!("docker.{placeholder}")).unwrap();
            let tag_of = |metadata: &ContainerMetadata, key: [u8; 32]| {
                let said = MetadataOptions::default();
                let options = RecordOptions {
                    template: Some(&template),
                    ..RecordOptions::plain(&said)
                };
                let key = ContainerId::from_bytes(key);
                let template = RecordTemplate::new(&key, metadata.clone(), options);
                template.tags[0].as_deref().unwrap().to_owned()
            };
            assert_eq!(tag_of(&of_machine, [0xab; 32]), format!("docker.{value}"));
            assert_eq!(tag_of(&of_user, [7; 32]), format!("docker._ada_{value}"));
        }
    }
}
