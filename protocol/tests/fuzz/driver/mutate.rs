//! Changes to inputs: of bits and bytes, of lengths and numbers, of whole pieces.

/// Changes made to one input at most.
const CHANGES_MAX: usize = 6;

/// Copies of a piece at most: lists, nesting and texts have to pass their limits.
const COPIES_MAX: usize = 300;

/// Where numbers and lengths turn.
const TURNING_POINTS: [u64; 14] =
    [0, 1, 2, 0x3f, 0x40, 0x7f, 0x80, 0xff, 0x100, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, i64::MAX as u64, u64::MAX];

pub(super) struct Mutator<'t> {
    state: u64,
    words: &'t [Vec<u8>],
    bytes_max: usize,
}

impl<'t> Mutator<'t> {
    pub(super) fn new(seed: u64, words: &'t [Vec<u8>], bytes_max: usize) -> Self {
        Self { state: seed, words, bytes_max }
    }

    /// SplitMix64: small, and all of its state is the seed.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 where there is nothing below it.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % (end as u64).max(1)) as usize
    }

    /// One of the kept inputs, changed.
    pub(super) fn next_input(&mut self, kept: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.choose(kept).to_vec();
        let other = self.choose(kept);
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut input, other);
        }
        input.truncate(self.bytes_max);
        input
    }

    fn choose<'k>(&mut self, from: &'k [Vec<u8>]) -> &'k [u8] {
        from.get(self.below(from.len())).map_or(&[], Vec::as_slice)
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        match self.below(12) {
            0 => {
                let bit = 1 << self.below(8);
                self.each_byte(input, |byte| byte ^ bit);
            }
            1 => {
                let random = self.next() as u8;
                self.each_byte(input, |_| random);
            }
            2 => {
                let step = [1, 2, 16, 0xff][self.below(4)];
                self.each_byte(input, |byte| byte.wrapping_add(step));
            }
            3 => self.put_number(input),
            4 => {
                let range = self.range(input.len());
                input.drain(range);
            }
            5 => {
                let piece = input[self.range(input.len())].to_vec();
                self.insert(input, &piece);
            }
            6 => {
                let end = self.below(input.len().min(32));
                let at = self.below(input.len() - end);
                let copies = self.below(COPIES_MAX);
                let pieces = input[at..at + end].repeat(copies);
                input.splice(at..at, pieces);
            }
            7 | 8 => {
                let words = self.words;
                let word = self.choose(words);
                self.insert(input, word);
            }
            9 => {
                let words = self.words;
                let (word, range) = (self.choose(words), self.range(input.len().min(16)));
                input.splice(range, word.iter().copied());
            }
            10 => {
                let piece = &other[self.range(other.len())];
                self.insert(input, piece);
            }
            _ => {
                input.truncate(self.below(input.len() + 1));
                input.extend_from_slice(&other[self.below(other.len())..]);
            }
        }
    }

    fn each_byte(&mut self, input: &mut [u8], to: impl Fn(u8) -> u8) {
        let at = self.below(input.len());
        if let Some(byte) = input.get_mut(at) {
            *byte = to(*byte);
        }
    }

    /// A number of 1, 2, 4 or 8 bytes in either byte order, over what was there.
    fn put_number(&mut self, input: &mut [u8]) {
        let near = self.below(3) as u64;
        let number = TURNING_POINTS[self.below(TURNING_POINTS.len())].wrapping_add(near).wrapping_sub(1);
        let number = if self.below(4) == 0 { input.len() as u64 } else { number };
        let width = 1 << self.below(4);
        let mut bytes = number.to_le_bytes();
        if self.below(2) == 0 {
            bytes[..width].reverse();
        }
        let at = self.below(input.len());
        for (there, byte) in input[at..].iter_mut().zip(&bytes[..width]) {
            *there = *byte;
        }
    }

    /// Some of so many bytes; short ones are likelier.
    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len);
        let longest = 1 << self.below(12);
        start..start + self.below((len - start).min(longest) + 1)
    }

    fn insert(&mut self, input: &mut Vec<u8>, piece: &[u8]) {
        let at = self.below(input.len() + 1);
        input.splice(at..at, piece.iter().copied());
    }
}
