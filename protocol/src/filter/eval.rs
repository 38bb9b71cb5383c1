//! Runs a program over an event.
//!
//! By CESQL 3.2 and 3.3 every operator is total: one that errs, or has an operand that did, has the zero value of its type. So the first
//! error settles everything above it, and evaluation ends there or goes on behind the PASSES around it; the error list of the standard
//! has one entry or none. Nothing is allocated here unless a filter keeps more than [`INLINE_STACK`] values at once.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::{CompareOp, Literal, Reference};
use super::functions::{Failure, ResultType};
use super::json::{self, Json};
use super::number::Number;
use super::program::{LiteralSet, Operand, Program, Rescue, Step};
use super::source::Source;
use super::value::{EvaluationError, Kind, Value};

const INLINE_STACK: usize = 8;

/// From as many literals on, a text is looked up among them by halving.
const SORTED_FROM: usize = 8;

/// What an expression amounts to for one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation<'v> {
    pub value: Value<'v>,
    /// The first error, if any; the value is then what the standard prescribes beside it.
    pub error: Option<EvaluationError<'v>>,
}

impl Evaluation<'_> {
    /// CESQL 1.2: an event passes if the value is Boolean true and there was no error.
    pub fn passes(&self) -> bool {
        self.error.is_none() && self.value == Value::Boolean(true)
    }
}

impl Program {
    pub(super) fn evaluate<'v, S: Source + ?Sized>(&'v self, source: &'v S) -> Evaluation<'v> {
        if self.stack_max <= INLINE_STACK {
            self.run(source, &mut [const { Value::FALSE }; INLINE_STACK])
        } else {
            self.run(source, &mut vec![Value::FALSE; self.stack_max])
        }
    }

    fn run<'v, S: Source + ?Sized>(&'v self, source: &'v S, slots: &mut [Value<'v>]) -> Evaluation<'v> {
        let mut machine = Machine { source, slots, height: 0 };
        let mut at = 0;
        while let Some(step) = self.steps.get(at) {
            at += 1;
            match machine.execute(step) {
                Ok(None) => {}
                Ok(Some(end)) => at = end,
                Err(failure) => {
                    if let Some(rescue) = self.rescue(at - 1) {
                        machine.height = rescue.height;
                        machine.push(Value::FALSE);
                        at = rescue.steps.end;
                        continue;
                    }
                    let own = failure.value.filter(|_| self.last_is_root && at == self.steps.len());
                    return Evaluation { value: own.unwrap_or_else(|| self.result.zero()), error: Some(failure.error) };
                }
            }
        }
        Evaluation { value: machine.pop(), error: None }
    }
}

impl Program {
    /// The innermost PASSES around that step. Those passed over begin behind the step and are skipped with it, so looking for rescues
    /// never costs more than executing every step once.
    #[cold]
    fn rescue(&self, step: usize) -> Option<&Rescue> {
        let ended = self.rescues.partition_point(|rescue| rescue.steps.end <= step);
        self.rescues[ended..].iter().find(|rescue| rescue.steps.contains(&step))
    }
}

impl ResultType {
    fn zero<'v>(self) -> Value<'v> {
        match self {
            Self::Boolean => Value::FALSE,
            Self::Number => Value::Number(Number::ZERO),
            Self::String => Value::String(Cow::Borrowed("")),
        }
    }
}

impl Literal {
    pub(super) fn to_value(&self) -> Value<'_> {
        match self {
            Self::Boolean(value) => Value::Boolean(*value),
            Self::Number(number) => Value::Number(*number),
            Self::String(text) => Value::String(Cow::Borrowed(text)),
        }
    }
}

struct Machine<'v, 's, S: ?Sized> {
    source: &'v S,
    slots: &'s mut [Value<'v>],
    height: usize,
}

impl<'v, S: Source + ?Sized> Machine<'v, '_, S> {
    /// Executes one step; gives the step to go on with if that is not the next one.
    fn execute(&mut self, step: &'v Step) -> Result<Option<usize>, Failure<'v>> {
        let value = match step {
            Step::Push(operand) => self.take(operand)?,
            Step::Compare { op, left, right } => {
                let (left, right) = self.take_both(left, right)?;
                Value::Boolean(op.holds(&left, &right)?)
            }
            Step::Arithmetic { op, left, right } => {
                let (left, right) = self.take_both(left, right)?;
                let (left, right) = Value::numbers(&left, &right)?;
                Value::Number(left.apply(*op, right)?)
            }
            Step::Xor { left, right } => {
                let (left, right) = self.take_both(left, right)?;
                Value::Boolean(left.to_boolean()? != right.to_boolean()?)
            }
            Step::Not(operand) => negate_boolean(&self.take(operand)?)?,
            Step::Negate(operand) => Value::Number(self.take(operand)?.to_number(false)?.negate()?),
            Step::Exists(reference) => Value::Boolean(self.exists(reference)),
            Step::Like { value, pattern, negated } => {
                Value::Boolean(self.take(value)?.with_text(|text| pattern.matches(text)) != *negated)
            }
            Step::InLiterals { value, set, negated } => Value::Boolean(set.contains(&self.take(value)?)? != *negated),
            Step::InElement { element, negated, end } => {
                let element = self.take(element)?;
                if !Value::equals(&element, self.top())? {
                    return Ok(None);
                }
                *self.top() = Value::Boolean(!negated);
                return Ok(Some(*end));
            }
            Step::InNone { negated } => {
                self.pop();
                Value::Boolean(*negated)
            }
            Step::Decide { decides, end } => {
                let value = self.pop().to_boolean()?;
                if value != *decides {
                    return Ok(None);
                }
                self.push(Value::Boolean(value));
                return Ok(Some(*end));
            }
            Step::ToBoolean => Value::Boolean(self.pop().to_boolean()?),
            Step::Call { function, arguments } => {
                self.height -= arguments;
                function.call(&mut self.slots[self.height..][..*arguments])?
            }
        };
        self.push(value);
        Ok(None)
    }

    fn push(&mut self, value: Value<'v>) {
        self.slots[self.height] = value;
        self.height += 1;
    }

    fn pop(&mut self) -> Value<'v> {
        self.height -= 1;
        std::mem::replace(&mut self.slots[self.height], Value::FALSE)
    }

    fn top(&mut self) -> &mut Value<'v> {
        &mut self.slots[self.height - 1]
    }

    #[inline]
    fn take(&mut self, operand: &'v Operand) -> Result<Value<'v>, EvaluationError<'v>> {
        match operand {
            Operand::Top => Ok(self.pop()),
            Operand::Literal(literal) => Ok(literal.to_value()),
            Operand::Reference(reference) => self.read(reference),
        }
    }

    /// Both sides. On the stack the right one lies on top; where only one is there, the compiler saw to it that it is the left one.
    #[inline]
    fn take_both(
        &mut self,
        left: &'v Operand,
        right: &'v Operand,
    ) -> Result<(Value<'v>, Value<'v>), EvaluationError<'v>> {
        if let Operand::Top = right {
            let right = self.pop();
            return Ok((self.take(left)?, right));
        }
        Ok((self.take(left)?, self.take(right)?))
    }

    #[inline]
    fn read(&self, reference: &'v Reference) -> Result<Value<'v>, EvaluationError<'v>> {
        let value = match reference {
            Reference::Attribute(name) => self.source.attribute(name).map(Value::from),
            Reference::Data(path) => match self.source.json_data().and_then(|data| json::find(data, path.segments())) {
                Some(Json::Structure) => {
                    return Err(EvaluationError::Cast { from: Kind::Structure, to: Kind::String });
                }
                Some(Json::Boolean(value)) => Some(Value::Boolean(value)),
                Some(Json::Number(number)) => Some(Value::Number(number)),
                Some(Json::String(text)) => Some(Value::String(text)),
                None => None,
            },
        };
        value.ok_or(EvaluationError::MissingAttribute { name: reference.as_str() })
    }

    fn exists(&self, reference: &Reference) -> bool {
        match reference {
            Reference::Attribute(name) => self.source.attribute(name).is_some(),
            Reference::Data(path) => {
                self.source.json_data().and_then(|data| json::find(data, path.segments())).is_some()
            }
        }
    }
}

/// The standard's text casts an Integer to Boolean, and its conformance case `NOT 10` wants a CastError beside the negated zero value.
/// Both hold if 0 and 1, which Booleans cast to, are cast back here and other integers are not.
fn negate_boolean<'v>(value: &Value<'v>) -> Result<Value<'v>, Failure<'v>> {
    let boolean = match value {
        Value::Number(number) if ![Number::ZERO, Number::Integer(1)].contains(number) => {
            Err(EvaluationError::Cast { from: value.kind(), to: Kind::Boolean })
        }
        other => other.to_boolean(),
    };
    match boolean {
        Ok(value) => Ok(Value::Boolean(!value)),
        Err(error) => Err(Failure { error, value: Some(Value::Boolean(true)) }),
    }
}

impl CompareOp {
    /// Equality looks at the type of the right side; order is defined for numbers only.
    #[inline]
    fn holds<'v>(self, left: &Value<'v>, right: &Value<'v>) -> Result<bool, EvaluationError<'v>> {
        match self {
            Self::Equal => Value::equals(left, right),
            Self::NotEqual => Value::equals(left, right).map(|equal| !equal),
            Self::Less => Value::order(left, right).map(Ordering::is_lt),
            Self::LessOrEqual => Value::order(left, right).map(Ordering::is_le),
            Self::Greater => Value::order(left, right).map(Ordering::is_gt),
            Self::GreaterOrEqual => Value::order(left, right).map(Ordering::is_ge),
        }
    }
}

impl LiteralSet {
    /// Whether an element equals `value` after being cast to its type, up to the first that does or cannot be cast.
    fn contains<'v>(&self, value: &Value<'v>) -> Result<bool, EvaluationError<'v>> {
        if let Value::String(text) = value
            && self.texts.len() >= SORTED_FROM
        {
            return Ok(self.texts.binary_search_by(|element| (**element).cmp(text)).is_ok());
        }
        for element in &self.elements {
            if Value::equals(&element.to_value(), value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
