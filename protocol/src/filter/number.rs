//! Numbers of the filter language: the standard's 32-bit integer, and the extension's 64-bit integer and decimal.
//!
//! Invariant: an operation on two standard integers is a standard integer or a fault, so that the extension never changes what a
//! standard expression means. A decimal is always finite, and numbers of different kinds are compared exactly, never rounded.

use std::cmp::Ordering;
use std::fmt;

use super::ast::ArithmeticOp;

/// A number; the wider kind of two operands is the kind of their result.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// CESQL's Integer.
    Integer(i32),
    /// Extension: an integral number in JSON data, or a literal too large for [`Self::Integer`].
    Long(i64),
    /// Extension: a number with a fraction or an exponent. Finite.
    Decimal(f64),
}

/// Why an arithmetic operation has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MathFault {
    #[error("division by zero")]
    DivisionByZero,
    #[error("the result is out of range")]
    OutOfRange,
}

impl Number {
    pub const ZERO: Self = Self::Integer(0);

    /// Reads text as the extension does: integral text is an integer, anything else a decimal. `None` if it is no number.
    pub(super) fn parse_wide(text: &str) -> Option<Self> {
        if let Ok(long) = text.parse() {
            return Some(Self::Long(long));
        }
        // Rust also reads "inf" and "nan", which are no numbers here.
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let decimal: f64 = text.parse().ok().filter(|_| numeric)?;
        Some(Self::decimal(decimal))
    }

    /// A decimal too large for a double counts as the largest one, which keeps its order; there is no negative zero.
    pub(super) fn decimal(value: f64) -> Self {
        Self::Decimal(value.clamp(f64::MIN, f64::MAX) + 0.0)
    }

    pub(super) fn is_wide(self) -> bool {
        !matches!(self, Self::Integer(_))
    }

    pub(super) fn is_zero(self) -> bool {
        self.compare(Self::ZERO).is_eq()
    }

    /// The standard's 32-bit integer, the fraction cut off; `None` if it does not fit.
    pub(super) fn to_integer(self) -> Option<i32> {
        match self {
            Self::Integer(value) => Some(value),
            Self::Long(value) => value.try_into().ok(),
            // A float-to-int cast saturates, so out of range is seen by comparing.
            Self::Decimal(value) => {
                (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value.trunc()).then_some(value.trunc() as i32)
            }
        }
    }

    /// Exact order by value, whatever the kinds.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Decimal(left), Self::Decimal(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (Self::Decimal(left), right) => compare_mixed(right.to_long(), left).reverse(),
            (left, Self::Decimal(right)) => compare_mixed(left.to_long(), right),
            (left, right) => left.to_long().cmp(&right.to_long()),
        }
    }

    pub(super) fn apply(self, op: ArithmeticOp, other: Self) -> Result<Self, MathFault> {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => {
                let wide = apply_long(op, left.into(), right.into())?;
                wide.try_into().map(Self::Integer).map_err(|_| MathFault::OutOfRange)
            }
            (Self::Decimal(_), _) | (_, Self::Decimal(_)) => apply_decimal(op, self.to_double(), other.to_double()),
            (left, right) => apply_long(op, left.to_long(), right.to_long()).map(Self::Long),
        }
    }

    pub(super) fn negate(self) -> Result<Self, MathFault> {
        match self {
            Self::Integer(value) => value.checked_neg().map(Self::Integer),
            Self::Long(value) => value.checked_neg().map(Self::Long),
            Self::Decimal(value) => Some(Self::decimal(-value)),
        }
        .ok_or(MathFault::OutOfRange)
    }

    /// The absolute value; for the most negative integer the largest one and `true`, as the standard's ABS has it.
    pub(super) fn absolute(self) -> (Self, bool) {
        match self {
            Self::Integer(value) => (Self::Integer(value.saturating_abs()), value == i32::MIN),
            Self::Long(value) => (Self::Long(value.saturating_abs()), value == i64::MIN),
            Self::Decimal(value) => (Self::Decimal(value.abs()), false),
        }
    }

    /// Callers have dealt with decimals.
    fn to_long(self) -> i64 {
        match self {
            Self::Integer(value) => value.into(),
            Self::Long(value) => value,
            Self::Decimal(value) => value as i64,
        }
    }

    fn to_double(self) -> f64 {
        match self {
            Self::Integer(value) => value.into(),
            Self::Long(value) => value as f64,
            Self::Decimal(value) => value,
        }
    }
}

/// Numbers are equal if their values are: `2`, a 64-bit `2` and `2.0` are one number.
impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other).is_eq()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Long(value) => value.fmt(f),
            Self::Decimal(value) => value.fmt(f),
        }
    }
}

/// Converting either side would round it; so the whole parts are compared as integers, then what is left of the decimal.
fn compare_mixed(long: i64, decimal: f64) -> Ordering {
    const BEYOND_LONG: f64 = 9_223_372_036_854_775_808.0;
    if decimal >= BEYOND_LONG {
        Ordering::Less
    } else if decimal < -BEYOND_LONG {
        Ordering::Greater
    } else {
        let fraction = decimal.fract();
        long.cmp(&(decimal.trunc() as i64)).then(0.0_f64.partial_cmp(&fraction).unwrap_or(Ordering::Equal))
    }
}

fn apply_long(op: ArithmeticOp, left: i64, right: i64) -> Result<i64, MathFault> {
    let result = match op {
        ArithmeticOp::Add => left.checked_add(right),
        ArithmeticOp::Subtract => left.checked_sub(right),
        ArithmeticOp::Multiply => left.checked_mul(right),
        ArithmeticOp::Divide | ArithmeticOp::Remainder if right == 0 => return Err(MathFault::DivisionByZero),
        ArithmeticOp::Divide => left.checked_div(right),
        ArithmeticOp::Remainder => Some(left.wrapping_rem(right)),
    };
    result.ok_or(MathFault::OutOfRange)
}

fn apply_decimal(op: ArithmeticOp, left: f64, right: f64) -> Result<Number, MathFault> {
    let result = match op {
        ArithmeticOp::Add => left + right,
        ArithmeticOp::Subtract => left - right,
        ArithmeticOp::Multiply => left * right,
        ArithmeticOp::Divide | ArithmeticOp::Remainder if right == 0.0 => return Err(MathFault::DivisionByZero),
        ArithmeticOp::Divide => left / right,
        ArithmeticOp::Remainder => left % right,
    };
    if result.is_finite() { Ok(Number::decimal(result)) } else { Err(MathFault::OutOfRange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_decimals_compare_without_rounding() {
        let big = 9_007_199_254_740_993_i64; // 2^53 + 1 has no double of its own.
        assert_eq!(Number::Long(big).compare(Number::Decimal(9_007_199_254_740_992.0)), Ordering::Greater);
        assert_eq!(Number::Long(i64::MAX).compare(Number::Decimal(9.3e18)), Ordering::Less);
        assert_eq!(Number::Long(i64::MIN).compare(Number::Decimal(-9.3e18)), Ordering::Greater);
        assert_eq!(Number::Long(-4).compare(Number::Decimal(-4.5)), Ordering::Greater);
        assert_eq!(Number::Decimal(4.5).compare(Number::Integer(4)), Ordering::Greater);
        assert_eq!(Number::Integer(2), Number::Decimal(2.0));
    }

    #[test]
    fn standard_integers_stay_32_bit() {
        assert_eq!(Number::Integer(i32::MAX).apply(ArithmeticOp::Add, Number::Integer(1)), Err(MathFault::OutOfRange));
        assert_eq!(
            Number::Integer(i32::MAX).apply(ArithmeticOp::Add, Number::Long(1)),
            Ok(Number::Long(i64::from(i32::MAX) + 1))
        );
        assert_eq!(Number::Integer(i32::MIN).apply(ArithmeticOp::Remainder, Number::Integer(-1)), Ok(Number::ZERO));
    }

    #[test]
    fn words_that_rust_reads_as_floats_are_no_numbers() {
        assert_eq!(Number::parse_wide("inf"), None);
        assert_eq!(Number::parse_wide("NaN"), None);
        assert_eq!(Number::parse_wide(""), None);
        assert_eq!(Number::parse_wide("1e999"), Some(Number::Decimal(f64::MAX)));
    }
}
