//! How events (or any byte strings) stand one behind the other, the same on the wire and in the store.
//!
//! ```text
//! (len u32 LE | bytes)*
//! ```
//! There is no count and no end mark: whoever carries the run knows its length. A run that does not end with its last item is
//! [`BadFraming`], never a panic and never a short answer passed off as whole.

use std::iter::FusedIterator;

/// What framing adds to each item.
pub const OVERHEAD_BYTES: usize = 4;

/// The run ends inside an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item framed at byte {at} needs {needed} bytes, {left} are left")]
pub struct BadFraming {
    pub at: usize,
    pub needed: usize,
    pub left: usize,
}

/// Appends one item.
pub fn push(out: &mut Vec<u8>, item: &[u8]) {
    let len = u32::try_from(item.len()).expect("every item is under a limit far below 4 GiB");
    out.reserve(OVERHEAD_BYTES + item.len());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(item);
}

/// The items of a run, in order. After an error there are no more.
pub fn iter(run: &[u8]) -> Iter<'_> {
    Iter { rest: run, at: 0 }
}

#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iter<'a> {
    fn stop(&mut self, needed: usize, left: usize) -> Option<Result<&'a [u8], BadFraming>> {
        self.rest = &[];
        Some(Err(BadFraming { at: self.at, needed, left }))
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<&'a [u8], BadFraming>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((len, rest)) = self.rest.split_first_chunk::<OVERHEAD_BYTES>() else {
            return self.stop(OVERHEAD_BYTES, self.rest.len());
        };
        let len = u32::from_le_bytes(*len) as usize;
        let Some((item, rest)) = rest.split_at_checked(len) else { return self.stop(len, rest.len()) };
        self.rest = rest;
        self.at += OVERHEAD_BYTES + len;
        Some(Ok(item))
    }
}

impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn items_come_back_in_order(items: Vec<Vec<u8>>) {
            let mut run = Vec::new();
            for item in &items {
                push(&mut run, item);
            }
            let back: Result<Vec<_>, _> = iter(&run).map(|item| item.map(<[u8]>::to_vec)).collect();
            prop_assert_eq!(back, Ok(items));
        }

        #[test]
        fn any_bytes_are_whole_items_or_end_in_one_error(run: Vec<u8>) {
            let mut covered = 0;
            let mut failed = false;
            for item in iter(&run) {
                prop_assert!(!failed, "nothing follows an error");
                match item {
                    Ok(item) => covered += OVERHEAD_BYTES + item.len(),
                    Err(bad) => { failed = true; prop_assert_eq!(bad.at, covered); }
                }
            }
            prop_assert_eq!(failed, covered != run.len());
        }
    }

    #[test]
    fn a_run_cut_short_says_where() {
        let mut run = Vec::new();
        push(&mut run, b"one");
        push(&mut run, b"two");
        let last = iter(&run[..run.len() - 1]).last();
        assert_eq!(last, Some(Err(BadFraming { at: 7, needed: 3, left: 2 })));
    }
}
