//! `kiln explain`.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, compile, print};

pub(crate) fn explain(file: &Path, method: &str, url: &str, headers: &[String], from: IpAddr) -> Outcome {
    let Some(compiled) = compile(file) else { return Ok(ExitCode::FAILURE) };
    let Some(model) = &compiled.model else { return Ok(ExitCode::FAILURE) };
    let mut fields = Vec::new();
    for header in headers {
        let (name, value) = header.split_once(':').ok_or_else(|| format!("`{header}` is not \"Name: value\""))?;
        fields.push((name.trim(), value.trim()));
    }
    print(&proxy_build::explain::explain(model, method, url, fields, from)?)
}
