//! What a message looks like on the wire, found out by asking the code: it is given the sample with one part changed, and takes it
//! or not.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::msgpack::Value;

/// Decodes a body and encodes what it was taken for; none if it was not taken.
type Recode = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// One message, or a part of messages that has a name, with every field there.
pub struct Sample {
    pub name: &'static str,
    /// As it stands on the wire.
    pub body: Vec<u8>,
    pub recode: Recode,
}

/// One field of it.
pub struct Field {
    pub name: String,
    pub kind: String,
    /// What a reader takes it for where it is absent; "needed" where that is an error.
    pub absent: String,
}

impl Sample {
    pub fn of<T: Serialize + DeserializeOwned>(name: &'static str, sample: &T) -> Self {
        let encode = |value: &T| rmp_serde::to_vec_named(value).expect("encode");
        let recode = move |body: &[u8]| rmp_serde::from_slice(body).ok().map(|value| encode(&value));
        Self { name, body: encode(sample), recode: Box::new(recode) }
    }

    fn value(&self) -> Value {
        Value::read(&self.body)
    }

    fn takes(&self, value: &Value) -> Option<Value> {
        let mut body = Vec::new();
        value.write(&mut body);
        (self.recode)(&body).map(|body| Value::read(&body))
    }

    fn takes_at(&self, path: &[usize], part: Value) -> bool {
        let mut value = self.value();
        *value.at(path) = part;
        self.takes(&value).is_some()
    }

    /// `parts` are the samples that have a name of their own.
    pub fn fields(&self, parts: &[Sample]) -> Vec<Field> {
        let Value::Map(members) = self.value() else { panic!("{} is no map", self.name) };
        let field = |(place, (name, _)): (usize, &(String, Value))| Field {
            name: name.clone(),
            kind: self.kind(&mut vec![place], parts),
            absent: self.absent(place),
        };
        members.iter().enumerate().map(field).collect()
    }

    /// How the whole is written: of a value that takes several forms, this one.
    pub fn form(&self, parts: &[Sample]) -> String {
        match self.value() {
            Value::Text(text) => format!("`\"{text}\"`"),
            Value::Map(members) => self.map(&mut Vec::new(), &members, parts),
            other => panic!("{}: a form of this kind is new: {other:?}", self.name),
        }
    }

    fn absent(&self, place: usize) -> String {
        let mut value = self.value();
        let Value::Map(members) = &mut value else { panic!("{} is no map", self.name) };
        let (name, _) = members.remove(place);
        let Some(Value::Map(members)) = self.takes(&value) else { return "needed".to_owned() };
        let taken_for = members.into_iter().find(|(member, _)| *member == name);
        // What is left out where it is nothing.
        taken_for.map_or_else(|| "nil".to_owned(), |(_, value)| shown(&value))
    }

    fn kind(&self, path: &mut Vec<usize>, parts: &[Sample]) -> String {
        let kind = match self.value().at(path) {
            Value::Nil => panic!("{}: a sample has every field", self.name),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(_) => self.width(path),
            Value::Text(text) if self.takes_at(path, Value::Text("any-text".to_owned())) => {
                assert!(!text.is_empty());
                "text".to_owned()
            }
            Value::Text(text) if text.parse::<std::net::IpAddr>().is_ok() => "text, an address".to_owned(),
            Value::Text(text) => one_of_several(text, parts),
            Value::Bytes(bytes) if self.takes_at(path, Value::Bytes(bytes[1..].to_vec())) => "bytes".to_owned(),
            Value::Bytes(bytes) => {
                format!("{} bytes", bytes.len())
            }
            Value::List(items) => self.list(path, items.len(), parts),
            Value::Map(members) => match part_with(members, parts) {
                Some(part) => part.name.to_owned(),
                None => self.map(path, &members.clone(), parts),
            },
        };
        if self.takes_at(path, Value::Nil) { format!("{kind} or nil") } else { kind }
    }

    fn width(&self, path: &[usize]) -> String {
        let widths = [(u64::MAX, "u64"), (u32::MAX.into(), "u32"), (u16::MAX.into(), "u16"), (u8::MAX.into(), "u8")];
        let widest = widths.into_iter().find(|(most, _)| self.takes_at(path, Value::Number(*most)));
        widest.expect("a number has some width").1.to_owned()
    }

    /// Values of one kind are a list; of several, a tuple.
    fn list(&self, path: &mut Vec<usize>, count: usize, parts: &[Sample]) -> String {
        let mut kinds: Vec<_> = (0..count).map(|place| self.kind_below(path, place, parts)).collect();
        kinds.dedup();
        match kinds.as_slice() {
            [] => panic!("{}: a sample has no empty list", self.name),
            [kind] => format!("list of {kind}"),
            kinds => format!("[{}]", kinds.join(", ")),
        }
    }

    fn map(&self, path: &mut Vec<usize>, members: &[(String, Value)], parts: &[Sample]) -> String {
        let member = |(place, (name, _)): (usize, &(String, Value))| {
            format!("\"{name}\": {}", self.kind_below(path, place, parts).replace('`', ""))
        };
        let members: Vec<_> = members.iter().enumerate().map(member).collect();
        format!("`{{{}}}`", members.join(", "))
    }

    fn kind_below(&self, path: &mut Vec<usize>, place: usize, parts: &[Sample]) -> String {
        path.push(place);
        let kind = self.kind(path, parts);
        path.pop();
        kind
    }
}

/// The part that has these fields.
fn part_with<'a>(members: &[(String, Value)], parts: &'a [Sample]) -> Option<&'a Sample> {
    let names = |members: &[(String, Value)]| members.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    parts.iter().find(|part| matches!(part.value(), Value::Map(own) if names(&own) == names(members)))
}

/// The name of what may be this word, but not any.
fn one_of_several(word: &str, parts: &[Sample]) -> String {
    let found = parts.iter().find(|part| part.value() == Value::Text(word.to_owned()));
    found.unwrap_or_else(|| panic!("no part is `{word}`")).name.to_owned()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("`\"{text}\"`"),
        Value::List(items) if items.is_empty() => "empty".to_owned(),
        Value::Map(members) if members.iter().all(|(_, value)| *value == Value::Number(0)) => "zeros".to_owned(),
        other => panic!("a default of this kind is new: {other:?}"),
    }
}
