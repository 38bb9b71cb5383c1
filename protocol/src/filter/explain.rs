//! Says in words what a filter asks for, what it cannot do without, and what about it may not be meant.

use super::ast::{CompareOp, Expr, Extension, Reference};
use super::functions::{Function, ResultType};
use super::{program, suggest};

/// A filter in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What must hold, a condition a line; what belongs to one is indented by two blanks more.
    pub conditions: Vec<String>,
    /// The filter with the parentheses that say how it is read.
    pub reading: String,
    pub extensions: Vec<Extension>,
    /// An event that lacks one of these does not pass, whatever else it has.
    pub needs: Vec<String>,
    pub hints: Vec<String>,
}

/// Values of a list that are named; of a longer one the others are counted.
const LISTED_MAX: usize = 10;

/// What CloudEvents and its documented extensions call their attributes, for near misses.
const KNOWN: [&str; 9] =
    ["id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "specversion", "partitionkey"];

impl Explanation {
    pub(super) fn of(expr: Option<&Expr>) -> Self {
        let Some(expr) = expr else {
            return Self { conditions: vec!["nothing: every event passes".to_owned()], ..Self::default() };
        };
        let mut conditions = Vec::new();
        describe(expr, 0, &mut conditions);
        let mut needs = Vec::new();
        needed_to_pass(expr, &mut needs);
        let mut hints = Vec::new();
        hint_at_result(expr, &mut hints);
        hint_at_names(expr, &mut hints);
        hint_at_alternatives(expr, &mut hints);
        Self {
            conditions,
            reading: expr.to_string(),
            extensions: expr.extensions().into_iter().collect(),
            needs: names(&needs),
            hints,
        }
    }
}

fn describe(expr: &Expr, depth: usize, lines: &mut Vec<String>) {
    let (title, parts): (&str, &[Expr]) = match expr {
        Expr::And(operands) => ("all of these hold:", operands),
        Expr::Or(operands) => ("one of these holds, looked at in this order:", operands),
        Expr::Xor(sides) => ("one of these two holds and the other does not:", &**sides),
        Expr::Call { function: Function::Passes, arguments } => ("this holds, where an error counts as no:", arguments),
        Expr::Not(operand) => match condition(operand, true) {
            Some(line) => return lines.push(indented(&line, depth)),
            None => ("this does not hold:", std::slice::from_ref(&**operand)),
        },
        simple => {
            let line = condition(simple, false).unwrap_or_else(|| format!("{simple} is true"));
            return lines.push(indented(&line, depth));
        }
    };
    lines.push(indented(title, depth));
    parts.iter().for_each(|part| describe(part, depth + 1, lines));
}

fn indented(line: &str, depth: usize) -> String {
    format!("{:width$}{line}", "", width = 2 * depth)
}

/// One line for what is no combination of conditions.
fn condition(expr: &Expr, negated: bool) -> Option<String> {
    let is_not = if negated { "is not" } else { "is" };
    Some(match expr {
        Expr::Exists(reference) => {
            format!("{} is {}", reference.as_str(), if negated { "missing" } else { "there" })
        }
        Expr::Compare { op, sides } => {
            let [left, right] = &**sides;
            let (is, than) = match op {
                CompareOp::NotEqual => (if negated { "is" } else { "is not" }, ""),
                CompareOp::Equal => (is_not, ""),
                CompareOp::Less => (is_not, "less than "),
                CompareOp::LessOrEqual => (is_not, "at most "),
                CompareOp::Greater => (is_not, "more than "),
                CompareOp::GreaterOrEqual => (is_not, "at least "),
            };
            format!("{left} {is} {than}{right}")
        }
        Expr::Like { value, pattern, negated: not } => format!("{value} {}", pattern.in_words(negated != *not)),
        Expr::In { value, set, negated: not } => {
            let is = if negated == *not { "is one of" } else { "is none of" };
            format!("{value} {is} {}", listed(set))
        }
        Expr::Literal(_) | Expr::Reference(_) | Expr::Call { .. } if !is_passes(expr) => {
            format!("{expr} is {}", !negated)
        }
        _ => return None,
    })
}

fn is_passes(expr: &Expr) -> bool {
    matches!(expr, Expr::Call { function: Function::Passes, .. })
}

fn listed(values: &[Expr]) -> String {
    let mut text = values.iter().take(LISTED_MAX).map(Expr::to_string).collect::<Vec<_>>().join(", ");
    if values.len() > LISTED_MAX {
        text.push_str(&format!(" and {} more", values.len() - LISTED_MAX));
    }
    text
}

/// What must be there for `expr` to be TRUE.
fn needed_to_pass<'e>(expr: &'e Expr, needs: &mut Vec<&'e Reference>) {
    match expr {
        Expr::And(operands) => operands.iter().for_each(|operand| needed_to_pass(operand, needs)),
        Expr::Call { function: Function::Passes, arguments } => {
            arguments.iter().for_each(|argument| needed_to_pass(argument, needs));
        }
        Expr::Exists(reference) => needs.push(reference),
        other => needed_to_evaluate(other, needs),
    }
}

/// What must be there for `expr` to have a value and no error.
fn needed_to_evaluate<'e>(expr: &'e Expr, needs: &mut Vec<&'e Reference>) {
    match expr {
        Expr::Reference(reference) => needs.push(reference),
        // The first decides whether the others are looked at.
        Expr::And(operands) | Expr::Or(operands) => needed_to_evaluate(&operands[0], needs),
        Expr::In { value, set, .. } => {
            needed_to_evaluate(value, needs);
            set.iter().take(1).for_each(|element| needed_to_evaluate(element, needs));
        }
        other if is_passes(other) => {}
        other => other.operands().into_iter().for_each(|operand| needed_to_evaluate(operand, needs)),
    }
}

/// Each once, without what every event has.
fn names(references: &[&Reference]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for reference in references.iter().filter(|reference| !reference.is_required()) {
        if !names.iter().any(|name| name == reference.as_str()) {
            names.push(reference.as_str().to_owned());
        }
    }
    names
}

fn hint_at_result(expr: &Expr, hints: &mut Vec<String>) {
    let what = match expr {
        Expr::Literal(_) if !program::is_boolean(expr) => "a constant that is",
        _ => match program::result_type(expr) {
            ResultType::Boolean => return,
            ResultType::Number => "a number,",
            ResultType::String => "a text,",
        },
    };
    hints.push(format!("its value is {what} never TRUE, so no event passes"));
}

fn hint_at_names(expr: &Expr, hints: &mut Vec<String>) {
    for reference in expr.references() {
        if matches!(reference, Reference::Attribute(name) if &**name == "null") {
            hints.push("null is the name of an attribute here; write EXISTS name or NOT EXISTS name".to_owned());
        } else if let Reference::Attribute(name) = reference
            && !KNOWN.contains(&&**name)
            && let Some(known) = suggest::nearest(name, KNOWN.into_iter())
        {
            hints.push(format!("CloudEvents defines no attribute {name}; did you mean {known}?"));
        }
    }
}

/// An error in one alternative ends the evaluation before the next is looked at.
fn hint_at_alternatives(expr: &Expr, hints: &mut Vec<String>) {
    if let Expr::Or(operands) = expr {
        let mut needs = Vec::new();
        operands[..operands.len() - 1].iter().for_each(|operand| needed_to_evaluate(operand, &mut needs));
        for name in names(&needs) {
            hints.push(format!(
                "without {name} an event does not pass even if a later alternative holds; where that is not meant, begin with EXISTS {name} AND"
            ));
        }
    }
    expr.operands().into_iter().for_each(|operand| hint_at_alternatives(operand, hints));
}
