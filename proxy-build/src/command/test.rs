//! `kiln test`: as `check`, naming each test.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, print};

pub(crate) fn test(file: &Path, coverage: bool) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(model) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    let mut out = String::new();
    for test in &model.tests {
        out += &format!("ok    {}\n", test.test.name);
    }
    if coverage {
        let plan = proxy_build::lower::lower(model);
        let untested = proxy_build::testing::untested(model, &plan);
        for route in &untested {
            out += &format!("never {} ({}:{})\n", route.pattern.text, route.place.file, route.place.line);
        }
        let reached = plan.routes.len() - untested.len();
        out += &format!("{reached} of {} routes are reached by a test\n", plan.routes.len());
    }
    print(&format!("{out}{} passed, 0 failed\n", model.tests.len()))
}
