//! The records of one container that are not queued yet, encoded behind each other, and the
//! marks at which they can be divided.

use std::sync::Arc;

use crate::delivery::checkpoint::Advance;
use crate::delivery::link::Link;
use crate::delivery::queue::{Batch, Mark, Progress, BATCH_BYTES};
use crate::format::position::{PerStream, Stream, Timestamp};
use crate::pipeline::encode::put_record_merged;
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
    /// One batch for each stream if they have different tags; otherwise only the first.
    parts: PerStream<Part>,
    /// Encoded size at which [`BatchBuilder::is_due`] returns true.
    due: usize,
    /// Bytes cut off lines, and the number of those lines, until the assembler takes them.
    pub cut: Amount,
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
            parts: PerStream::default(),
            due: MARK_BYTES,
            cut: Amount::default(),
        }
    }
}

impl BatchBuilder {
    /// Reserves space for the records of `source_bytes` bytes. Records of short lines take
    /// about twice as much; if they take more, the buffer grows.
    pub fn begin(&mut self, link: &Link, source_bytes: usize) {
        let bytes = &mut self.parts[0].bytes;
        if bytes.capacity() == 0 {
            *bytes = link.queue.buffer();
            bytes.reserve(source_bytes.saturating_mul(2).min(BATCH_BYTES));
        }
    }

    /// Encodes a line as the next record of its stream.
    // Like all on the way of a line, without a call: its parts would be passed in memory.
    #[inline(always)]
    pub fn put(&mut self, stream: Stream, line: &Line<'_>, template: &RecordTemplate) {
        let into = &mut self.parts[template.building_of(stream)];
        let fields = &template.fields;
        if into.records == 0 {
            into.bytes.extend_from_slice(fields.group_start());
            into.since = line.time;
        }
        let is_merged = into.merged.take(line.text, &template.merge, fields.keys());
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
        self.parts[0].bytes.len() + self.parts[1].bytes.len()
    }

    /// Whether enough was built to add a mark or close the batch.
    #[inline(always)]
    pub fn is_due(&self) -> bool {
        self.size() >= self.due
    }

    /// Whether the batch is to be closed.
    pub fn is_full(&self, link: &Link) -> bool {
        let is_cautious = self.size() >= CAUTIOUS_BATCH_BYTES && link.queue.is_cautious();
        self.size() >= BATCH_BYTES || is_cautious
    }

    /// What each batch has, and the time of its first record; `None` without records.
    pub fn carried(&self) -> PerStream<Option<(Amount, Timestamp)>> {
        self.parts.each_ref().map(|part| {
            let amount = Amount {
                bytes: part.source_bytes,
                records: part.records as u64,
            };
            (part.records > 0).then_some((amount, part.since))
        })
    }

    /// Adds a mark, up to which the checkpoint advances to `pending`.
    pub fn mark(&mut self, pending: Advance, template: &RecordTemplate) {
        for (index, part) in self.parts.iter_mut().enumerate() {
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
        let [first, second] = std::mem::take(&mut self.parts);
        let has_second = second.records > 0;
        // One batch may be accepted and the next refused: each advances only its own stream,
        // and only the last one the other stream as well.
        let first_moves = if has_second {
            [pending[0], None]
        } else {
            pending
        };
        let push = |part: Part, tag: usize, advance| {
            link.push(part.into_batch(account, template, tag, advance));
        };
        if first.records > 0 || (always && !has_second) {
            push(first, 0, first_moves);
        } else {
            // Keep the buffer for the next batch.
            self.parts[0].bytes = first.bytes;
        }
        if has_second {
            push(second, 1, pending);
        }
    }
}

impl Part {
    fn into_batch(
        mut self,
        account: &Arc<Account>,
        template: &RecordTemplate,
        tag: usize,
        advance: Advance,
    ) -> Batch {
        if self.records > 0 {
            self.bytes.extend_from_slice(template.fields.group_end());
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
