//! Compiles a tree to a flat program for a small stack machine.
//!
//! Operands that are literals or values of the event are part of the step that uses them, so the filters that people write hardly
//! touch the stack. AND, OR and IN jump, always forward. Invariant: a program's cost and stack are known here; evaluation neither grows
//! nor stops half way.

use std::ops::Range;

use super::ast::{ArithmeticOp, CompareOp, Expr, Literal, Reference};
use super::error::FilterError;
use super::functions::{Function, ResultType};
use super::like::Pattern;
use crate::limits::FILTER_STEPS_MAX;

/// Reading a path walks the data, which may be a megabyte; it counts as this many steps, so that a filter can do it at most 64 times.
const PATH_STEPS: usize = 64;

#[derive(Debug)]
pub(super) struct Program {
    pub(super) steps: Box<[Step]>,
    /// Inner ones before those around them.
    pub(super) rescues: Box<[Rescue]>,
    /// The sum of what the steps cost: no evaluation costs more, because each step is executed at most once.
    pub(super) cost: usize,
    /// Values on the stack at most.
    pub(super) stack_max: usize,
    pub(super) result: ResultType,
    /// Whether the last step computes the result itself; then its value counts even where it erred. Else an error leaves the zero value.
    pub(super) last_is_root: bool,
}

/// The argument of a PASSES: an error in these steps leaves FALSE on the stack at this height, and evaluation goes on behind them.
#[derive(Debug)]
pub(super) struct Rescue {
    pub(super) steps: Range<usize>,
    pub(super) height: usize,
}

/// Where a step finds a value.
#[derive(Debug)]
pub(super) enum Operand {
    /// On the stack, from which it is taken.
    Top,
    Literal(Literal),
    Reference(Reference),
}

#[derive(Debug)]
pub(super) enum Step {
    Push(Operand),
    Compare {
        op: CompareOp,
        left: Operand,
        right: Operand,
    },
    Arithmetic {
        op: ArithmeticOp,
        left: Operand,
        right: Operand,
    },
    Xor {
        left: Operand,
        right: Operand,
    },
    Not(Operand),
    Negate(Operand),
    Exists(Reference),
    Like {
        value: Operand,
        pattern: Pattern,
        negated: bool,
    },
    /// The value is in a list of literals.
    InLiterals {
        value: Operand,
        set: LiteralSet,
        negated: bool,
    },
    /// If the element equals the value below it, both become `TRUE` (`FALSE` for NOT IN), and the steps up to `end` are skipped.
    InElement {
        element: Operand,
        negated: bool,
        end: usize,
    },
    /// No element was equal.
    InNone {
        negated: bool,
    },
    /// Replaces the top by its Boolean; goes to `end` with it if that is `decides`, else drops it.
    Decide {
        decides: bool,
        end: usize,
    },
    ToBoolean,
    Call {
        function: Function,
        arguments: usize,
    },
}

/// A list of literals, in order, and what is needed to look a text up in it at once.
#[derive(Debug)]
pub(super) struct LiteralSet {
    pub(super) elements: Box<[Literal]>,
    /// The elements cast to String, which never fails; sorted.
    pub(super) texts: Box<[Box<str>]>,
}

impl LiteralSet {
    fn new(elements: Vec<Literal>) -> Self {
        let mut texts: Vec<Box<str>> = elements.iter().map(|element| element.to_value().into_text().into()).collect();
        texts.sort_unstable();
        Self { elements: elements.into(), texts: texts.into() }
    }
}

pub(super) fn compile(expr: &Expr) -> Result<Program, FilterError> {
    let mut compiler = Compiler::default();
    compiler.expr(expr);
    let Compiler { steps, rescues, cost, stack_max, .. } = compiler;
    if cost > FILTER_STEPS_MAX {
        return Err(FilterError::TooManySteps { steps: cost });
    }
    let last_is_root = !matches!(expr, Expr::And(_) | Expr::Or(_) | Expr::In { .. });
    let (steps, rescues) = (steps.into(), rescues.into());
    Ok(Program { steps, rescues, cost, stack_max, result: result_type(expr), last_is_root })
}

/// CESQL 3.2: a type that cannot be told counts as Boolean.
pub(super) fn result_type(expr: &Expr) -> ResultType {
    match expr {
        Expr::Negate(_) | Expr::Arithmetic { .. } => ResultType::Number,
        Expr::Call { function, .. } => function.result_type(),
        _ => ResultType::Boolean,
    }
}

/// Whether the value, if there is one, can only be Boolean.
pub(super) fn is_boolean(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(literal) => matches!(literal, Literal::Boolean(_)),
        Expr::Reference(_) => false,
        _ => result_type(expr) == ResultType::Boolean,
    }
}

#[derive(Default)]
struct Compiler {
    steps: Vec<Step>,
    rescues: Vec<Rescue>,
    cost: usize,
    height: usize,
    stack_max: usize,
}

impl Compiler {
    /// Adds a step that takes `taken` values from the stack and leaves `left` there.
    fn step(&mut self, step: Step, taken: usize, left: usize) {
        self.cost += step.cost();
        self.height = self.height - taken + left;
        self.stack_max = self.stack_max.max(self.height);
        self.steps.push(step);
    }

    /// Leaves the value of `expr` on the stack.
    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(literal) => self.step(Step::Push(Operand::Literal(literal.clone())), 0, 1),
            Expr::Reference(reference) => self.step(Step::Push(Operand::Reference(reference.clone())), 0, 1),
            Expr::Exists(reference) => self.step(Step::Exists(reference.clone()), 0, 1),
            Expr::Not(operand) => self.unary(operand, Step::Not),
            Expr::Negate(operand) => self.unary(operand, Step::Negate),
            Expr::And(operands) => self.logic(operands, false),
            Expr::Or(operands) => self.logic(operands, true),
            Expr::Xor(sides) => self.binary(sides, |left, right| Step::Xor { left, right }),
            Expr::Compare { op, sides } => self.binary(sides, |left, right| Step::Compare { op: *op, left, right }),
            Expr::Arithmetic { op, sides } => {
                self.binary(sides, |left, right| Step::Arithmetic { op: *op, left, right });
            }
            Expr::Like { value, pattern, negated } => {
                let (pattern, negated) = (pattern.clone(), *negated);
                self.unary(value, |value| Step::Like { value, pattern, negated });
            }
            Expr::In { value, set, negated } => self.in_list(value, set, *negated),
            Expr::Call { function, arguments } => {
                let (first, height) = (self.steps.len(), self.height);
                arguments.iter().for_each(|argument| self.expr(argument));
                if *function == Function::Passes {
                    self.rescues.push(Rescue { steps: first..self.steps.len(), height });
                }
                let step = Step::Call { function: *function, arguments: arguments.len() };
                self.step(step, arguments.len(), 1);
            }
        }
    }

    /// What a step takes from the stack or, better, finds by itself; and how many values it takes.
    fn operand(&mut self, expr: &Expr) -> (Operand, usize) {
        if let Some(operand) = leaf(expr) {
            return (operand, 0);
        }
        self.expr(expr);
        (Operand::Top, 1)
    }

    fn unary(&mut self, operand: &Expr, step: impl FnOnce(Operand) -> Step) {
        let (operand, taken) = self.operand(operand);
        self.step(step(operand), taken, 1);
    }

    /// The left side must be read before the right one is computed, because the first error is the one reported.
    fn binary(&mut self, [left, right]: &[Expr; 2], step: impl FnOnce(Operand, Operand) -> Step) {
        let (left, left_taken) = match leaf(right) {
            Some(_) => self.operand(left),
            None => {
                self.expr(left);
                (Operand::Top, 1)
            }
        };
        let (right, right_taken) = self.operand(right);
        self.step(step(left, right), left_taken + right_taken, 1);
    }

    /// Operands up to the first that is `decides`.
    fn logic(&mut self, operands: &[Expr], decides: bool) {
        let mut decisions = Vec::new();
        for (place, operand) in operands.iter().enumerate() {
            self.expr(operand);
            if place + 1 < operands.len() {
                decisions.push(self.steps.len());
                self.step(Step::Decide { decides, end: 0 }, 1, 0);
            } else if !is_boolean(operand) {
                self.step(Step::ToBoolean, 1, 1);
            }
        }
        self.land(&decisions);
    }

    fn in_list(&mut self, value: &Expr, set: &[Expr], negated: bool) {
        let literals = set.iter().map(|element| match element {
            Expr::Literal(literal) => Some(literal.clone()),
            _ => None,
        });
        if let Some(literals) = literals.collect() {
            let set = LiteralSet::new(literals);
            return self.unary(value, |value| Step::InLiterals { value, set, negated });
        }
        self.expr(value);
        let mut decisions = Vec::new();
        for element in set {
            let (element, taken) = self.operand(element);
            decisions.push(self.steps.len());
            self.step(Step::InElement { element, negated, end: 0 }, taken, 0);
        }
        self.step(Step::InNone { negated }, 1, 1);
        self.land(&decisions);
    }

    /// Lets those steps jump to here.
    fn land(&mut self, decisions: &[usize]) {
        let here = self.steps.len();
        for decision in decisions {
            if let Step::Decide { end, .. } | Step::InElement { end, .. } = &mut self.steps[*decision] {
                *end = here;
            }
        }
    }
}

fn leaf(expr: &Expr) -> Option<Operand> {
    match expr {
        Expr::Literal(literal) => Some(Operand::Literal(literal.clone())),
        Expr::Reference(reference) => Some(Operand::Reference(reference.clone())),
        _ => None,
    }
}

impl Step {
    fn cost(&self) -> usize {
        match self {
            Self::Push(value) | Self::Not(value) | Self::Negate(value) | Self::Like { value, .. } => value.cost(),
            Self::InElement { element, .. } => element.cost(),
            Self::Compare { left, right, .. } | Self::Arithmetic { left, right, .. } | Self::Xor { left, right } => {
                left.cost() + right.cost()
            }
            Self::InLiterals { value, set, .. } => value.cost() + set.elements.len(),
            Self::Exists(reference) => reference.cost(),
            Self::InNone { .. } | Self::Decide { .. } | Self::ToBoolean | Self::Call { .. } => 1,
        }
    }
}

impl Operand {
    fn cost(&self) -> usize {
        match self {
            Self::Top | Self::Literal(_) => 1,
            Self::Reference(reference) => reference.cost(),
        }
    }
}

impl Reference {
    fn cost(&self) -> usize {
        match self {
            Self::Attribute(_) => 1,
            Self::Data(_) => PATH_STEPS,
        }
    }
}
