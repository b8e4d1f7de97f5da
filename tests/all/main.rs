//! All tests from outside, in one binary.

mod cases;
mod cli;
mod diagnostics;
mod expand;
mod fuzz;
mod macros;
mod oracle;
mod reference;
mod tidy;
mod wire;
