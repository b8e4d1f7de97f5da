//! The command line of the binary: flags, help, checks. Exit codes: 0 success, 1 the start or a test failed, 2 wrong usage, 3 a takeover was rolled
//! back.

use std::collections::HashMap;
use std::io::Write as _;
use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Duration;

use crate::confine::allowed::Allowed;
use crate::confine::privileges::Account;
use crate::context::settings::{Settings, StartError, variable};
#[cfg(feature = "admin")]
use crate::ctl;
use crate::net::tls::{self, Engine};
use crate::protocol::escape;
use crate::run::serve;
use crate::site::{Param, ParamKind, Setting, Site};
use crate::{net::listen, observe, rehearse, takeover};

/// The command of the binary.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Serve,
    Check,
    Config,
    Manifest,
    Version,
    Help,
    SelfTest,
    Upgrade,
    Licences,
    Sbom,
    #[cfg(feature = "admin")]
    Ctl(ctl::Ctl),
}

/// What a binary carries about itself, apart from its site.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'a> {
    /// The licences of all linked code, as text.
    pub licences: &'a str,
    /// The software bill of materials, as JSON of CycloneDX.
    pub sbom: Option<&'a [u8]>,
}

/// The documents of a program that Kiln has not built.
const UNKNOWN: Documents<'static> = Documents {
    licences: "This proxy is part of a program of its own, whose build knows what it is made of: see `cargo tree`.\n",
    sbom: None,
};

/// Runs the program of a compiled site: serves it, or executes the command of its flags.
pub fn run(site: &'static Site) -> ExitCode {
    run_documented(site, UNKNOWN)
}

/// Runs the program, which carries these documents.
pub fn run_documented(site: &'static Site, documents: Documents<'_>) -> ExitCode {
    let (command, given) = match parse(site, lexopt::Parser::from_env()) {
        Ok(parsed) => parsed,
        Err(error) => {
            eprintln!("error: {error}\n\nFor what there is, see --help.");
            return ExitCode::from(2);
        }
    };
    match command {
        Command::Help => print!("{}", help(site)),
        Command::Version => print!("{}", version(site)),
        // If standard output is closed, nobody can be told; a pager may have ended.
        Command::Licences => drop(std::io::stdout().write_all(documents.licences.as_bytes())),
        Command::Sbom => match documents.sbom {
            // If standard output is closed, nobody can be told.
            Some(sbom) => drop(std::io::stdout().write_all(sbom)),
            None => {
                eprintln!("error: only the build of this program knows what it is made of: see `cargo tree`");
                return ExitCode::FAILURE;
            }
        },
        Command::Config => print!("{}", config(site)),
        // If standard output is closed, nobody can be told.
        Command::Manifest => drop(std::io::stdout().write_all(&manifest(site))),
        // Parameters without a value are represented by themselves.
        Command::SelfTest => {
            let (text, failed) = tested(site, &settings(site, &given).unwrap_or_default());
            print!("{text}");
            return if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        #[cfg(feature = "admin")]
        Command::Ctl(ctl) => return ctl::run(site, &ctl),
        Command::Check => return finish(check(site, &given)),
        Command::Serve => return served(site, &given, false),
        Command::Upgrade => {
            let (text, failed) = tested(site, &settings(site, &given).unwrap_or_default());
            if failed > 0 {
                eprintln!("{text}error: the site's tests fail: the running process goes on");
                return ExitCode::FAILURE;
            }
            return served(site, &given, true);
        }
    }
    ExitCode::SUCCESS
}

/// Serves. If the main thread panics, which a system out of descriptors can cause, the notice of it is written before the process ends.
fn served(site: &'static Site, given: &HashMap<String, String>, upgrade: bool) -> ExitCode {
    let outcome = catch_unwind(|| settings(site, given).and_then(|settings| serve(site, settings, upgrade)));
    outcome.map_or_else(
        |_| {
            observe::notice::finish(AFTER_PANIC);
            ExitCode::from(PANICKED)
        },
        finish,
    )
}

/// The exit code of a Rust program whose main thread has panicked.
const PANICKED: u8 = 101;

/// How long notices may take after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// How long notices are waited for before the errors of a failed start: practically without limit.
const START_FAILED: Duration = Duration::from_secs(3600);

fn finish(outcome: Result<ExitCode, Vec<StartError>>) -> ExitCode {
    outcome.unwrap_or_else(|refused| {
        // Earlier notices are written first, and the errors are never dropped.
        observe::notice::finish(START_FAILED);
        for refused in refused {
            eprintln!("error: {refused}");
        }
        ExitCode::FAILURE
    })
}

fn parse(site: &Site, mut parser: lexopt::Parser) -> Result<(Command, HashMap<String, String>), lexopt::Error> {
    use lexopt::prelude::*;
    let mut command = Command::Serve;
    let mut given = HashMap::new();
    while let Some(arg) = parser.next()? {
        command = match arg {
            Short('h') | Long("help") => Command::Help,
            Short('V') | Long("version") => Command::Version,
            Long("check") => Command::Check,
            Long("config") => Command::Config,
            Long("manifest") => Command::Manifest,
            Long("licences") => Command::Licences,
            Long("sbom") => Command::Sbom,
            Long("self-test") => Command::SelfTest,
            Long("upgrade") if site.process.takeover.is_some() => Command::Upgrade,
            #[cfg(feature = "admin")]
            Value(word) if word == "ctl" => {
                let ctl = ctl::parse(site, &mut parser, given)?;
                return Ok((Command::Ctl(ctl), HashMap::new()));
            }
            Long(name) if site.params.iter().any(|param| param.name == name) => {
                let name = name.to_owned();
                given.insert(name, parser.value()?.string()?);
                continue;
            }
            other => return Err(other.unexpected()),
        };
    }
    Ok((command, given))
}

fn settings(site: &Site, given: &HashMap<String, String>) -> Result<Settings, Vec<StartError>> {
    Settings::new(site.params, |param| {
        given.get(&*param.name).cloned().or_else(|| std::env::var(variable(&param.name)).ok())
    })
}

fn help(site: &Site) -> String {
    let mut out = format!(
        "A reverse proxy, compiled from {}.\n\nUsage: PROXY [FLAGS]\n\nFlags:\n\
        \x20 --check       Verify parameters, files and addresses, without serving\n\
        \x20 --self-test   Run the site's tests against the compiled tables\n\
        \x20 --config      Print the site it was built from\n\
        \x20 --manifest    Print what it was built from as JSON, for `kiln diff`\n\
        \x20 --licences    Print what is linked in, and the licences of it\n\
        \x20 --sbom        Print what is linked in as JSON (CycloneDX)\n\
        \x20 --version     Print versions and the site's hash\n\
        \x20 --help        Print this\n",
        site.name
    );
    if site.process.takeover.is_some() {
        out.push_str("  --upgrade     Run the tests, and take over from the running process\n");
    }
    if site.admin.is_some() {
        out.push_str("\nCommands:\n  ctl COMMAND   Operate the running proxy by its `admin`; see `ctl --help`\n");
    }
    if !site.params.is_empty() {
        out.push_str("\nParameters (a flag goes before its variable, and that before the default):\n");
    }
    for param in site.params {
        out.push_str(&format!(
            "  --{} <{}>   variable {}{}\n",
            param.name,
            param.kind,
            variable(&param.name),
            default(param)
        ));
        if !param.help.is_empty() {
            out.push_str(&format!("      {}\n", param.help));
        }
    }
    out.push_str(
        "\nSignals: TERM and INT stop (running exchanges are finished first; a second one ends the process at once), HUP reads files again,\n\
        USR1 opens log files again, USR2 only writes a line to the error log.\n\
        Exit codes: 0 success, 1 the start, a test or a worker failed, 2 wrong usage, 3 a takeover was rolled back.\n",
    );
    out
}

fn default(param: &Param) -> String {
    match &param.default {
        Some(default) => format!(", default {default}"),
        None => ", required".to_owned(),
    }
}

fn version(site: &Site) -> String {
    format!(
        "{}\nsite: {}\nsite sha256: {}\nruntime: kiln {}, contract {}\nroutes: {}, upstreams: {}, tests: {}\n",
        site.built,
        site.name,
        site.digest,
        env!("CARGO_PKG_VERSION"),
        crate::site::VERSION,
        site.routes.len(),
        site.upstreams.len(),
        site.tests.len()
    )
}

/// Returns the manifest: the files that the binary was built from.
fn manifest(site: &Site) -> Vec<u8> {
    let mut out = b"{".to_vec();
    let member = |name: &str, value: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        escape::json_text(value, out);
    };
    for (name, value) in [("name", site.name), ("sha256", site.digest), ("built", site.built)] {
        member(name, value, &mut out);
        out.push(b',');
    }
    let list = |name: &str, value: &str, entries: &mut dyn Iterator<Item = (&str, &str)>, out: &mut Vec<u8>| {
        out.extend_from_slice(format!("\"{name}\":[").as_bytes());
        for (index, (path, of_it)) in entries.enumerate() {
            out.extend_from_slice(if index == 0 { b"{" } else { b",{" });
            member("path", path, out);
            out.push(b',');
            member(value, of_it, out);
            out.push(b'}');
        }
        out.push(b']');
    };
    list("files", "text", &mut site.sources.iter().map(|file| (file.path, file.text)), &mut out);
    out.push(b',');
    list("assets", "sha256", &mut site.assets.iter().map(|asset| (asset.path, asset.digest)), &mut out);
    out.extend_from_slice(b"}\n");
    out
}

fn config(site: &Site) -> String {
    if let [only] = site.sources {
        return only.text.to_owned();
    }
    site.sources.iter().map(|source| format!("// {}\n{}\n", source.path, source.text)).collect()
}

/// `--check`: performs the checks of a start, without serving.
fn check(site: &'static Site, given: &HashMap<String, String>) -> Result<ExitCode, Vec<StartError>> {
    let mut settings = settings(site, given)?;
    let mut refused = settings.read_files(site.files).err().unwrap_or_default();
    if refused.is_empty() {
        refused.extend(Engine::new(site, &settings).err().unwrap_or_default());
        let flawed = tls::warnings(site, &settings, Duration::ZERO);
        // A service whose certificate will have to be renewed can still start.
        for warning in tls::warnings(site, &settings, tls::SOON).iter().filter(|warning| !flawed.contains(warning)) {
            eprintln!("warning: {warning}");
        }
        refused.extend(flawed);
    }
    #[cfg(feature = "admin")]
    refused.extend(crate::admin::unprotected(site, &settings));
    refused.extend(observe::outputs::check(site, &settings));
    let available = listen::probe_all(site, &settings).unwrap_or_else(|unavailable| {
        refused.extend(unavailable);
        Vec::new()
    });
    let taken_over = takeover::probe(site, &settings).unwrap_or_else(|unavailable| {
        refused.push(unavailable);
        None
    });
    if !refused.is_empty() {
        return Err(refused);
    }
    for param in site.params {
        // The value of a secret is a path; its content is never printed.
        let index = site.params.iter().position(|other| std::ptr::eq(other, param)).unwrap_or_default() as u16;
        if matches!(param.kind, ParamKind::Number | ParamKind::Duration | ParamKind::Size) {
            println!("param {}: ok", param.name);
        } else {
            println!("param {}: {}", param.name, settings.text(index));
        }
    }
    if let Some(privileges) = &site.process.privileges {
        let refused =
            |error: std::io::Error| vec![StartError { message: error.to_string(), place: privileges.place.clone() }];
        match Account::of(privileges).map_err(refused)? {
            Some(account) => println!("process: becomes {account}, without capabilities"),
            None => println!("process: gives up all capabilities"),
        }
    }
    if let Some(sandbox) = &site.process.sandbox {
        print!("{}", Allowed::of(sandbox, site, &settings));
    }
    if let Some((path, availability)) = taken_over {
        println!("takeover {path}: {availability}");
    }
    for (listener, availability) in site.listeners.iter().zip(available) {
        println!("listen {}: {availability}", listener.address.get(&settings));
    }
    for server in site.upstreams.iter().flat_map(|upstream| upstream.servers.iter()) {
        let from = if matches!(server.address, Setting::Param(_)) { " (given)" } else { "" };
        println!("server {}{from}: not asked", server.address.get(&settings));
    }
    println!("ok: ready to serve");
    Ok(ExitCode::SUCCESS)
}

/// Runs the site's tests, including functions of `filter`, for a test of the crate that it is compiled into:
///
/// ```ignore
/// #[test]
/// fn the_site() {
///     proxy_runtime::self_test(proxy_macros::site!("site.kdl")).unwrap();
/// }
/// ```
///
/// # Errors
/// A test has failed: the output of `--self-test`.
pub fn self_test(site: &'static Site) -> Result<(), String> {
    let (text, failed) = tested(site, &settings(site, &HashMap::new()).unwrap_or_default());
    if failed == 0 { Ok(()) } else { Err(text) }
}

/// Runs the tests: returns their results as text, and how many have failed.
fn tested(site: &Site, settings: &Settings) -> (String, usize) {
    let (mut out, mut failed) = (String::new(), 0);
    for test in site.tests {
        let misses = match rehearse::run(site, test, settings) {
            Ok(misses) => misses,
            Err(reason) => vec![("request".to_owned(), "a request".to_owned(), reason)],
        };
        if misses.is_empty() {
            out.push_str(&format!("ok    {}\n", test.name));
            continue;
        }
        failed += 1;
        out.push_str(&format!("FAIL  {} ({}:{})\n", test.name, test.place.file, test.place.line));
        for (property, expected, found) in misses {
            out.push_str(&format!("      {property}: expected {expected}, found {found}\n"));
        }
    }
    out.push_str(&format!("{} passed, {failed} failed\n", site.tests.len() - failed));
    (out, failed)
}
