//! The language once more, as plainly as its definition reads: it walks the tree, parses the data whole, and copies everything. Slow,
//! and written apart from the evaluator that it is compared with; what it shares with it is the tree and the kinds of values.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use anyport_protocol::filter::{
    ArithmeticOp, CompareOp, Expr, Function, Literal, Number, Pattern, Reference, Segment, Source, ValueRef,
};
use serde_json::value::RawValue;

/// A value of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    Boolean(bool),
    Number(Number),
    Text(String),
}

/// What went wrong first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    Missing(String),
    Cast,
    Math,
    Function,
}

type Outcome = Result<Plain, Wrong>;

pub fn evaluate(expr: &Expr, event: &dyn Source) -> Outcome {
    let value = |expr: &Expr| evaluate(expr, event);
    Ok(match expr {
        Expr::Literal(Literal::Boolean(value)) => Plain::Boolean(*value),
        Expr::Literal(Literal::Number(number)) => Plain::Number(*number),
        Expr::Literal(Literal::String(text)) => Plain::Text(text.to_string()),
        Expr::Reference(reference) => match find(reference, event) {
            Found::Value(value) => value,
            Found::Structure => return Err(Wrong::Cast),
            Found::Nothing => return Err(Wrong::Missing(reference.as_str().to_owned())),
        },
        Expr::Exists(reference) => Plain::Boolean(!matches!(find(reference, event), Found::Nothing)),
        Expr::Not(operand) => match value(operand)? {
            // The conformance case `NOT 10`.
            Plain::Number(number) if number != Number::Integer(0) && number != Number::Integer(1) => {
                return Err(Wrong::Cast);
            }
            other => Plain::Boolean(!boolean(&other)?),
        },
        Expr::Negate(operand) => negated(number(&value(operand)?, false)?)?,
        Expr::And(operands) => Plain::Boolean(!any_is(false, operands, event)?),
        Expr::Or(operands) => Plain::Boolean(any_is(true, operands, event)?),
        Expr::Xor(sides) => {
            let (left, right) = (value(&sides[0])?, value(&sides[1])?);
            Plain::Boolean(boolean(&left)? != boolean(&right)?)
        }
        Expr::Compare { op, sides } => {
            let (left, right) = (value(&sides[0])?, value(&sides[1])?);
            Plain::Boolean(compare(*op, &left, &right)?)
        }
        Expr::Arithmetic { op, sides } => {
            let (left, right) = (value(&sides[0])?, value(&sides[1])?);
            let (left, right) = numbers(&left, &right)?;
            Plain::Number(calculate(*op, left, right)?)
        }
        Expr::Like { value: operand, pattern, negated } => {
            Plain::Boolean(like(&text(&value(operand)?), pattern) != *negated)
        }
        Expr::In { value: operand, set, negated } => {
            let wanted = value(operand)?;
            for element in set {
                if equal(&value(element)?, &wanted)? {
                    return Ok(Plain::Boolean(!negated));
                }
            }
            Plain::Boolean(*negated)
        }
        Expr::Call { function: Function::Passes, arguments } => {
            Plain::Boolean(value(&arguments[0]) == Ok(Plain::Boolean(true)))
        }
        Expr::Call { function, arguments } => {
            let arguments = arguments.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            call(*function, &arguments)?
        }
    })
}

/// Looks no further than the first that is, and no further than the first that errs.
fn any_is(wanted: bool, operands: &[Expr], event: &dyn Source) -> Result<bool, Wrong> {
    for operand in operands {
        if boolean(&evaluate(operand, event)?)? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

enum Found {
    Value(Plain),
    /// An object or array.
    Structure,
    Nothing,
}

fn find(reference: &Reference, event: &dyn Source) -> Found {
    match reference {
        Reference::Attribute(name) => match event.attribute(name) {
            Some(ValueRef::String(text)) => Found::Value(Plain::Text(text.to_owned())),
            Some(ValueRef::Integer(value)) => Found::Value(Plain::Number(Number::Integer(value))),
            Some(ValueRef::Boolean(value)) => Found::Value(Plain::Boolean(value)),
            None => Found::Nothing,
        },
        Reference::Data(path) => {
            let data = event.json_data().and_then(|data| serde_json::from_slice::<Box<RawValue>>(data).ok());
            data.map_or(Found::Nothing, |data| follow(&data, path.segments()))
        }
    }
}

fn follow(data: &RawValue, path: &[Segment]) -> Found {
    let text = data.get();
    let Some((segment, rest)) = path.split_first() else {
        return match text.as_bytes()[0] {
            b'n' => Found::Nothing,
            b't' | b'f' => Found::Value(Plain::Boolean(text == "true")),
            // Half a surrogate pair is no text.
            b'"' => serde_json::from_str(text).map_or(Found::Nothing, |text| Found::Value(Plain::Text(text))),
            b'{' | b'[' => Found::Structure,
            _ => Found::Value(Plain::Number(json_number(text))),
        };
    };
    let next = match segment {
        Segment::Key(key) => serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text)
            .ok()
            .and_then(|mut members| members.remove(&**key)),
        Segment::Index(index) => {
            serde_json::from_str::<Vec<Box<RawValue>>>(text).ok().and_then(|elements| elements.into_iter().nth(*index))
        }
    };
    next.map_or(Found::Nothing, |next| follow(&next, rest))
}

fn json_number(text: &str) -> Number {
    text.parse().map_or_else(|_| decimal(text.parse().expect("a JSON number")), Number::Long)
}

fn decimal(value: f64) -> Number {
    Number::Decimal(if value == 0.0 { 0.0 } else { value.clamp(f64::MIN, f64::MAX) })
}

fn boolean(value: &Plain) -> Result<bool, Wrong> {
    match value {
        Plain::Boolean(value) => Ok(*value),
        Plain::Number(number) => Ok(*number != Number::Integer(0)),
        Plain::Text(text) => match &*text.to_ascii_lowercase() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Wrong::Cast),
        },
    }
}

fn integer(value: &Plain) -> Result<i32, Wrong> {
    let integer = match value {
        Plain::Boolean(value) => Some(i128::from(*value)),
        Plain::Number(Number::Decimal(value)) => Some(value.trunc() as i128),
        Plain::Number(number) => Some(i128::from(long(*number))),
        Plain::Text(text) => text.parse::<i32>().ok().map(i128::from),
    };
    integer.and_then(|integer| i32::try_from(integer).ok()).ok_or(Wrong::Cast)
}

fn is_wide(value: &Plain) -> bool {
    matches!(value, Plain::Number(Number::Long(_) | Number::Decimal(_)))
}

/// A text that meets a number of the extension is read as one.
fn number(value: &Plain, meets_wide: bool) -> Result<Number, Wrong> {
    match value {
        Plain::Number(number) => Ok(*number),
        Plain::Text(text) if meets_wide => {
            if let Ok(long) = text.parse() {
                return Ok(Number::Long(long));
            }
            let is_numeric = text.chars().all(|character| "0123456789+-.eE".contains(character));
            text.parse().ok().filter(|_| is_numeric).map(decimal).ok_or(Wrong::Cast)
        }
        other => integer(other).map(Number::Integer),
    }
}

fn numbers(left: &Plain, right: &Plain) -> Result<(Number, Number), Wrong> {
    Ok((number(left, is_wide(right))?, number(right, is_wide(left))?))
}

fn text(value: &Plain) -> String {
    match value {
        Plain::Boolean(value) => value.to_string(),
        Plain::Number(Number::Decimal(value)) => value.to_string(),
        Plain::Number(number) => long(*number).to_string(),
        Plain::Text(text) => text.clone(),
    }
}

fn long(number: Number) -> i64 {
    match number {
        Number::Integer(value) => value.into(),
        Number::Long(value) => value,
        Number::Decimal(_) => panic!("decimals are dealt with apart"),
    }
}

fn equal(value: &Plain, target: &Plain) -> Result<bool, Wrong> {
    Ok(match target {
        Plain::Text(target) => text(value) == *target,
        Plain::Boolean(target) => boolean(value)? == *target,
        Plain::Number(wanted) => order(number(value, is_wide(target))?, *wanted).is_eq(),
    })
}

fn compare(op: CompareOp, left: &Plain, right: &Plain) -> Result<bool, Wrong> {
    let ordered = |wanted: &[Ordering]| {
        let (left, right) = numbers(left, right)?;
        Ok(wanted.contains(&order(left, right)))
    };
    match op {
        CompareOp::Equal => equal(left, right),
        CompareOp::NotEqual => equal(left, right).map(|equal| !equal),
        CompareOp::Less => ordered(&[Ordering::Less]),
        CompareOp::LessOrEqual => ordered(&[Ordering::Less, Ordering::Equal]),
        CompareOp::Greater => ordered(&[Ordering::Greater]),
        CompareOp::GreaterOrEqual => ordered(&[Ordering::Greater, Ordering::Equal]),
    }
}

/// By value: a decimal and an integer are brought to whole numbers and what the decimal has beyond.
fn order(left: Number, right: Number) -> Ordering {
    let parts = |number| match number {
        Number::Decimal(value) => (value.floor() as i128, value - value.floor()),
        other => (i128::from(long(other)), 0.0),
    };
    let (left_parts, right_parts) = (parts(left), parts(right));
    match (left, right) {
        (Number::Decimal(left), Number::Decimal(right)) => left.total_cmp(&right),
        _ => left_parts.0.cmp(&right_parts.0).then(left_parts.1.total_cmp(&right_parts.1)),
    }
}

fn negated(number: Number) -> Outcome {
    Ok(Plain::Number(match number {
        Number::Integer(value) => Number::Integer(value.checked_neg().ok_or(Wrong::Math)?),
        Number::Long(value) => Number::Long(value.checked_neg().ok_or(Wrong::Math)?),
        Number::Decimal(value) => decimal(-value),
    }))
}

fn calculate(op: ArithmeticOp, left: Number, right: Number) -> Result<Number, Wrong> {
    if let (Number::Decimal(_), _) | (_, Number::Decimal(_)) = (left, right) {
        let double = |number| match number {
            Number::Decimal(value) => value,
            other => long(other) as f64,
        };
        let (left, right) = (double(left), double(right));
        let result = match op {
            ArithmeticOp::Add => left + right,
            ArithmeticOp::Subtract => left - right,
            ArithmeticOp::Multiply => left * right,
            ArithmeticOp::Divide => left / right,
            ArithmeticOp::Remainder => left % right,
        };
        return if result.is_finite() { Ok(decimal(result)) } else { Err(Wrong::Math) };
    }
    let (wide_left, wide_right) = (i128::from(long(left)), i128::from(long(right)));
    let divides = matches!(op, ArithmeticOp::Divide | ArithmeticOp::Remainder);
    if divides && wide_right == 0 {
        return Err(Wrong::Math);
    }
    let result = match op {
        ArithmeticOp::Add => wide_left + wide_right,
        ArithmeticOp::Subtract => wide_left - wide_right,
        ArithmeticOp::Multiply => wide_left * wide_right,
        ArithmeticOp::Divide => wide_left / wide_right,
        ArithmeticOp::Remainder => wide_left % wide_right,
    };
    match (left, right) {
        (Number::Integer(_), Number::Integer(_)) => i32::try_from(result).map(Number::Integer).map_err(|_| Wrong::Math),
        _ => i64::try_from(result).map(Number::Long).map_err(|_| Wrong::Math),
    }
}

/// A table of which beginnings of the text match which beginnings of the pattern.
fn like(text: &str, pattern: &Pattern) -> bool {
    #[derive(PartialEq)]
    enum Item {
        Any,
        One,
        Is(char),
    }
    let mut items = Vec::new();
    let mut characters = pattern.as_str().chars().peekable();
    while let Some(character) = characters.next() {
        items.push(match (character, characters.peek()) {
            ('\\', Some('%' | '_')) => Item::Is(characters.next().expect("peeked")),
            ('%', _) => Item::Any,
            ('_', _) => Item::One,
            (other, _) => Item::Is(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for item in items {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match item {
                Item::Any => row[end] || (end > 0 && next[end - 1]),
                Item::One => end > 0 && row[end - 1],
                Item::Is(wanted) => end > 0 && row[end - 1] && text[end - 1] == wanted,
            };
        }
        row = next;
    }
    row[text.len()]
}

fn call(function: Function, arguments: &[Plain]) -> Outcome {
    let characters = |place: usize| text(&arguments[place]).chars().collect::<Vec<char>>();
    let texts = || arguments.iter().map(text);
    Ok(match function {
        Function::Passes => panic!("dealt with where its argument is evaluated"),
        Function::Int => match &arguments[0] {
            long @ Plain::Number(Number::Long(_)) => long.clone(),
            other => Plain::Number(Number::Integer(integer(other)?)),
        },
        Function::Bool => Plain::Boolean(boolean(&arguments[0])?),
        Function::String => Plain::Text(text(&arguments[0])),
        Function::Length => Plain::Number(Number::Integer(characters(0).len() as i32)),
        Function::Concat => Plain::Text(texts().collect()),
        Function::ConcatWs => Plain::Text(texts().skip(1).collect::<Vec<_>>().join(&text(&arguments[0]))),
        Function::Lower => Plain::Text(text(&arguments[0]).to_lowercase()),
        Function::Upper => Plain::Text(text(&arguments[0]).to_uppercase()),
        Function::Trim => Plain::Text(text(&arguments[0]).trim().to_owned()),
        Function::Left | Function::Right => {
            let (characters, count) = (characters(0), integer(&arguments[1])?);
            let count = usize::try_from(count).map_err(|_| Wrong::Function)?.min(characters.len());
            let range = if function == Function::Left { 0..count } else { characters.len() - count..characters.len() };
            Plain::Text(characters[range].iter().collect())
        }
        Function::Substring => {
            let (characters, start) = (characters(0), i64::from(integer(&arguments[1])?));
            let count = match arguments.get(2) {
                Some(count) => integer(count)?,
                None => i32::MAX,
            };
            let length = characters.len() as i64;
            if start > length || start < -length || count < 0 {
                return Err(Wrong::Function);
            }
            if start == 0 {
                return Ok(Plain::Text(String::new()));
            }
            let first = if start > 0 { start - 1 } else { length + start };
            Plain::Text(characters.iter().skip(first as usize).take(count as usize).collect())
        }
        Function::Abs => match number(&arguments[0], false)? {
            Number::Integer(i32::MIN) | Number::Long(i64::MIN) => return Err(Wrong::Math),
            Number::Integer(value) => Plain::Number(Number::Integer(value.abs())),
            Number::Long(value) => Plain::Number(Number::Long(value.abs())),
            Number::Decimal(value) => Plain::Number(Number::Decimal(value.abs())),
        },
    })
}
