//! The typed syntax tree of a filter.
//!
//! Invariant: a tree from the parser is at most `FILTER_DEPTH_MAX` deep, so whoever walks it may recurse. `AND` and `OR` hold any
//! number of operands for that reason, and because planning wants them so. Its text form (Display) parses to the same tree again.

use std::fmt;

use super::functions::Function;
use super::like::Pattern;
use super::number::Number;
use super::path::Path;

/// An expression of the language. CESQL 1.0, except what is marked as extension.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Literal(Literal),
    Reference(Reference),
    Exists(Reference),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// Two or more operands, evaluated in order up to the first that is false.
    And(Vec<Expr>),
    /// Two or more operands, evaluated in order up to the first that is true.
    Or(Vec<Expr>),
    Xor(Box<[Expr; 2]>),
    Compare {
        op: CompareOp,
        sides: Box<[Expr; 2]>,
    },
    Arithmetic {
        op: ArithmeticOp,
        sides: Box<[Expr; 2]>,
    },
    Like {
        value: Box<Expr>,
        pattern: Pattern,
        negated: bool,
    },
    In {
        value: Box<Expr>,
        set: Vec<Expr>,
        negated: bool,
    },
    Call {
        function: Function,
        arguments: Vec<Expr>,
    },
}

/// A value written in the filter. Numbers other than [`Number::Integer`] are extension.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Boolean(bool),
    Number(Number),
    String(Box<str>),
}

/// A value of the event.
#[derive(Clone, Debug, PartialEq)]
pub enum Reference {
    /// A context attribute or extension attribute, in lower case.
    Attribute(Box<str>),
    /// Extension: a value in the event's JSON data.
    Data(Path),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Expr {
    /// Whether the expression uses anything that CESQL 1.0 does not have.
    pub fn uses_extension(&self) -> bool {
        match self {
            Self::Literal(literal) => matches!(literal, Literal::Number(number) if number.is_wide()),
            Self::Reference(reference) | Self::Exists(reference) => matches!(reference, Reference::Data(_)),
            Self::Not(operand) | Self::Negate(operand) | Self::Like { value: operand, .. } => operand.uses_extension(),
            Self::And(operands) | Self::Or(operands) => operands.iter().any(Self::uses_extension),
            Self::Call { arguments, .. } => arguments.iter().any(Self::uses_extension),
            Self::Xor(sides) | Self::Compare { sides, .. } | Self::Arithmetic { sides, .. } => {
                sides.iter().any(Self::uses_extension)
            }
            Self::In { value, set, .. } => value.uses_extension() || set.iter().any(Self::uses_extension),
        }
    }

    fn is_atom(&self) -> bool {
        matches!(self, Self::Literal(_) | Self::Reference(_) | Self::Call { .. })
    }
}

impl Reference {
    /// As a filter writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Attribute(name) => name,
            Self::Data(path) => path.as_str(),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => literal.fmt(f),
            Self::Reference(reference) => f.write_str(reference.as_str()),
            Self::Exists(reference) => write!(f, "EXISTS {}", reference.as_str()),
            Self::Not(operand) => write!(f, "NOT {}", Operand(operand)),
            // Always in parentheses: `-5` is a literal and `-(5)` an operation on one.
            Self::Negate(operand) => write!(f, "-({operand})"),
            Self::And(operands) => list(f, operands, " AND ", true),
            Self::Or(operands) => list(f, operands, " OR ", true),
            Self::Xor(sides) => infix(f, sides, "XOR"),
            Self::Compare { op, sides } => infix(f, sides, op.symbol()),
            Self::Arithmetic { op, sides } => infix(f, sides, op.symbol()),
            Self::Like { value, pattern, negated } => {
                write!(f, "{} {}LIKE {}", Operand(value), not(*negated), quoted(pattern.as_str()))
            }
            Self::In { value, set, negated } => {
                write!(f, "{} {}IN (", Operand(value), not(*negated))?;
                list(f, set, ", ", false)?;
                f.write_str(")")
            }
            Self::Call { function, arguments } => {
                write!(f, "{function}(")?;
                list(f, arguments, ", ", false)?;
                f.write_str(")")
            }
        }
    }
}

/// Shows an operand, in parentheses unless it is an atom.
struct Operand<'e>(&'e Expr);

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_atom() { self.0.fmt(f) } else { write!(f, "({})", self.0) }
    }
}

fn infix(f: &mut fmt::Formatter<'_>, sides: &[Expr; 2], symbol: &str) -> fmt::Result {
    write!(f, "{} {symbol} {}", Operand(&sides[0]), Operand(&sides[1]))
}

fn list(f: &mut fmt::Formatter<'_>, items: &[Expr], separator: &str, as_operands: bool) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        let separator = if place == 0 { "" } else { separator };
        if as_operands { write!(f, "{separator}{}", Operand(item))? } else { write!(f, "{separator}{item}")? }
    }
    Ok(())
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(true) => f.write_str("TRUE"),
            Self::Boolean(false) => f.write_str("FALSE"),
            Self::Number(Number::Decimal(value)) => f.write_str(&decimal(*value)),
            Self::Number(number) => number.fmt(f),
            Self::String(text) => f.write_str(&quoted(text)),
        }
    }
}

/// A decimal literal has a point, whatever its size.
fn decimal(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-5..1e15).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    if text.contains('.') { text } else { text.replacen('e', ".0e", 1) }
}

/// A string literal. A `\` escapes nothing but the quote around it, so of the two quotes the one is taken before which no single
/// `\` stands; a text from a literal always has one.
pub(super) fn quoted(text: &str) -> String {
    let quote = if lone_backslash_before(text, '\'') { '"' } else { '\'' };
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push(quote);
    for character in text.chars() {
        if character == quote {
            literal.push('\\');
        }
        literal.push(character);
    }
    literal.push(quote);
    literal
}

fn lone_backslash_before(text: &str, quote: char) -> bool {
    let mut backslashes = 0_usize;
    text.chars().any(|character| {
        let found = character == quote && backslashes % 2 == 1;
        backslashes = if character == '\\' { backslashes + 1 } else { 0 };
        found
    })
}

impl CompareOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl ArithmeticOp {
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}
