//! `kiln fmt`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Outcome, failed, print, stdin};

pub(crate) fn fmt(files: &[PathBuf], check: bool) -> Outcome {
    let mut differ = false;
    for file in files {
        differ |= format(file, check)?;
    }
    Ok(if check && differ { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Formats one file, or standard input to standard output; returns whether it has changed.
fn format(file: &Path, check: bool) -> Result<bool, String> {
    let from_stdin = stdin::is(file);
    let shown = if from_stdin { stdin::NAME.to_owned() } else { file.display().to_string() };
    let text = match from_stdin {
        true => stdin::read()?,
        false => proxy_build::source::read_text(file).map_err(failed(format!("can't read {shown}")))?,
    };
    let is_table = file.extension().is_some_and(|extension| extension == "csv");
    let format = if is_table { proxy_build::syntax::table::format } else { proxy_build::format::format };
    let formatted = format(&text, &shown).map_err(failed(&shown))?;
    let differs = formatted != text;
    if check {
        if differs {
            print(&format!("{shown}\n"))?;
        }
    } else if from_stdin {
        print(&formatted)?;
    } else if differs {
        std::fs::write(file, formatted).map_err(failed(format!("can't write {shown}")))?;
    }
    Ok(differs)
}
