//! Numbers in the attribute block, in bytes below 128 only.
//!
//! A number is cut into groups of six bits, lowest first, one per byte; bit 6 (64) is set on all bytes but the last. The last
//! byte of several is never 0, so that a number has one form. Because no byte reaches 128, the block is UTF-8 as a whole
//! exactly if each string in it is: one pass validates them all, and strings are then cut out of it for free.

const GROUP_BITS: u32 = 6;
const MORE: u8 = 0x40;
const GROUP: u8 = 0x3f;

pub(super) fn size(number: u32) -> usize {
    (32 - number.leading_zeros()).div_ceil(GROUP_BITS).max(1) as usize
}

pub(super) fn push(out: &mut Vec<u8>, mut number: u32) {
    while number > u32::from(GROUP) {
        out.push((number as u8 & GROUP) | MORE);
        number >>= GROUP_BITS;
    }
    out.push(number as u8);
}

/// The number at `at` and the place after it; `None` if it is cut off, over 32 bits, or not in its one form.
#[inline]
pub(super) fn read(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = *bytes.get(at)?;
    if first < MORE {
        return Some((u32::from(first), at + 1));
    }
    read_long(bytes, at)
}

fn read_long(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let mut number = 0_u64;
    for (place, &byte) in bytes.get(at..)?.iter().take(size(u32::MAX)).enumerate() {
        if byte > GROUP | MORE {
            return None;
        }
        number |= u64::from(byte & GROUP) << (GROUP_BITS * place as u32);
        if byte & MORE == 0 {
            let shortest = place == 0 || byte != 0;
            return if shortest { Some((u32::try_from(number).ok()?, at + place + 1)) } else { None };
        }
    }
    None
}

/// Small numbers of either sign become small numbers: 0, -1, 1, -2 are 0, 1, 2, 3.
pub(super) fn zigzag(number: i32) -> u32 {
    ((number << 1) ^ (number >> 31)) as u32
}

pub(super) fn unzigzag(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive_and_stay_below_128(number: u32, signed: i32) {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            prop_assert_eq!(bytes.len(), size(number));
            prop_assert!(bytes.iter().all(u8::is_ascii));
            prop_assert_eq!(read(&bytes, 0), Some((number, bytes.len())));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn a_number_has_one_form(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            if let Some((number, end)) = read(&bytes, 0) {
                let mut again = Vec::new();
                push(&mut again, number);
                prop_assert_eq!(&again[..], &bytes[..end]);
            }
        }
    }

    #[test]
    fn sizes_change_at_multiples_of_six_bits() {
        assert_eq!([0, 63, 64, 4095, 4096, u32::MAX].map(size), [1, 1, 2, 2, 3, 6]);
    }
}
