//! `kiln new`.

use std::path::Path;
use std::process::ExitCode;

use super::{Outcome, build, failed};

const SITE: &str = include_str!("../../templates/site.kdl");

pub(crate) fn new(dir: &Path) -> Outcome {
    if dir.exists() {
        return Err(format!("{} is there already", dir.display()));
    }
    let name = dir.file_name().and_then(|name| name.to_str()).ok_or("a folder's name is needed")?;
    if !name.starts_with(|char: char| char.is_ascii_alphabetic())
        || !name.chars().all(|char| char.is_ascii_alphanumeric() || "-_".contains(char))
    {
        return Err(format!("`{name}` can't be the name of a crate: letters, digits, - and _, a letter first"));
    }
    let source = build::source()?;
    let (runtime, macros) = (source.join("proxy-runtime"), source.join("proxy-macros"));
    let workspace =
        std::fs::read_to_string(source.join("Cargo.toml")).map_err(failed("can't read Kiln's Cargo.toml"))?;
    // Parsing KDL in a macro is slow where the parser is not optimised; see the comment there.
    let profiles = workspace.find("# Build scripts and procedural macros").map_or("", |at| &workspace[at..]);
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
        proxy-macros = {{ path = {macros:?} }}\nproxy-runtime = {{ path = {runtime:?} }}\n\n[workspace]\n\n{profiles}"
    );
    let main = "fn main() -> std::process::ExitCode {\n    proxy_runtime::run(proxy_macros::site!(\"site.kdl\"))\n}\n";
    let write =
        |path: &str, text: &str| std::fs::write(dir.join(path), text).map_err(failed(format!("can't write {path}")));
    std::fs::create_dir_all(dir.join("src")).map_err(failed(format!("can't make {}", dir.display())))?;
    write("site.kdl", SITE)?;
    write("Cargo.toml", &manifest)?;
    write("src/main.rs", main)?;
    write(".gitignore", "/target\n")?;
    std::fs::copy(source.join("Cargo.lock"), dir.join("Cargo.lock")).map_err(failed("can't copy Kiln's Cargo.lock"))?;
    anstream::eprintln!(
        "{}: made. Next:\n  kiln dev {}/site.kdl\n  curl http://localhost:8080/",
        dir.display(),
        dir.display()
    );
    Ok(ExitCode::SUCCESS)
}
