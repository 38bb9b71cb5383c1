//! Fields of a row: numbers as varints, texts and lists behind their length. Reading never trusts a length it has not seen the
//! bytes of, so hostile bytes cost no more memory than they have themselves.

use super::codec::RecordError;

/// LEB128: seven bits a byte, low ones first, the high bit set on all but the last.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// What is left to read. Every method names the field it reads, for the error.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, RecordError> {
        let (first, rest) = self.rest.split_first().ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn bytes(&mut self, count: u64, field: &'static str) -> Result<&'a [u8], RecordError> {
        let count = usize::try_from(count).map_err(|_| RecordError::Truncated { field })?;
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn varint(&mut self, field: &'static str) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::OutOfRange { field })
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<String, RecordError> {
        let count = self.varint(field)?;
        let text = std::str::from_utf8(self.bytes(count, field)?).map_err(|_| RecordError::NotText { field })?;
        Ok(text.to_owned())
    }

    /// Every item takes at least a byte, so a count that lies ends the reading instead of filling the memory.
    pub(super) fn list<T>(
        &mut self,
        count: u64,
        mut item: impl FnMut(&mut Self) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(super) fn end(&self) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::TrailingBytes { count: self.rest.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        out
    }

    proptest! {
        #[test]
        fn a_varint_reads_back(value: u64) {
            let bytes = encoded(value);
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!(fields.varint("n"), Ok(value));
            prop_assert_eq!(fields.end(), Ok(()));
        }
    }

    #[test]
    fn a_varint_takes_one_byte_up_to_127_and_ten_at_most() {
        assert_eq!(encoded(127).len(), 1);
        assert_eq!(encoded(128).len(), 2);
        assert_eq!(encoded(u64::MAX).len(), 10);
    }

    #[test]
    fn a_varint_over_64_bits_is_refused() {
        for tail in [vec![0x02], vec![0x81, 0x00]] {
            let bytes = [vec![0xff; 9], tail].concat();
            assert_eq!(Fields::new(&bytes).varint("n"), Err(RecordError::OutOfRange { field: "n" }));
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_truncation() {
        let bytes = encoded(u64::MAX);
        assert_eq!(Fields::new(&bytes).text("t"), Err(RecordError::Truncated { field: "t" }));
    }
}
