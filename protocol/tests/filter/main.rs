//! The filter language, seen from outside.

mod filter_allocations;
mod filter_docs;
mod filter_documents;
mod filter_errors;
mod filter_explanations;
mod filter_properties;
mod filter_stories;
mod filter_tck;
mod reference;
#[path = "../../examples/filter_speed/typical.rs"]
mod typical;

use std::collections::BTreeMap;

use anyport_protocol::filter::{Source, ValueRef};

/// An event as a filter sees it, put together by hand.
#[derive(Debug, Default)]
struct TestEvent {
    attributes: BTreeMap<String, Attribute>,
    data: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Attribute {
    Text(String),
    Integer(i32),
    Boolean(bool),
}

impl TestEvent {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.to_owned(), Attribute::Text(value.to_owned()));
        self
    }

    fn with_integer(mut self, name: &str, value: i32) -> Self {
        self.attributes.insert(name.to_owned(), Attribute::Integer(value));
        self
    }

    fn with_boolean(mut self, name: &str, value: bool) -> Self {
        self.attributes.insert(name.to_owned(), Attribute::Boolean(value));
        self
    }

    fn with_data(mut self, json: impl Into<Vec<u8>>) -> Self {
        self.data = Some(json.into());
        self
    }
}

impl Source for TestEvent {
    fn attribute(&self, name: &str) -> Option<ValueRef<'_>> {
        self.attributes.get(name).map(|value| match value {
            Attribute::Text(text) => ValueRef::String(text),
            Attribute::Integer(value) => ValueRef::Integer(*value),
            Attribute::Boolean(value) => ValueRef::Boolean(*value),
        })
    }

    fn json_data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }
}
