//! The part of MessagePack that messages use, read and written without the library under test.

/// A value as it stands on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Number(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The one value that these bytes are.
    pub fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let value = take_value(&mut rest);
        assert!(rest.is_empty(), "{} bytes follow the value", rest.len());
        value
    }

    /// In the longest form there is, which a reader must take as well as the shortest.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = |length: usize| u32::try_from(length).expect("samples are small").to_be_bytes();
        match self {
            Self::Nil => out.push(0xc0),
            Self::Bool(truth) => out.push(0xc2 + u8::from(*truth)),
            Self::Number(number) => {
                out.push(0xcf);
                out.extend(number.to_be_bytes());
            }
            Self::Text(text) => {
                out.push(0xdb);
                out.extend(length(text.len()));
                out.extend(text.bytes());
            }
            Self::Bytes(bytes) => {
                out.push(0xc6);
                out.extend(length(bytes.len()));
                out.extend(bytes);
            }
            Self::List(items) => {
                out.push(0xdd);
                out.extend(length(items.len()));
                items.iter().for_each(|item| item.write(out));
            }
            Self::Map(members) => {
                out.push(0xdf);
                out.extend(length(members.len()));
                for (name, value) in members {
                    Self::Text(name.clone()).write(out);
                    value.write(out);
                }
            }
        }
    }

    /// What lies at a path of places in lists and maps.
    pub fn at(&mut self, path: &[usize]) -> &mut Self {
        path.iter().fold(self, |value, place| match value {
            Self::List(items) => &mut items[*place],
            Self::Map(members) => &mut members[*place].1,
            other => panic!("no place {place} in {other:?}"),
        })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn take_number(rest: &mut &[u8], bytes: usize) -> usize {
    take(rest, bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn take_value(rest: &mut &[u8]) -> Value {
    let tag = take(rest, 1)[0];
    let low = |bits: u8| usize::from(tag & bits);
    match tag {
        0x00..=0x7f => Value::Number(tag.into()),
        0x80..=0x8f => take_map(rest, low(0x0f)),
        0x90..=0x9f => take_list(rest, low(0x0f)),
        0xa0..=0xbf => take_text(rest, low(0x1f)),
        0xc0 => Value::Nil,
        0xc2 | 0xc3 => Value::Bool(tag == 0xc3),
        0xc4 => {
            let length = take_number(rest, 1);
            Value::Bytes(take(rest, length).to_vec())
        }
        0xcc..=0xcf => Value::Number(take_number(rest, 1 << (tag - 0xcc)) as u64),
        0xd9..=0xdb => {
            let length = take_number(rest, 1 << (tag - 0xd9));
            take_text(rest, length)
        }
        0xdc => {
            let count = take_number(rest, 2);
            take_list(rest, count)
        }
        0xde => {
            let count = take_number(rest, 2);
            take_map(rest, count)
        }
        other => panic!("messages do not use the form {other:#04x}"),
    }
}

fn take_text(rest: &mut &[u8], length: usize) -> Value {
    Value::Text(String::from_utf8(take(rest, length).to_vec()).expect("text is UTF-8"))
}

fn take_list(rest: &mut &[u8], count: usize) -> Value {
    Value::List((0..count).map(|_| take_value(rest)).collect())
}

fn take_map(rest: &mut &[u8], count: usize) -> Value {
    let member = |rest: &mut &[u8]| match take_value(rest) {
        Value::Text(name) => (name, take_value(rest)),
        other => panic!("a member is named by text, not {other:?}"),
    };
    Value::Map((0..count).map(|_| member(rest)).collect())
}
