//! Every value in the store is sealed, so that damage is an error and never an answer.
//!
//! ```text
//!  0         4        5
//!  | crc32c  | format | body ...
//! ```
//! `crc32c` (little endian) covers the key, the format byte and the body: a value found under another key does not pass. A
//! value of a newer format is refused, not guessed at.

/// Bytes before the body.
pub(crate) const SEAL_BYTES: usize = 5;

const FORMAT: u8 = 1;

/// Appends the sealed form of the body (given in pieces) to `out`, which is cleared first.
pub(crate) fn seal(key: &[u8], body: &[&[u8]], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0, 0, 0, 0, FORMAT]);
    for piece in body {
        out.extend_from_slice(piece);
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The body of a sealed value, or what is wrong with it.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], &'static str> {
    let (crc, rest) = value.split_first_chunk::<4>().ok_or("shorter than its checksum")?;
    if crc32c::crc32c_append(crc32c::crc32c(key), rest) != u32::from_le_bytes(*crc) {
        return Err("checksum does not match");
    }
    match rest.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some(_) => Err("format is not known"),
        None => Err("no format byte"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_sealed_is_unsealed(key: Vec<u8>, a: Vec<u8>, b: Vec<u8>) {
            let mut out = vec![9];
            seal(&key, &[&a, &b], &mut out);
            let body = [a, b].concat();
            prop_assert_eq!(unseal(&key, &out), Ok(body.as_slice()));
        }

        #[test]
        fn one_flipped_bit_is_noticed(key: [u8; 10], body: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let mut out = Vec::new();
            seal(&key, &[&body], &mut out);
            let at = at.index(out.len());
            out[at] ^= 1 << bit;
            prop_assert!(unseal(&key, &out).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(key: [u8; 10], value: Vec<u8>) {
            let _ = unseal(&key, &value);
        }
    }

    #[test]
    fn a_value_under_another_key_is_refused() {
        let mut out = Vec::new();
        seal(b"key 1", &[b"body"], &mut out);
        assert_eq!(unseal(b"key 2", &out), Err("checksum does not match"));
    }
}
