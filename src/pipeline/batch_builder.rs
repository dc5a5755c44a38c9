//! The records of one container that are not queued yet, encoded behind each other, and the
//! marks at which they can be divided.

use std::sync::Arc;

use crate::delivery::checkpoint::Advance;
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Mark, Progress, BATCH_BYTES};
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::pipeline::encode::{put_record_merged, RecordFields};
use crate::pipeline::merge::Merged;
use crate::pipeline::partial::Line;
use crate::pipeline::template::RecordTemplate;
use crate::telemetry::account::{Account, Amount};

/// Encoded bytes between two points at which a batch can be divided if the host refuses it. A
/// larger entry is separated from those before it.
pub const MARK_BYTES: usize = 16 * 1024;

/// Batch size while much refused data is set aside, since the next batch of a container may be
/// refused as well.
const CAUTIOUS_BATCH_BYTES: usize = 64 * 1024;

/// Builds the batches of one container.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    /// What only reading needs.
    building: Option<Box<Building>>,
    /// Encoded size at which [`BatchBuilder::is_due`] returns true.
    due: usize,
    /// Bytes cut off lines, and the number of those lines, until the assembler takes them.
    pub cut: Amount,
}

/// The batches under construction.
#[derive(Debug)]
struct Building {
    /// One batch for each stream if they have different tags; otherwise only the first.
    parts: PerStream<Part>,
    /// Those of the template.
    fields: RecordFields,
    is_tagged_by_stream: bool,
}

/// A batch under construction.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    records: usize,
    /// Bytes of the records in the source, without those cut off.
    source_bytes: u64,
    /// Time of the first record.
    since: Timestamp,
    /// Reusable buffer for the fields of a line.
    merged: Merged,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder {
            building: None,
            due: MARK_BYTES,
            cut: Amount::default(),
        }
    }
}

impl Building {
    fn of(template: &RecordTemplate) -> Box<Building> {
        Box::new(Building {
            parts: PerStream::default(),
            fields: template.fields.unpack(),
            is_tagged_by_stream: template.is_tagged_by_stream(),
        })
    }

    fn size(&self) -> usize {
        self.parts[0].bytes.len() + self.parts[1].bytes.len()
    }
}

impl BatchBuilder {
    /// Reserves space for the records of `source_bytes` bytes. Records of short lines take
    /// about twice as much; if they take more, the buffer grows.
    pub fn begin(&mut self, link: &Link, source_bytes: usize, template: &RecordTemplate) {
        let building = self.building.get_or_insert_with(|| Building::of(template));
        let bytes = &mut building.parts[0].bytes;
        if bytes.capacity() == 0 {
            *bytes = link.queue.buffer();
            bytes.reserve(source_bytes.saturating_mul(2).min(BATCH_BYTES));
        }
    }

    /// Frees what the next line can do without, unless there is something to push.
    pub fn rest(&mut self) {
        let is_pushed = |building: &mut Box<Building>| building.parts.iter().all(Part::is_empty);
        self.building.take_if(is_pushed);
    }

    /// Later records are those of `template`.
    pub fn set_template(&mut self, template: &RecordTemplate) {
        self.rest();
        if let Some(building) = &mut self.building {
            building.fields = template.fields.unpack();
            building.is_tagged_by_stream = template.is_tagged_by_stream();
        }
    }

    /// Encodes a line as the next record of its stream.
    // Like all on the way of a line, without a call: its parts would be passed in memory.
    #[inline(always)]
    pub fn put(&mut self, stream: Stream, line: &Line<'_>, template: &RecordTemplate) {
        let building = match &mut self.building {
            Some(building) => building,
            building => begun(building, template),
        };
        let into = match building.is_tagged_by_stream {
            true => &mut building.parts[stream.index()],
            false => &mut building.parts[0],
        };
        let fields = &building.fields;
        if into.records == 0 {
            into.bytes.extend_from_slice(fields.group_start());
            into.since = line.time;
        }
        let is_merged = into
            .merged
            .take(line.text, &template.merge, template.fields.keys());
        put_record_merged(
            &mut into.bytes,
            line,
            stream,
            fields,
            is_merged.then_some(&into.merged),
        );
        into.records += 1;
        into.source_bytes += line.source_bytes as u64;
        if line.is_cut() {
            // A text is hardly ever longer than its source, but invalid characters grow when
            // replaced.
            let bytes = line.missing.cut_bytes().min(line.source_bytes) as u64;
            into.source_bytes -= bytes;
            self.cut += Amount { bytes, records: 1 };
        }
    }

    fn size(&self) -> usize {
        self.building.as_ref().map_or(0, |building| building.size())
    }

    /// Whether enough was built to add a mark or close the batch.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        let building = self.building.as_ref();
        building.is_some_and(|building| building.size() >= self.due)
    }

    /// Whether the batch is to be closed.
    pub fn is_full(&self, link: &Link) -> bool {
        let is_cautious = self.size() >= CAUTIOUS_BATCH_BYTES && link.queue.is_cautious();
        self.size() >= BATCH_BYTES || is_cautious
    }

    /// What each batch has, and the time of its first record; `None` without records.
    pub fn carried(&self) -> PerStream<Option<(Amount, Timestamp)>> {
        let Some(building) = &self.building else {
            return [None, None];
        };
        building.parts.each_ref().map(|part| {
            let amount = Amount {
                bytes: part.source_bytes,
                records: part.records as u64,
            };
            (part.records > 0).then_some((amount, part.since))
        })
    }

    /// Adds a mark, up to which the checkpoint advances to `pending`.
    pub fn mark(&mut self, pending: Advance, template: &RecordTemplate) {
        let parts = self.building.iter_mut().flat_map(|it| &mut it.parts);
        for (index, part) in parts.enumerate() {
            if part.marks.last().map_or(0, |mark| mark.records) == part.records {
                continue;
            }
            // As in `push`: a single-stream batch does not advance the other stream.
            let advance = match (template.is_tagged_by_stream(), index) {
                (false, _) => pending,
                (true, 0) => [pending[0], None],
                (true, _) => [None, pending[1]],
            };
            part.marks.push(Mark {
                bytes: part.bytes.len(),
                records: part.records,
                source_bytes: part.source_bytes,
                advance,
            });
        }
        self.due = (self.size() + MARK_BYTES).min(BATCH_BYTES);
    }

    /// Queues the built records, with whose acceptance the checkpoint advances to `pending`;
    /// with `always`, a batch is queued even without records.
    pub fn push(
        &mut self,
        link: &Link,
        account: &Arc<Account>,
        template: &RecordTemplate,
        pending: Advance,
        always: bool,
    ) {
        self.due = MARK_BYTES;
        let built = self.building.as_mut();
        let [first, second] = built
            .map(|building| std::mem::take(&mut building.parts))
            .unwrap_or_default();
        let has_second = second.records > 0;
        // One batch may be accepted and the next refused: each advances only its own stream,
        // and only the last one the other stream as well.
        let first_moves = if has_second {
            [pending[0], None]
        } else {
            pending
        };
        let group_end = self.building.as_ref().map(|it| it.fields.group_end());
        let group_end = group_end.unwrap_or_default();
        let push = |part: Part, tag: usize, advance| {
            link.push(part.into_batch(account, template, group_end, tag, advance));
        };
        let mut unused = Vec::new();
        if first.records > 0 || (always && !has_second) {
            push(first, 0, first_moves);
        } else {
            unused = first.bytes;
        }
        if has_second {
            push(second, 1, pending);
        }
        if let Some(building) = &mut self.building {
            // Keep the buffer for the next batch.
            building.parts[0].bytes = unused;
        }
    }
}

/// Begins batches with the first line after [`BatchBuilder::rest`].
#[cold]
fn begun<'a>(
    building: &'a mut Option<Box<Building>>,
    template: &RecordTemplate,
) -> &'a mut Box<Building> {
    building.insert(Building::of(template))
}

impl Part {
    fn is_empty(&self) -> bool {
        self.records == 0
    }

    fn into_batch(
        mut self,
        account: &Arc<Account>,
        template: &RecordTemplate,
        group_end: &[u8],
        tag: usize,
        advance: Advance,
    ) -> Batch {
        if self.records > 0 {
            self.bytes.extend_from_slice(group_end);
        }
        Batch {
            container: *account.id(),
            source: Some((Arc::clone(account), self.source_bytes)),
            tag: template.tags[tag].clone(),
            parsing: template.parsing.clone(),
            records: self.records,
            bytes: self.bytes,
            progress: Progress::Advance(advance),
            marks: self.marks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::host::embedded::decode_records;
    use crate::runtime::id::ContainerId;
    use crate::runtime::metadata::ContainerMetadata;

    #[test]
    fn at_rest_nothing_is_kept_but_what_is_to_be_pushed_and_later_records_have_their_fields() {
        let id = ContainerId::from_bytes([1; 32]);
        let named = |name: &str| {
            let metadata = ContainerMetadata {
                name: name.to_owned(),
                ..ContainerMetadata::default()
            };
            RecordTemplate::unnamed(&id, metadata)
        };
        let (first, second) = (named("first"), named("second"));
        let line = Line {
            text: b"x",
            ..Line::default()
        };
        let mut batches = BatchBuilder::default();
        let names = |batches: &BatchBuilder| -> Vec<String> {
            let building = batches.building.as_ref().unwrap();
            let records = decode_records(&building.parts[0].bytes).unwrap();
            let names = records
                .iter()
                .map(|it| it.text("container_name").to_owned());
            names.collect()
        };
        batches.put(Stream::Stdout, &line, &first);
        batches.rest();
        batches.set_template(&second);
        batches.put(Stream::Stdout, &line, &second);
        assert_eq!(names(&batches), ["first", "second"]);
        // Pushed.
        batches.building.as_mut().unwrap().parts = PerStream::default();
        batches.rest();
        assert!(batches.building.is_none() && !batches.is_due());
        assert_eq!(batches.carried(), [None, None]);
        batches.put(Stream::Stderr, &line, &first);
        assert_eq!(names(&batches), ["first"]);
    }
}
