//! Parses a filter into its tree, by precedence climbing (CESQL 3.6; operators of one precedence go from left to right, and AND, OR and
//! XOR are of one).
//!
//! Written by hand because of the errors: at each place it is known what could have stood there, what stands there instead and
//! what that is a near miss of, and one counter bounds the depth of stack and tree alike, whatever the text.

use super::ast::{Expr, Extension, Literal, Place, Reference};
use super::error::{FilterError, shortened};
use super::functions::Function;
use super::lexer::{Kind, Lexer, Token};
use super::like::Pattern;
use super::number::Number;
use super::operators::{Infix, Power, Tree, combine, infix};
use super::path::Path;
use super::{Dialect, suggest};
use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_IN_MAX};

/// Parses `text`; `None` if there is nothing in it.
pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Option<Expr>, FilterError> {
    if text.len() > FILTER_BYTES_MAX {
        let column = text[..text.floor_char_boundary(FILTER_BYTES_MAX)].chars().count() + 1;
        return Err(FilterError::TooLong { bytes: text.len(), column });
    }
    let mut lexer = Lexer::new(text, dialect);
    let token = lexer.next()?;
    if token.kind == Kind::End {
        return Ok(None);
    }
    let mut parser = Parser { lexer, token, before: "", before_end: 0, depth: 0, dialect };
    let tree = parser.expression(Power::Logic)?;
    match parser.token.kind {
        Kind::End => Ok(Some(tree.expr)),
        _ => Err(parser.no_operator("an operator or the end of the filter")),
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    token: Token<'t>,
    /// The token before, as it was written: it may be what was meant otherwise.
    before: &'t str,
    before_end: usize,
    depth: usize,
    dialect: Dialect,
}

impl<'t> Parser<'t> {
    fn advance(&mut self) -> Result<Token<'t>, FilterError> {
        let next = self.lexer.next()?;
        (self.before, self.before_end) = (self.lexer.text_of(&self.token), self.token.end);
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn column(&self) -> usize {
        self.lexer.column(self.token.start)
    }

    /// Everything from here that binds at least as tightly as `least`.
    fn expression(&mut self, least: Power) -> Result<Tree, FilterError> {
        let mut left = self.operand()?;
        while let Some((infix, power)) = infix(&self.token.kind).filter(|(_, power)| *power >= least) {
            let start = self.token.start;
            self.advance()?;
            left = match infix {
                Infix::Like => self.like(left, false)?,
                Infix::In => self.in_list(left, false)?,
                Infix::Not if self.token.kind.is_keyword("LIKE") => {
                    self.advance()?;
                    self.like(left, true)?
                }
                Infix::Not if self.token.kind.is_keyword("IN") => {
                    self.advance()?;
                    self.in_list(left, true)?
                }
                Infix::Not => return Err(self.unexpected("LIKE or IN", None)),
                Infix::Binary(binary) => combine(binary, left, self.expression(power.next())?),
            };
            // A chain of one operator after the other deepens the tree from above, where no recursion counts it.
            left = self.bounded(left, start)?;
        }
        Ok(left)
    }

    /// Counts one level while `parse` runs. Whatever leads back to [`Self::expression`] must go through here.
    fn descend<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, FilterError>) -> Result<T, FilterError> {
        if self.depth == FILTER_DEPTH_MAX {
            return Err(FilterError::TooDeep { column: self.column() });
        }
        self.depth += 1;
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn operand(&mut self) -> Result<Tree, FilterError> {
        let start = self.token.start;
        let tree = self.descend(Self::unbounded_operand)?;
        self.bounded(tree, start)
    }

    fn bounded(&self, tree: Tree, start: usize) -> Result<Tree, FilterError> {
        if tree.depth > FILTER_DEPTH_MAX {
            Err(FilterError::TooDeep { column: self.lexer.column(start) })
        } else {
            Ok(tree)
        }
    }

    fn unbounded_operand(&mut self) -> Result<Tree, FilterError> {
        let token = &self.token;
        match &token.kind {
            Kind::Symbol("(") => self.parenthesis(),
            Kind::Symbol(sign @ ("-" | "+")) => self.signed(sign),
            Kind::Integer(digits) => {
                let number = self.integer("", digits, token.start)?;
                self.atom(Expr::Literal(Literal::Number(number)))
            }
            Kind::Decimal(value) => {
                let number = Number::Decimal(*value);
                self.atom(Expr::Literal(Literal::Number(number)))
            }
            Kind::String(text) => {
                let literal = Literal::String(text.as_str().into());
                self.atom(Expr::Literal(literal))
            }
            Kind::Path(_) => {
                let reference = self.reference()?;
                Ok(Tree::leaf(Expr::Reference(reference)))
            }
            Kind::Word(_) => self.word(),
            _ => Err(self.no_operand()),
        }
    }

    fn atom(&mut self, expr: Expr) -> Result<Tree, FilterError> {
        self.advance()?;
        Ok(Tree::leaf(expr))
    }

    fn parenthesis(&mut self) -> Result<Tree, FilterError> {
        self.advance()?;
        let tree = self.expression(Power::Logic)?;
        if !self.token.kind.is(")") {
            return Err(self.no_operator("an operator or )"));
        }
        self.advance()?;
        Ok(tree)
    }

    /// A sign right before digits belongs to the literal, else `-2147483648` could not be written; any other `-` is an operator.
    fn signed(&mut self, sign: &'static str) -> Result<Tree, FilterError> {
        let (start, end) = (self.token.start, self.token.end);
        self.advance()?;
        let adjacent = self.token.start == end;
        match (&self.token.kind, sign) {
            (Kind::Integer(digits), _) if adjacent => {
                let number = self.integer(sign, digits, start)?;
                self.atom(Expr::Literal(Literal::Number(number)))
            }
            (Kind::Decimal(value), _) if adjacent => {
                let number = Number::decimal(if sign == "-" { -value } else { *value });
                self.atom(Expr::Literal(Literal::Number(number)))
            }
            (_, "-") => self.operand().map(|tree| tree.after_prefix(Expr::Negate)),
            _ => Err(self.unexpected("digits right after the +", None)),
        }
    }

    fn integer(&self, sign: &str, digits: &str, start: usize) -> Result<Number, FilterError> {
        let number = format!("{sign}{digits}");
        if let Ok(integer) = number.parse() {
            return Ok(Number::Integer(integer));
        }
        let (least, most) = match (self.dialect, number.parse()) {
            (Dialect::Extended, Ok(long)) => return Ok(Number::Long(long)),
            (Dialect::Extended, Err(_)) => (i64::MIN, i64::MAX),
            (Dialect::Strict, _) => (i32::MIN.into(), i32::MAX.into()),
        };
        Err(FilterError::NumberOutOfRange { column: self.lexer.column(start), number: shortened(&number), least, most })
    }

    fn word(&mut self) -> Result<Tree, FilterError> {
        let kind = &self.token.kind;
        if kind.is_keyword("NOT") {
            self.advance()?;
            return self.operand().map(|tree| tree.after_prefix(Expr::Not));
        }
        if kind.is_keyword("EXISTS") {
            self.advance()?;
            let reference = self.reference()?;
            return Ok(Tree::leaf(Expr::Exists(reference)));
        }
        for (keyword, value) in [("TRUE", true), ("FALSE", false)] {
            if kind.is_keyword(keyword) {
                return self.atom(Expr::Literal(Literal::Boolean(value)));
            }
        }
        if kind.name().is_none() {
            return Err(self.no_operand());
        }
        let name = self.token.clone();
        let reference = self.reference_or_function()?;
        match reference {
            Some(reference) => Ok(Tree::leaf(Expr::Reference(reference))),
            None => self.call(&name),
        }
    }

    /// An attribute or a path, as EXISTS needs it.
    fn reference(&mut self) -> Result<Reference, FilterError> {
        if matches!(self.token.kind, Kind::Path(_) | Kind::Word(_))
            && let Some(reference) = self.reference_or_function()?
        {
            return Ok(reference);
        }
        Err(self.unexpected("the name of an attribute", None))
    }

    /// `None` if the name, which is then consumed, is followed by a parenthesis.
    fn reference_or_function(&mut self) -> Result<Option<Reference>, FilterError> {
        let token = self.token.clone();
        let Some(name) = token.kind.name() else {
            return match token.kind {
                Kind::Path(path) => self.advance().map(|_| Some(Reference::Data(path))),
                _ => Err(self.unexpected("the name of an attribute", None)),
            };
        };
        self.advance()?;
        if self.token.kind.is("(") {
            return Ok(None);
        }
        if let Some(at) = name.find('_') {
            let column = self.lexer.column(token.start + at);
            let suggestion = suggest::for_symbol("_").map(str::to_owned);
            return Err(FilterError::Syntax {
                column,
                expected: "a letter, a digit or (",
                found: "_".into(),
                suggestion,
            });
        }
        if self.dialect == Dialect::Extended && name.eq_ignore_ascii_case("data") {
            return Ok(Some(Reference::Data(Path::new(Vec::new()))));
        }
        Ok(Some(Reference::Attribute(name.to_ascii_lowercase().into())))
    }

    /// A function's name has been read.
    fn call(&mut self, name: &Token<'t>) -> Result<Tree, FilterError> {
        self.advance()?;
        let (arguments, depth) = if self.token.kind.is(")") { (Vec::new(), 0) } else { self.list(usize::MAX)? };
        self.advance()?;
        let text = self.lexer.text_of(name);
        let column = self.lexer.column(name.start);
        match Function::resolve(text, arguments.len()) {
            Some(Function::Passes) if self.dialect == Dialect::Strict => {
                Err(FilterError::NotStandard { column, what: Extension::Passes })
            }
            Some(function) => Ok(Tree { expr: Expr::Call { function, arguments }, depth: depth + 1 }),
            None => Err(FilterError::UnknownFunction {
                column,
                name: shortened(text),
                arguments: arguments.len(),
                suggestion: suggest::for_function(text),
            }),
        }
    }

    /// Expressions with commas between them, up to the closing parenthesis, which is not consumed; and the depth of the deepest.
    fn list(&mut self, most: usize) -> Result<(Vec<Expr>, usize), FilterError> {
        let (mut items, mut depth) = (Vec::new(), 0);
        loop {
            if items.len() == most {
                return Err(FilterError::TooManyValues { column: self.column() });
            }
            let item = self.expression(Power::Logic)?;
            depth = depth.max(item.depth);
            items.push(item.expr);
            match self.token.kind {
                Kind::Symbol(",") => self.advance()?,
                Kind::Symbol(")") => return Ok((items, depth)),
                _ => return Err(self.no_operator("an operator, a comma or )")),
            };
        }
    }

    fn like(&mut self, value: Tree, negated: bool) -> Result<Tree, FilterError> {
        let Kind::String(text) = &self.token.kind else {
            let suggestion = self.token.kind.name().map(|word| format!("a text is written '{}'", shortened(word)));
            return Err(self.unexpected("a pattern in quotes", suggestion));
        };
        let too_long = |segment: super::like::SegmentTooLong| FilterError::PatternTooLong {
            column: self.column(),
            characters: segment.characters,
        };
        let pattern = Pattern::compile(text).map_err(too_long)?;
        self.advance()?;
        let depth = value.depth_in(Place::InInfix);
        Ok(Tree { expr: Expr::Like { value: Box::new(value.expr), pattern, negated }, depth })
    }

    fn in_list(&mut self, value: Tree, negated: bool) -> Result<Tree, FilterError> {
        if !self.token.kind.is("(") {
            return Err(self.unexpected("( and a list of values", None));
        }
        self.advance()?;
        let (set, depth) = self.descend(|parser| parser.list(FILTER_IN_MAX))?;
        self.advance()?;
        let depth = value.depth_in(Place::InInfix).max(depth + 1);
        Ok(Tree { expr: Expr::In { value: Box::new(value.expr), set, negated }, depth })
    }

    /// What stands here begins no value.
    fn no_operand(&self) -> FilterError {
        let suggestion = match &self.token.kind {
            Kind::Foreign(symbol) => suggest::for_symbol(symbol).map(str::to_owned),
            Kind::Symbol(")") => Some("there is a ) or an operator too many".to_owned()),
            _ => None,
        };
        self.unexpected("an attribute, a value, a function, NOT, EXISTS, - or (", suggestion)
    }

    /// What stands here cannot go on after a value.
    fn no_operator(&self, expected: &'static str) -> FilterError {
        let suggestion = match &self.token.kind {
            Kind::Foreign(symbol) => suggest::for_symbol(symbol).map(str::to_owned),
            _ if self.before.ends_with(['\'', '"']) && self.before_end == self.token.start => {
                Some("inside a text, its quote is written with a \\ before it".to_owned())
            }
            Kind::Word(word) => suggest::for_operator(word, self.before),
            _ => None,
        };
        self.unexpected(expected, suggestion)
    }

    fn unexpected(&self, expected: &'static str, suggestion: Option<String>) -> FilterError {
        let found = match self.token.kind {
            Kind::End => "the end of the filter".to_owned(),
            _ => shortened(self.lexer.text_of(&self.token)),
        };
        FilterError::Syntax { column: self.column(), expected, found, suggestion }
    }
}
