//! `kiln fmt`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Outcome, failed};

pub(crate) fn fmt(files: &[PathBuf], check: bool) -> Outcome {
    let mut differ = false;
    for file in files {
        let text = std::fs::read_to_string(file).map_err(failed(format!("can't read {}", file.display())))?;
        let is_table = file.extension().is_some_and(|extension| extension == "csv");
        let format = if is_table { proxy_build::syntax::table::format } else { proxy_build::format::format };
        let formatted = format(&text).map_err(failed(file.display()))?;
        if formatted == text {
            continue;
        }
        differ = true;
        if check {
            println!("{}", file.display());
        } else {
            std::fs::write(file, formatted).map_err(failed(format!("can't write {}", file.display())))?;
        }
    }
    Ok(if check && differ { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
