//! The batches of a container that the host has not accepted yet.

use std::collections::VecDeque;

use crate::format::position::Timestamp;

/// The time of the first record of each batch, oldest first. Mostly there is one batch or none, which
/// takes no memory of its own.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    first: Option<Timestamp>,
    others: VecDeque<Timestamp>,
}

impl Waiting {
    pub fn first(&self) -> Option<Timestamp> {
        self.first
    }

    pub fn push(&mut self, since: Timestamp) {
        match self.first {
            None => self.first = Some(since),
            Some(_) => self.others.push_back(since),
        }
    }

    pub fn pop(&mut self) -> Option<Timestamp> {
        let first = std::mem::replace(&mut self.first, self.others.pop_front());
        if self.others.is_empty() {
            // Most containers write nothing for a long time.
            self.others = VecDeque::new();
        }
        first
    }

    /// The oldest batch is two now.
    pub fn divide_first(&mut self) {
        if let Some(first) = self.first {
            self.others.push_front(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_leave_in_the_order_in_which_they_came() {
        let time = |seconds| Timestamp {
            seconds,
            ..Timestamp::default()
        };
        let mut waiting = Waiting::default();
        assert_eq!(waiting.pop(), None);
        for seconds in 1..=3 {
            waiting.push(time(seconds));
        }
        waiting.divide_first();
        let left = std::iter::from_fn(|| waiting.pop());
        assert_eq!(left.collect::<Vec<_>>(), [1, 1, 2, 3].map(time));
        assert_eq!((waiting.first(), waiting.others.capacity()), (None, 0));
    }
}
