//! Base64 as JSON events carry binary data: RFC 4648, standard alphabet, padded. Only the one canonical text of some bytes is read, so
//! that text and bytes survive each other.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NONE: u8 = 0xff;
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

pub(super) fn push(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    let symbol = |group: u32, place: u32| ALPHABET[(group >> (18 - 6 * place)) as usize & 63];
    let chunks = bytes.chunks_exact(3);
    let rest = chunks.remainder();
    for chunk in chunks {
        let group = u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]);
        out.extend_from_slice(&[symbol(group, 0), symbol(group, 1), symbol(group, 2), symbol(group, 3)]);
    }
    match *rest {
        [a] => {
            let group = u32::from_be_bytes([0, a, 0, 0]);
            out.extend_from_slice(&[symbol(group, 0), symbol(group, 1), b'=', b'=']);
        }
        [a, b] => {
            let group = u32::from_be_bytes([0, a, b, 0]);
            out.extend_from_slice(&[symbol(group, 0), symbol(group, 1), symbol(group, 2), b'=']);
        }
        _ => {}
    }
}

/// The bytes, or the place in the text where it stops being base64.
pub(super) fn decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let padding = text.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
    let symbols = &text[..text.len() - padding];
    if !text.len().is_multiple_of(4) {
        return Err(text.len());
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for (chunk_index, chunk) in symbols.chunks(4).enumerate() {
        let mut group = 0_u32;
        for (place, &symbol) in chunk.iter().enumerate() {
            let value = VALUES[usize::from(symbol)];
            if value == NONE {
                return Err(chunk_index * 4 + place);
            }
            group |= u32::from(value) << (18 - 6 * place);
        }
        let [_, whole @ ..] = group.to_be_bytes();
        let (kept, cut) = whole.split_at(chunk.len() - 1);
        if cut.iter().any(|&bits| bits != 0) {
            return Err(chunk_index * 4 + chunk.len() - 1);
        }
        bytes.extend_from_slice(kept);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        push(&mut out, bytes);
        String::from_utf8(out).expect("base64 is ASCII")
    }

    #[test]
    fn the_vectors_of_the_standard_hold() {
        let vectors =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, text) in vectors {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text.as_bytes()).as_deref(), Ok(plain.as_bytes()));
        }
    }

    #[test]
    fn what_is_not_the_canonical_text_is_refused_with_its_place() {
        let wrong = [
            ("Zg=", 3),
            ("Zg", 2),
            ("Z===", 1),
            ("Zh==", 1),
            ("Zm9=", 2),
            ("Z-9v", 1),
            ("Zg==Zg==", 2),
            ("=", 1),
            ("====", 0),
        ];
        for (text, at) in wrong {
            assert_eq!(decode(text.as_bytes()), Err(at), "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes: Vec<u8>) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Ok(bytes));
        }

        #[test]
        fn text_that_is_read_is_what_would_be_written(text in "[A-D+/=]{0,12}") {
            if let Ok(bytes) = decode(text.as_bytes()) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
