//! Pages for operators say what the code says.

mod advice;
mod configuration;
