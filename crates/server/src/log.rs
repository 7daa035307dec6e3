//! A bounded log: the latest entries of something that goes on, numbered from 1 on without gaps.

use std::collections::VecDeque;

/// The log. Readers keep their place themselves, as the number of the last entry they have.
#[derive(Debug)]
pub(crate) struct Log<T> {
    head: u64,
    entries: VecDeque<(T, usize)>,
    bytes: usize,
}

/// An entry is no longer there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Gone {
    /// The number of the oldest entry that is.
    pub(crate) oldest: u64,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self {
            head: 0,
            entries: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T> Log<T> {
    /// Adds an entry of so many bytes, and forgets the oldest ones beyond the bounds.
    pub(crate) fn push(&mut self, entry: T, bytes: usize) {
        self.head += 1;
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
        while self.entries.len() > MOST_ENTRIES || self.bytes > MOST_BYTES && self.entries.len() > 1
        {
            self.bytes -= self.entries.pop_front().map_or(0, |(_, oldest)| oldest);
        }
    }

    /// Returns the number of the latest entry; 0 before the first.
    pub(crate) const fn head(&self) -> u64 {
        self.head
    }

    /// Returns the number of the oldest entry that is still there; one beyond the head when there is none.
    pub(crate) fn oldest(&self) -> u64 {
        self.head + 1 - self.entries.len() as u64
    }

    /// Returns the entries after a number, oldest first; none at the head or beyond it.
    pub(crate) fn after(&mut self, number: u64) -> Result<impl Iterator<Item = &mut T>, Gone> {
        let oldest = self.oldest();
        if number + 1 < oldest {
            return Err(Gone { oldest });
        }
        let skipped = usize::try_from(number + 1 - oldest).unwrap_or(usize::MAX);
        let entries = self.entries.iter_mut().skip(skipped);
        Ok(entries.map(|(entry, _)| entry))
    }
}

/// Seconds of history at the rates that make sense to follow.
pub(crate) const MOST_ENTRIES: usize = 4096;
/// Bounds a reply, too, since one may hold the whole history.
pub(crate) const MOST_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entries: u64, bytes: usize) -> Log<u64> {
        let mut log = Log::default();
        (1..=entries).for_each(|number| log.push(number, bytes));
        log
    }

    fn after(log: &mut Log<u64>, number: u64) -> Result<Vec<u64>, Gone> {
        log.after(number)
            .map(|entries| entries.map(|entry| *entry).collect())
    }

    #[test]
    fn entries_follow_the_number_that_is_known() {
        let mut log = filled(3, 1);
        assert_eq!(after(&mut log, 0), Ok(vec![1, 2, 3]));
        assert_eq!(after(&mut log, 2), Ok(vec![3]));
        for number in [3, 4, u64::MAX - 1] {
            assert_eq!(after(&mut log, number), Ok(vec![]));
        }
        assert_eq!(after(&mut filled(0, 0), 0), Ok(vec![]));
    }

    #[test]
    fn the_log_is_bounded_in_number() {
        let mut log = filled(MOST_ENTRIES as u64 + 10, 1);
        assert_eq!(after(&mut log, 9), Err(Gone { oldest: 11 }));
        assert_eq!(after(&mut log, 10).unwrap().len(), MOST_ENTRIES);
    }

    #[test]
    fn the_log_is_bounded_in_bytes_but_keeps_the_latest() {
        assert_eq!(filled(2, MOST_BYTES / 2 + 1).oldest(), 2);
        assert_eq!(filled(3, MOST_BYTES * 2).oldest(), 3);
    }
}
