use std::fmt::{self, Debug, Display, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// How much of a shape counts: enough to tell errors and values apart, too little for every length of a list to be new.
const SHAPE_BYTES_MAX: usize = 200;

/// Of an error's words only those before what it quotes, which is different each time.
const WORDS_MAX: usize = 32;

/// What came of an input, as far as it tells that input from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outcome(u64);

impl Outcome {
    /// The shape of a value: how it is shown, without the numbers, ids and texts in it.
    pub fn of(value: &dyn Debug) -> Self {
        let mut shape = Shape { hasher: DefaultHasher::new(), left: SHAPE_BYTES_MAX, in_text: false, escaped: false };
        // It fails where the shape is long enough, and then showing the rest is spared.
        let _ = write!(shape, "{value:?}");
        Self(shape.hasher.finish())
    }

    /// The shape of a value, or of an error together with its first words.
    pub fn of_result<T: Debug, E: Debug + Display>(result: &Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::of(value),
            Err(error) => Self::of(error).and(Self::exactly(first_words(&error.to_string()))),
        }
    }

    /// Where each of a few values is an outcome of its own.
    pub fn exactly(value: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// One that differs where the other differs, too.
    pub fn and(self, other: Self) -> Self {
        Self::exactly((self, other))
    }
}

fn first_words(text: &str) -> String {
    let unquoted = text.split(['`', '"', '\'']).next().unwrap_or_default();
    unquoted.chars().filter(char::is_ascii_lowercase).take(WORDS_MAX).collect()
}

struct Shape {
    hasher: DefaultHasher,
    left: usize,
    in_text: bool,
    escaped: bool,
}

impl Shape {
    fn counts(&mut self, byte: u8) -> bool {
        if !self.in_text {
            self.in_text = byte == b'"';
            return !byte.is_ascii_hexdigit() && byte != b'-';
        }
        let ends = byte == b'"' && !self.escaped;
        self.escaped = byte == b'\\' && !self.escaped;
        self.in_text = !ends;
        ends
    }
}

impl Write for Shape {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.counts(byte) {
                self.hasher.write_u8(byte);
                self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            }
        }
        Ok(())
    }
}
