//! Reads what the filter in `native/probe.c` writes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Failure;

const HEAD_BYTES: usize = 72;
const MOST_SAMPLES: usize = 4 << 20;

/// The mapped file, read while the host writes it.
pub struct Probe {
    file: File,
    pub path: PathBuf,
}

/// What all records come to, in whatever order they arrive.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer {
    pub records: u64,
    /// Sum of the hashes of the texts.
    pub texts: u64,
    /// The same, each mixed with its time.
    pub timed_texts: u64,
    /// The same, each mixed with the other fields of its record.
    pub fields: u64,
}

/// What of two answers must be equal, in addition to the number of records and their texts.
#[derive(Debug, Clone, Copy)]
pub enum Compared {
    Texts,
    Times,
    Fields,
    All,
}

/// Name and value of a field: a text, or a number in eight bytes, big-endian.
pub type Field<'a> = (&'a str, &'a [u8]);

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x100_0000_01b3;

fn hash_bytes(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

impl Answer {
    /// A line that was written at `nanos` since 1970.
    pub fn add(&mut self, text: &[u8], nanos: u64) {
        self.add_record(text, nanos, &[]);
    }

    /// A record with this text and these other fields.
    pub fn add_record(&mut self, text: &[u8], nanos: u64, fields: &[Field<'_>]) {
        let mix = |hash: u64, other: u64| (hash ^ other).wrapping_mul(FNV_PRIME);
        let of_field = |(name, value): &Field<'_>| {
            hash_bytes(
                mix(hash_bytes(FNV_BASIS, name.as_bytes()), u64::from(b'=')),
                value,
            )
        };
        let fields = fields.iter().map(of_field).fold(0, u64::wrapping_add);
        let hash = hash_bytes(FNV_BASIS, text);
        self.records += 1;
        self.texts = self.texts.wrapping_add(hash);
        self.timed_texts = self.timed_texts.wrapping_add(mix(hash, nanos));
        self.fields = self.fields.wrapping_add(mix(hash, fields));
    }

    /// Whether both are alike in what is compared.
    pub fn is_like(&self, other: &Answer, compared: Compared) -> bool {
        let (times, fields) = match compared {
            Compared::Texts => (false, false),
            Compared::Times => (true, false),
            Compared::Fields => (false, true),
            Compared::All => (true, true),
        };
        self.records == other.records
            && self.texts == other.texts
            && (!times || self.timed_texts == other.timed_texts)
            && (!fields || self.fields == other.fields)
    }

    /// Those of several writers.
    pub fn join(self, other: Answer) -> Answer {
        Answer {
            records: self.records + other.records,
            texts: self.texts.wrapping_add(other.texts),
            timed_texts: self.timed_texts.wrapping_add(other.timed_texts),
            fields: self.fields.wrapping_add(other.fields),
        }
    }
}

impl Probe {
    /// A fresh file, for one run of a host.
    pub fn new(path: &Path) -> Result<Probe, Failure> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len((HEAD_BYTES + 4 * MOST_SAMPLES) as u64)?;
        Ok(Probe {
            file,
            path: path.to_owned(),
        })
    }

    fn number(&self, index: usize) -> Result<u64, Failure> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, 8 * index as u64)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// What was appended so far.
    pub fn answer(&self) -> Result<Answer, Failure> {
        if self.number(7)? > 0 {
            return Err("records that are not in Fluent Bit's layout".into());
        }
        Ok(Answer {
            records: self.number(0)?,
            texts: self.number(1)?,
            timed_texts: self.number(2)?,
            fields: self.number(8)?,
        })
    }

    /// When the first append came, since 1970.
    pub fn first_append(&self) -> Result<Duration, Failure> {
        Ok(Duration::from_nanos(self.number(4)?))
    }

    /// When the last one came.
    pub fn last_append(&self) -> Result<Duration, Failure> {
        Ok(Duration::from_nanos(self.number(5)?))
    }

    /// From the time of each record to its append.
    pub fn delays(&self) -> Result<Delays, Failure> {
        let count = usize::try_from(self.number(3)?)?.min(MOST_SAMPLES);
        let mut bytes = vec![0; 4 * count];
        self.file.read_exact_at(&mut bytes, HEAD_BYTES as u64)?;
        let mut micros: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|bytes| bytes.try_into().map(u32::from_ne_bytes))
            .collect::<Result<_, _>>()?;
        micros.sort_unstable();
        Ok(Delays { micros })
    }
}

/// Sorted.
pub struct Delays {
    micros: Vec<u32>,
}

impl Delays {
    /// In milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        self.micros
            .get(last * percent / 100)
            .map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
    }
}
