//! Which containers the inputs of this process read. Two that read the same one deliver each of its
//! lines twice, which is reported once for the two.
//!
//! Compared is what is read in the end, not the options: rules, users, roots that lead to the same
//! place and runtimes that find the same containers all count as what they select. A container is the
//! same if its id and its folder are.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use xxhash_rust::xxh3::xxh3_128;

use crate::delivery::link::Link;
use crate::lock::lock;
use crate::runtime::id::ContainerId;

/// One input, as the others see it while its reader lives.
pub struct Input {
    number: u64,
}

/// The same container in every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Same(u128);

/// Containers that two inputs read.
pub struct Shared {
    /// The name of the other input; empty if it has none.
    pub other: String,
    /// How many there are.
    pub count: usize,
    /// The key of one of them.
    pub key: usize,
}

struct Known {
    number: u64,
    name: String,
    link: Weak<Link>,
    reads: HashMap<Same, usize>,
}

impl Known {
    /// A reader that is left behind in a call that does not return reads nothing any more.
    fn is_alive(&self) -> bool {
        let link = self.link.upgrade();
        link.is_some_and(|link| !link.is_stopping())
    }
}

struct Inputs {
    last: u64,
    known: Vec<Known>,
    /// Pairs of inputs for which it was reported.
    reported: BTreeSet<(u64, u64)>,
}

static INPUTS: Mutex<Inputs> = Mutex::new(Inputs {
    last: 0,
    known: Vec::new(),
    reported: BTreeSet::new(),
});

impl Same {
    /// The container with this id in this folder.
    pub fn new(id: &ContainerId, dir: &Path) -> Same {
        let mut bytes = id.bytes().to_vec();
        bytes.extend_from_slice(dir.as_os_str().as_encoded_bytes());
        Same(xxh3_128(&bytes))
    }
}

impl Input {
    /// Adds an input that reads nothing yet.
    pub fn new(link: &Arc<Link>, name: &str) -> Input {
        let mut inputs = lock(&INPUTS);
        inputs.last += 1;
        let number = inputs.last;
        inputs.known.push(Known {
            number,
            name: name.to_owned(),
            link: Arc::downgrade(link),
            reads: HashMap::new(),
        });
        Input { number }
    }

    /// Compares what this input reads now, by the keys of its containers, with what the others do.
    /// `report` is called for each other input that reads some of it, until it returns true. While
    /// there is no other one, nothing is asked.
    pub fn compare(
        &self,
        reads: impl FnOnce() -> HashMap<Same, usize>,
        mut report: impl FnMut(Shared) -> bool,
    ) {
        let mut inputs = lock(&INPUTS);
        let Inputs {
            known, reported, ..
        } = &mut *inputs;
        known.retain(|input| input.number == self.number || input.is_alive());
        if known.len() < 2 {
            return;
        }
        let reads = reads();
        for other in known.iter().filter(|other| other.number != self.number) {
            let pair = (self.number.min(other.number), self.number.max(other.number));
            let mut shared = reads
                .iter()
                .filter(|(same, _)| other.reads.contains_key(same));
            if reported.contains(&pair) {
                continue;
            }
            let Some((_, key)) = shared.next() else {
                continue;
            };
            let is_kept = report(Shared {
                other: other.name.clone(),
                count: 1 + shared.count(),
                key: *key,
            });
            if is_kept {
                reported.insert(pair);
            }
        }
        if let Some(own) = known.iter_mut().find(|input| input.number == self.number) {
            own.reads = reads;
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let mut inputs = lock(&INPUTS);
        inputs.known.retain(|input| input.number != self.number);
        let is_of_another = |pair: &(u64, u64)| pair.0 != self.number && pair.1 != self.number;
        inputs.reported.retain(is_of_another);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::checkpoint::CheckpointStore;
    use std::sync::atomic::Ordering;

    /// An input that reads nothing yet, beside those of other tests.
    fn input(name: &str) -> (Arc<Link>, Input) {
        let link = Arc::new(Link::new(1 << 20, CheckpointStore::in_memory()).unwrap());
        let input = Input::new(&link, name);
        (link, input)
    }

    /// Containers of a folder of this test.
    fn containers(folder: &str, digits: &[u8]) -> HashMap<Same, usize> {
        let of_digit = |digit: &u8| {
            let id = ContainerId::from_bytes([*digit; 32]);
            let dir = Path::new("/inputs").join(folder);
            (Same::new(&id, &dir), usize::from(*digit))
        };
        digits.iter().map(of_digit).collect()
    }

    /// What is reported: name of the other input, number of containers, a key.
    fn reports(input: &Input, reads: &HashMap<Same, usize>, is_kept: bool) -> Vec<(String, usize)> {
        let mut all = Vec::new();
        input.compare(
            || reads.clone(),
            |shared| {
                assert!(reads.values().any(|key| *key == shared.key));
                all.push((shared.other, shared.count));
                is_kept
            },
        );
        all
    }

    #[test]
    fn what_two_inputs_read_is_reported_once_by_one_of_them() {
        let ((_a, one), (_b, other)) = (input("one"), input("other"));
        let (few, many) = (containers("once", &[1, 2]), containers("once", &[2, 3, 1]));
        assert_eq!(reports(&one, &few, true), []);
        assert_eq!(
            reports(&other, &many, false),
            [("one".to_owned(), 2)],
            "no room"
        );
        assert_eq!(reports(&other, &many, true), [("one".to_owned(), 2)]);
        assert_eq!(reports(&other, &many, true), []);
        assert_eq!(reports(&one, &few, true), []);
    }

    #[test]
    fn inputs_that_read_other_containers_or_none_any_more_are_not_reported() {
        let ((_a, one), (link, other)) = (input("one"), input("other"));
        reports(&one, &containers("disjoint", &[1, 2]), true);
        for elsewhere in [containers("disjoint", &[3]), containers("elsewhere", &[1])] {
            assert_eq!(reports(&other, &elsewhere, true), []);
        }
        reports(&other, &containers("disjoint", &[1]), false);
        // It is stopping, and its reader is in a call that does not return.
        link.stopping.store(true, Ordering::Release);
        assert_eq!(reports(&one, &containers("disjoint", &[1, 2]), true), []);
        drop(one);
        let (_c, next) = input("next");
        assert_eq!(reports(&next, &containers("disjoint", &[1, 2]), true), []);
    }
}
