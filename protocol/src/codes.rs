//! How tables of error codes are written: one row per code, with everything that somebody who meets it must know.

use crate::Outcome;

/// What there is to know of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Stable, never reused.
    pub number: u16,
    pub name: &'static str,
    /// What has happened.
    pub meaning: &'static str,
    /// May the same request succeed later, unchanged?
    pub retry: bool,
    /// If the request was a write: was it stored?
    pub outcome: Outcome,
    /// What somebody at a terminal does about it.
    pub next: &'static str,
}

/// Makes an enum of codes of such a table, with `ALL`, `from_number` and `explanation`. The comment of a row is its meaning.
#[macro_export]
macro_rules! error_codes {
    ($(#[$about:meta])* $codes:ident {$(
        $(#[doc = $meaning:literal])+
        $name:ident = $number:literal, retry: $retry:literal, outcome: $outcome:ident,
            next: $next:literal;
    )*}) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $codes { $($(#[doc = $meaning])+ $name = $number,)* }

        impl $codes {
            pub const ALL: &'static [$codes] = &[$($codes::$name),*];

            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some($codes::$name),)* _ => None }
            }

            pub fn explanation(self) -> $crate::Explanation {
                match self {$(
                    $codes::$name => $crate::Explanation {
                        number: $number,
                        name: stringify!($name),
                        meaning: concat!($($meaning),+).trim_ascii_start(),
                        retry: $retry,
                        outcome: $crate::Outcome::$outcome,
                        next: $next,
                    },
                )*}
            }
        }
    };
}
