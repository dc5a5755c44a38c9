//! Divides a batch that the host refuses: the host may have room for a part of it, or refuse
//! one record because of its content. Pure.
//!
//! A batch is divided at one of its marks, where the offsets for each part are known. Between
//! two marks, which are at most [`crate::pipeline::assembler::MARK_BYTES`] and one record
//! apart, it is divided between any two records. The offset then advances only with the last
//! part, and a kill in between duplicates the parts already accepted.

use crate::delivery::group::group_of;
use crate::delivery::queue::{Batch, Mark, Progress};
use crate::format::msgpack::value_length;

impl Batch {
    /// Returns two batches of about the same size, in order, or the unchanged batch if it has
    /// only one record. Both carry the group markers, if any.
    pub fn halved(self) -> (Batch, Option<Batch>) {
        let near = self.bytes.len() / 2;
        let nearest = self
            .marks_inside()
            .min_by_key(|mark| mark.bytes.abs_diff(near));
        let place = nearest
            .cloned()
            .map(Place::Marked)
            .or_else(|| self.between_records(near));
        self.divided_at(place)
    }

    fn marks_inside(&self) -> impl Iterator<Item = &Mark> {
        self.marks
            .iter()
            .filter(|mark| mark.records > 0 && mark.records < self.records)
    }

    /// Whether it can be halved at a point whose offsets are known.
    pub fn has_mark_inside(&self) -> bool {
        self.marks_inside().next().is_some()
    }

    /// Its first record, and the others.
    pub fn without_first(self) -> (Batch, Option<Batch>) {
        let (start, _) = group_of(&self.bytes);
        let place = self.between_records(start.len() + 1);
        self.divided_at(place)
    }

    /// The first point between two records at or after `near`, or the last one there is.
    fn between_records(&self, near: usize) -> Option<Place> {
        if self.records < 2 {
            return None;
        }
        let (start, end) = group_of(&self.bytes);
        let area = start.len()..self.bytes.len().checked_sub(end.len())?;
        let mut at = area.start;
        let mut records = 0;
        while records + 1 < self.records && (records == 0 || at < near) {
            at += value_length(self.bytes.get(at..area.end)?)?;
            records += 1;
        }
        if let Some(mark) = self.marks.iter().find(|mark| mark.records == records) {
            return Some(Place::Marked(mark.clone()));
        }
        Some(Place::Unmarked { bytes: at, records })
    }

    fn divided_at(self, place: Option<Place>) -> (Batch, Option<Batch>) {
        let Some(place) = place else {
            return (self, None);
        };
        let (bytes, records) = match &place {
            Place::Marked(mark) => (mark.bytes, mark.records),
            Place::Unmarked { bytes, records } => (*bytes, *records),
        };
        let whole = self.source.as_ref().map_or(0, |(_, bytes)| *bytes);
        let (source_bytes, progress) = match place {
            Place::Marked(mark) => (
                mark.source_bytes.min(whole),
                Progress::Advance(mark.advance),
            ),
            Place::Unmarked { .. } => {
                let part = u128::from(whole) * bytes as u128 / self.bytes.len().max(1) as u128;
                // Source bytes attributed up to an earlier mark must not change.
                let before = self.marks.iter().rev().find(|mark| mark.records < records);
                let least = before.map_or(0, |mark| mark.source_bytes);
                (
                    (part as u64).clamp(least.min(whole), whole),
                    Progress::Nothing,
                )
            }
        };
        let (start, end) = group_of(&self.bytes);
        let first_bytes = [&self.bytes[..bytes], end].concat();
        let second_bytes = [start, &self.bytes[bytes..]].concat();
        let (mut first_marks, mut second_marks) = (self.marks, Vec::new());
        for mark in first_marks.iter().filter(|mark| mark.records > records) {
            second_marks.push(Mark {
                bytes: mark.bytes - bytes + start.len(),
                records: mark.records - records,
                source_bytes: mark.source_bytes.saturating_sub(source_bytes),
                advance: mark.advance,
            });
        }
        first_marks.retain(|mark| mark.records < records);
        let source = |bytes| {
            self.source
                .as_ref()
                .map(|(account, _)| (account.clone(), bytes))
        };
        let first = Batch {
            container: self.container,
            tag: self.tag.clone(),
            records,
            bytes: first_bytes,
            parsing: self.parsing.clone(),
            source: source(source_bytes),
            progress,
            marks: first_marks,
        };
        let second = Batch {
            source: source(whole - source_bytes),
            records: self.records - records,
            bytes: second_bytes,
            progress: self.progress,
            marks: second_marks,
            container: self.container,
            tag: self.tag,
            parsing: self.parsing,
        };
        (first, Some(second))
    }
}

/// Where a batch is divided.
// One per batch, so its size does not matter.
#[allow(clippy::large_enum_variant)]
enum Place {
    Marked(Mark),
    Unmarked { bytes: usize, records: usize },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::delivery::checkpoint::StreamCheckpoint;
    use crate::delivery::host::embedded::decode_records;
    use crate::format::msgpack::Field;
    use crate::format::position::Stream;
    use crate::pipeline::encode::{put_record, PackedFields, RecordFields};
    use crate::pipeline::partial::Line;
    use crate::runtime::id::ContainerId;
    use crate::telemetry::account::Account;

    fn advance(offset: u64) -> crate::delivery::checkpoint::Advance {
        [
            Some(StreamCheckpoint {
                offset,
                ..StreamCheckpoint::default()
            }),
            None,
        ]
    }

    /// A batch of `records` records with ten source bytes each and a mark after every
    /// `stride`th.
    fn batch(records: usize, stride: usize, fields: &RecordFields) -> Batch {
        let mut bytes = fields.group_start().to_vec();
        let mut marks = Vec::new();
        for number in 0..records {
            let text = format!("line {number}");
            let line = Line {
                text: text.as_bytes(),
                is_utf8: true,
                ..Line::default()
            };
            put_record(&mut bytes, &line, Stream::Stdout, fields);
            let records = number + 1;
            if records % stride == 0 {
                let source_bytes = 10 * records as u64;
                marks.push(Mark {
                    bytes: bytes.len(),
                    records,
                    source_bytes,
                    advance: advance(source_bytes),
                });
            }
        }
        bytes.extend_from_slice(fields.group_end());
        let id = ContainerId::from_bytes([1; 32]);
        Batch {
            container: id,
            tag: None,
            records,
            bytes,
            parsing: None,
            source: Some((Arc::new(Account::new(id)), 10 * records as u64)),
            progress: Progress::Advance(advance(10 * records as u64)),
            marks,
        }
    }

    fn texts(batch: &Batch) -> Vec<String> {
        let records = decode_records(&batch.bytes).unwrap();
        assert_eq!(records.len(), batch.records);
        records
            .iter()
            .map(|record| record.text("log").to_owned())
            .collect()
    }

    fn source_bytes(batch: &Batch) -> u64 {
        batch.source.as_ref().unwrap().1
    }

    /// Divides down to single records, in order.
    fn divided_wholly(batch: Batch, out: &mut Vec<Batch>) {
        match batch.halved() {
            (first, Some(second)) => {
                divided_wholly(first, out);
                divided_wholly(second, out);
            }
            (single, None) => out.push(single),
        }
    }

    fn shapes() -> [RecordFields; 2] {
        let group = Field::Map(vec![("a".to_owned(), Field::text("group"))]);
        [
            RecordFields::new(&[("image".to_owned(), Field::text("shop"))]),
            PackedFields::in_group(&group, &group).unpack(),
        ]
    }

    #[test]
    fn the_parts_are_the_batch_in_order_and_balance() {
        for fields in shapes() {
            for (records, stride) in [(2, 1), (7, 3), (64, 8), (100, 1000)] {
                let whole = batch(records, stride, &fields);
                let expected = texts(&whole);
                let mut parts = Vec::new();
                divided_wholly(whole, &mut parts);
                assert_eq!(parts.len(), records);
                assert_eq!(parts.iter().flat_map(texts).collect::<Vec<_>>(), expected);
                assert_eq!(
                    parts.iter().map(source_bytes).sum::<u64>(),
                    10 * records as u64
                );
                for (number, part) in parts.iter().enumerate() {
                    assert!(part.bytes.starts_with(fields.group_start()));
                    assert!(part.bytes.ends_with(fields.group_end()));
                    let taken = number + 1;
                    let is_known = taken % stride == 0 || taken == records;
                    let known = Progress::Advance(advance(10 * taken as u64));
                    assert_eq!(
                        part.progress,
                        if is_known { known } else { Progress::Nothing },
                        "{taken}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_half_ends_at_the_mark_that_is_nearest_to_the_middle() {
        let (first, second) = batch(40, 10, &shapes()[0]).halved();
        let second = second.unwrap();
        assert_eq!((first.records, second.records), (20, 20));
        assert_eq!((source_bytes(&first), source_bytes(&second)), (200, 200));
        assert_eq!(first.progress, Progress::Advance(advance(200)));
        assert_eq!(
            first
                .marks
                .iter()
                .map(|mark| mark.records)
                .collect::<Vec<_>>(),
            [10]
        );
        assert_eq!(
            second
                .marks
                .iter()
                .map(|mark| mark.records)
                .collect::<Vec<_>>(),
            [10, 20]
        );
        let (first, second) = second.without_first();
        let second = second.unwrap();
        assert_eq!(
            (first.records, second.records, texts(&first)[0].as_str()),
            (1, 19, "line 20")
        );
        assert_eq!(first.progress, Progress::Nothing);
    }

    #[test]
    fn what_is_no_batch_of_ours_stays_whole() {
        let torn = Batch {
            bytes: vec![0x92; 5],
            marks: Vec::new(),
            ..batch(3, 1, &shapes()[0])
        };
        let (torn, rest) = torn.halved();
        assert_eq!((torn.bytes, rest.is_none()), (vec![0x92; 5], true));
    }
}
