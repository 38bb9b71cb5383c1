//! Filters in JSON, and events given as an example.

use anyport_protocol::filter::{Dialect, Filter, is_document};

use crate::driver::Outcome;
use crate::filters;

pub fn target(bytes: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(bytes);
    let read = [
        Filter::from_document(&text, Dialect::Extended),
        Filter::from_document(&text, Dialect::Strict),
        Filter::from_example(&text),
    ];
    if let (Ok(extended), Ok(strict), false) = (&read[0], &read[1], filters::names_data(&text)) {
        assert_eq!(extended, strict, "an extension changes nothing of the standard");
    }
    read.iter().fold(Outcome::of(&is_document(&text)), |outcome, filter| match filter {
        Ok(filter) => {
            assert_eq!(Filter::compile(filter.text()).as_ref(), Ok(filter));
            outcome.and(filters::keeps_its_bounds(filter, b"{\"x\":1,\"list\":[0,{\"y\":\"t\"}]}"))
        }
        Err(error) => {
            let pointed = error.pointer().is_none_or(|pointer| pointer.split('\n').count() == 2);
            assert!(pointed);
            outcome.and(Outcome::of_result(filter))
        }
    })
}
