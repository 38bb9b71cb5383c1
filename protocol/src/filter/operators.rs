//! The infix operators: how tightly each binds, and the tree each makes of its sides.

use super::ast::{ArithmeticOp, CompareOp, Expr, Place};
use super::lexer::Kind;

/// How tightly an operator binds, loosest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Power {
    Logic,
    Comparison,
    Sum,
    Product,
    In,
    Like,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Infix {
    Binary(Binary),
    Like,
    In,
    /// Of NOT LIKE or NOT IN.
    Not,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Binary {
    And,
    Or,
    Xor,
    Compare(CompareOp),
    Arithmetic(ArithmeticOp),
}

impl Power {
    /// The next tighter one, for the right side of an operator that groups to the left.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Logic => Self::Comparison,
            Self::Comparison => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product => Self::In,
            Self::In | Self::Like => Self::Like,
        }
    }
}

/// A tree, and how deep its text form is nested.
pub(super) struct Tree {
    pub(super) expr: Expr,
    pub(super) depth: usize,
}

impl Tree {
    pub(super) fn leaf(expr: Expr) -> Self {
        Self { expr, depth: 1 }
    }

    pub(super) fn after_prefix(self, wrap: impl FnOnce(Box<Expr>) -> Expr) -> Self {
        Self { depth: 1 + self.depth_in(Place::AfterPrefix), expr: wrap(Box::new(self.expr)) }
    }

    /// Where it stands, parentheses may be around it.
    pub(super) fn depth_in(&self, place: Place) -> usize {
        self.depth + usize::from(self.expr.has_parentheses(place))
    }
}

pub(super) fn infix(kind: &Kind<'_>) -> Option<(Infix, Power)> {
    let compare = |op| (Infix::Binary(Binary::Compare(op)), Power::Comparison);
    let arithmetic = |op, power| (Infix::Binary(Binary::Arithmetic(op)), power);
    let logic = |binary| (Infix::Binary(binary), Power::Logic);
    Some(match kind {
        Kind::Symbol("=") => compare(CompareOp::Equal),
        Kind::Symbol("!=" | "<>") => compare(CompareOp::NotEqual),
        Kind::Symbol("<") => compare(CompareOp::Less),
        Kind::Symbol("<=") => compare(CompareOp::LessOrEqual),
        Kind::Symbol(">") => compare(CompareOp::Greater),
        Kind::Symbol(">=") => compare(CompareOp::GreaterOrEqual),
        Kind::Symbol("+") => arithmetic(ArithmeticOp::Add, Power::Sum),
        Kind::Symbol("-") => arithmetic(ArithmeticOp::Subtract, Power::Sum),
        Kind::Symbol("*") => arithmetic(ArithmeticOp::Multiply, Power::Product),
        Kind::Symbol("/") => arithmetic(ArithmeticOp::Divide, Power::Product),
        Kind::Symbol("%") => arithmetic(ArithmeticOp::Remainder, Power::Product),
        Kind::Word(word) => match &*word.to_ascii_uppercase() {
            "AND" => logic(Binary::And),
            "OR" => logic(Binary::Or),
            "XOR" => logic(Binary::Xor),
            "LIKE" => (Infix::Like, Power::Like),
            "IN" => (Infix::In, Power::In),
            // Both that can follow bind tighter than any operator with a right side.
            "NOT" => (Infix::Not, Power::In),
            _ => return None,
        },
        _ => return None,
    })
}

/// One more operand of an AND or OR joins the others: that chain may be long, and the tree stays shallow.
pub(super) fn combine(binary: Binary, left: Tree, right: Tree) -> Tree {
    let place = match binary {
        Binary::And | Binary::Or | Binary::Xor => Place::InLogic,
        Binary::Compare(_) | Binary::Arithmetic(_) => Place::InInfix,
    };
    let (joined, beside) = (left.depth, left.depth_in(place));
    let right_depth = right.depth_in(place);
    let (expr, left_depth) = match (binary, left.expr) {
        (Binary::And, Expr::And(operands)) => (Expr::And(with(operands, right.expr)), joined),
        (Binary::Or, Expr::Or(operands)) => (Expr::Or(with(operands, right.expr)), joined),
        (Binary::And, left) => (Expr::And(vec![left, right.expr]), beside),
        (Binary::Or, left) => (Expr::Or(vec![left, right.expr]), beside),
        (Binary::Xor, left) => (Expr::Xor(Box::new([left, right.expr])), beside),
        (Binary::Compare(op), left) => (Expr::Compare { op, sides: Box::new([left, right.expr]) }, beside),
        (Binary::Arithmetic(op), left) => (Expr::Arithmetic { op, sides: Box::new([left, right.expr]) }, beside),
    };
    Tree { expr, depth: left_depth.max(right_depth) }
}

fn with(mut operands: Vec<Expr>, last: Expr) -> Vec<Expr> {
    operands.push(last);
    operands
}
