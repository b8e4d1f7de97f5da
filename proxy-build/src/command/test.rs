//! `kiln test`: like `check`, but lists each test.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, print};

pub(crate) fn test(file: &Path, coverage: bool) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(model) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    let mut out = String::new();
    let plan = proxy_build::lower::lower(model);
    let left = proxy_build::testing::left_to_the_binary(model, &plan);
    for test in &model.tests {
        let name = &*test.test.name;
        out += &match left.contains(&name) {
            true => format!("left  {name}: it needs the functions of `filter`, which the binary's --self-test calls\n"),
            false => format!("ok    {name}\n"),
        };
    }
    if coverage {
        let untested = proxy_build::testing::untested(model, &plan);
        for route in &untested {
            out += &format!("never {} ({}:{})\n", route.pattern.text, route.place.file, route.place.line);
        }
        let reached = plan.routes.len() - untested.len();
        out += &format!("{reached} of {} routes are reached by a test\n", plan.routes.len());
    }
    let counted = if left.is_empty() { String::new() } else { format!(", {} left", left.len()) };
    print(&format!("{out}{} passed, 0 failed{counted}\n", model.tests.len() - left.len()))
}
