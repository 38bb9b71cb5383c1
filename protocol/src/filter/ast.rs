//! The typed syntax tree of a filter.
//!
//! Invariant: the text form (Display) of a tree from the parser is nested at most `FILTER_DEPTH_MAX` levels, so it parses to the same
//! tree again, and whoever walks the tree may recurse. `AND` and `OR` hold any number of operands for that reason, and because planning
//! wants them so.

use std::collections::BTreeSet;
use std::fmt;

use super::functions::Function;
use super::like::Pattern;
use super::number::Number;
use super::path::Path;

/// An expression of the language. CESQL 1.0, except where [`Expr::own_extension`] says otherwise.
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

/// What a node has that CESQL 1.0 has not. Strict CESQL refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extension {
    DataPath,
    Decimal,
    Long,
    Passes,
}

impl Expr {
    /// The extension that this node is, whatever its operands are.
    pub fn own_extension(&self) -> Option<Extension> {
        match self {
            Self::Reference(Reference::Data(_)) | Self::Exists(Reference::Data(_)) => Some(Extension::DataPath),
            Self::Literal(Literal::Number(Number::Decimal(_))) => Some(Extension::Decimal),
            Self::Literal(Literal::Number(Number::Long(_))) => Some(Extension::Long),
            Self::Call { function: Function::Passes, .. } => Some(Extension::Passes),
            _ => None,
        }
    }

    /// Every extension that the expression uses; none in an expression of CESQL 1.0.
    pub fn extensions(&self) -> BTreeSet<Extension> {
        let below = self.operands().into_iter().flat_map(Self::extensions);
        self.own_extension().into_iter().chain(below).collect()
    }

    /// What the node is made of, from left to right.
    pub fn operands(&self) -> Vec<&Self> {
        match self {
            Self::Literal(_) | Self::Reference(_) | Self::Exists(_) => Vec::new(),
            Self::Not(operand) | Self::Negate(operand) | Self::Like { value: operand, .. } => vec![operand],
            Self::And(operands) | Self::Or(operands) | Self::Call { arguments: operands, .. } => {
                operands.iter().collect()
            }
            Self::Xor(sides) | Self::Compare { sides, .. } | Self::Arithmetic { sides, .. } => sides.iter().collect(),
            Self::In { value, set, .. } => [&**value].into_iter().chain(set).collect(),
        }
    }

    /// The values of the event that the expression looks at, each once, in the order in which it names them.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.collect_references(&mut found);
        found
    }

    fn collect_references<'e>(&'e self, found: &mut Vec<&'e Reference>) {
        if let Self::Reference(reference) | Self::Exists(reference) = self
            && !found.contains(&reference)
        {
            found.push(reference);
        }
        for operand in self.operands() {
            operand.collect_references(found);
        }
    }

    /// Whether its text form has parentheses where it stands: wherever another reading would be possible, or likely.
    pub(super) fn has_parentheses(&self, place: Place) -> bool {
        let is_logic = matches!(self, Self::And(_) | Self::Or(_) | Self::Xor(_));
        let is_infix = is_logic
            || matches!(self, Self::Compare { .. } | Self::Arithmetic { .. } | Self::Like { .. } | Self::In { .. });
        let is_prefix = matches!(self, Self::Not(_) | Self::Negate(_) | Self::Exists(_));
        match place {
            // All other operators bind tighter than these, which bind alike.
            Place::InLogic => is_logic,
            Place::AfterPrefix => is_infix,
            // `NOT a = b` is `(NOT a) = b`, which few would read it as.
            Place::InInfix => is_infix || is_prefix,
        }
    }

    fn shown(&self, place: Place) -> Shown<'_> {
        Shown { expr: self, in_parentheses: self.has_parentheses(place) }
    }
}

/// Where an operand stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Beside AND, OR or XOR.
    InLogic,
    /// Beside any other infix operator.
    InInfix,
    /// After NOT or `-`.
    AfterPrefix,
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataPath => "paths into the data",
            Self::Decimal => "decimals",
            Self::Long => "64-bit integers",
            Self::Passes => "calls of PASSES",
        })
    }
}

impl Reference {
    /// Whether every event has it.
    pub(super) fn is_required(&self) -> bool {
        matches!(self, Self::Attribute(name) if ["id", "source", "specversion", "type"].contains(&&**name))
    }

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
            Self::Not(operand) => write!(f, "NOT {}", operand.shown(Place::AfterPrefix)),
            // Never right before digits: `-5` is a literal and `- 5` an operation on one.
            Self::Negate(operand) => write!(f, "- {}", operand.shown(Place::AfterPrefix)),
            Self::And(operands) => logic(f, operands, " AND "),
            Self::Or(operands) => logic(f, operands, " OR "),
            Self::Xor(sides) => logic(f, &**sides, " XOR "),
            Self::Compare { op, sides } => infix(f, sides, op.symbol()),
            Self::Arithmetic { op, sides } => infix(f, sides, op.symbol()),
            Self::Like { value, pattern, negated } => {
                write!(f, "{} {}LIKE {}", value.shown(Place::InInfix), not(*negated), quoted(pattern.as_str()))
            }
            Self::In { value, set, negated } => {
                write!(f, "{} {}IN (", value.shown(Place::InInfix), not(*negated))?;
                list(f, set.iter(), ", ")?;
                f.write_str(")")
            }
            Self::Call { function, arguments } => {
                write!(f, "{function}(")?;
                list(f, arguments.iter(), ", ")?;
                f.write_str(")")
            }
        }
    }
}

/// Shows an expression, in parentheses or not.
struct Shown<'e> {
    expr: &'e Expr,
    in_parentheses: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.in_parentheses { write!(f, "({})", self.expr) } else { self.expr.fmt(f) }
    }
}

fn infix(f: &mut fmt::Formatter<'_>, sides: &[Expr; 2], symbol: &str) -> fmt::Result {
    write!(f, "{} {symbol} {}", sides[0].shown(Place::InInfix), sides[1].shown(Place::InInfix))
}

fn logic(f: &mut fmt::Formatter<'_>, operands: &[Expr], separator: &str) -> fmt::Result {
    list(f, operands.iter().map(|operand| operand.shown(Place::InLogic)), separator)
}

fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    mut items: impl Iterator<Item = T>,
    separator: &str,
) -> fmt::Result {
    if let Some(first) = items.next() {
        first.fmt(f)?;
    }
    items.try_for_each(|item| write!(f, "{separator}{item}"))
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
    let is_plain = magnitude == 0.0 || (1e-5..1e15).contains(&magnitude);
    let text = if is_plain { format!("{value:?}") } else { format!("{value:e}") };
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0e{exponent}"),
        _ => text,
    }
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
