//! `kiln test`: as `check`, naming each test.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, print};

pub(crate) fn test(file: &Path) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(model) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    let mut out = String::new();
    for test in &model.tests {
        out += &format!("ok    {}\n", test.test.name);
    }
    print(&format!("{out}{} passed, 0 failed\n", model.tests.len()))
}
