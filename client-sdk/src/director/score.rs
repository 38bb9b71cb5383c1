//! What a score expression sees of a row: the names that it may use, as attributes of an event that is none.

use std::time::Duration;

use anyport_protocol::filter::{Filter, Number, Source, Value, ValueRef};
use anyport_protocol::map::ServicePoint;

#[derive(Debug)]
pub(super) struct Scored<'p> {
    pub(super) point: &'p ServicePoint,
    pub(super) round_trip: Duration,
    pub(super) is_own_zone: bool,
    pub(super) failures: u32,
}

impl Source for Scored<'_> {
    fn attribute(&self, name: &str) -> Option<ValueRef<'_>> {
        let integer = |value: u128| ValueRef::Integer(i32::try_from(value).unwrap_or(i32::MAX));
        Some(match name {
            "rtt_ms" => integer(self.round_trip.as_millis()),
            "load" => integer(self.point.load.into()),
            "weight" => integer(self.point.weight.into()),
            "zone" => ValueRef::String(&self.point.zone),
            "samezone" => ValueRef::Boolean(self.is_own_zone),
            "failures" => integer(self.failures.into()),
            _ => return None,
        })
    }

    fn json_data(&self) -> Option<&[u8]> {
        None
    }
}

/// The row's value, or what is wrong with the expression.
pub(super) fn evaluate(expression: &Filter, row: &Scored<'_>) -> Result<Number, String> {
    let evaluation = expression.evaluate(row);
    match (evaluation.error, evaluation.value) {
        (Some(error), _) => Err(error.to_string()),
        (None, Value::Number(number)) => Ok(number),
        (None, Value::Boolean(value)) => Ok(Number::Integer(value.into())),
        (None, Value::String(_)) => Err("its value is a text".to_owned()),
    }
}
