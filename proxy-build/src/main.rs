//! `kiln`: the command line around the compiler. One module per command; messages go to standard error, results to
//! standard output.

#![forbid(unsafe_code)]

mod command;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::command::artefact::recipe::Settings;

/// Compiles a site description into one immutable reverse proxy.
#[derive(Parser)]
#[command(
    name = "kiln",
    version,
    after_help = "Exit codes: 0 success; 1 the site is wrong, or something failed; 2 wrong usage.\n\
                  Variables: KILN_CACHE, where builds are kept (default ~/.cache/kiln); KILN_SOURCE, a checkout of Kiln \
                  to build with in place of what is packed into this command; KILN_FEATURES=all, so that all sites that need an optional part \
                  of the runtime share one build of it; NO_COLOR, for messages without colour."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new site: a folder with a site.kdl and the crate around it
    New {
        /// The folder
        dir: PathBuf,
    },
    /// Check a site, and run its tests
    Check {
        /// The site file; `-` for standard input
        file: PathBuf,
        /// How what is found is written: for people on standard error, for programs on standard output
        #[arg(long, value_enum, default_value_t = command::check::OutputFormat::Text)]
        format: command::check::OutputFormat,
        /// Treat these as errors
        #[arg(long, value_enum)]
        deny: Vec<command::check::Deny>,
    },
    /// Build the proxy of a site
    Build {
        /// The site file
        file: PathBuf,
        /// The binary to write; the site file's folder's or own name where not given
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// Build quickly instead of small and fast
        #[arg(long)]
        fast: bool,
        /// Link everything in, so that the binary runs in an empty root
        #[arg(long = "static")]
        static_link: bool,
        /// Build for another machine, as in x86_64-unknown-linux-musl; default: for this one
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// Sign the binary and its provenance with this secret key of minisign
        #[arg(long, value_name = "KEY")]
        sign: Option<PathBuf>,
    },
    /// Build a site again, and compare the result with a binary
    ///
    /// The provenance beside the binary is compared, too, and must have a signature where a key is given. Exit codes: 0 the same bytes; 1 other
    /// bytes, another provenance, or a wrong signature; 2 it can't be told.
    Verify {
        /// The binary
        binary: PathBuf,
        /// The site file that it should be built from
        file: PathBuf,
        /// The public key of minisign (the key itself, or a file) that the binary must be signed with
        #[arg(long, value_name = "KEY")]
        public_key: Option<PathBuf>,
    },
    /// Build the proxy of a site as an image for containers, without Docker: an archive in the layout of OCI
    Image {
        /// The site file
        file: PathBuf,
        /// The archive to write
        #[arg(short, long)]
        output: PathBuf,
        /// The name of the image; default: that of the site, `:latest`
        #[arg(long, value_name = "NAME:TAG")]
        tag: Option<String>,
        /// Build quickly instead of small and fast
        #[arg(long)]
        fast: bool,
        /// Build for another machine, as in aarch64-unknown-linux-musl; several times for an image of several architectures
        #[arg(long = "target", value_name = "TRIPLE")]
        targets: Vec<String>,
        /// The certificates of the authorities that servers are verified by; default: those of this machine
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
    },
    /// Write a unit of systemd for a site, with its user and folders
    Unit {
        /// The site file
        file: PathBuf,
        /// The folder to write to; standard output where not given
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// The name of the service and its user; default: that of the site
        #[arg(long)]
        name: Option<String>,
        /// The path of the binary on the machine that runs it; default: /usr/local/bin/NAME
        #[arg(long, value_name = "PATH")]
        binary: Option<String>,
    },
    /// Write manifests of Kubernetes for the image of a site: a base for Kustomize
    Kubernetes {
        /// The site file
        file: PathBuf,
        /// The folder to write to; standard output where not given
        #[arg(short, long)]
        output: Option<PathBuf>,
        /// The name of the objects; default: that of the site
        #[arg(long)]
        name: Option<String>,
        /// The image; default: its name, `:latest`
        #[arg(long)]
        image: Option<String>,
    },
    /// Build the proxy of a site quickly, and run it
    Run {
        /// The site file
        file: PathBuf,
        /// Arguments of the proxy
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run a site, and swap the running proxy whenever its files change
    Dev {
        /// The site file
        file: PathBuf,
        /// Arguments of the proxy
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// What `dev` starts proxies by
    #[command(hide = true)]
    BecomeProxy {
        parent: u32,
        binary: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Say who answers a request, and what is done to it; or what a code means
    Explain {
        /// The site file; or a code, as in `kiln explain unreachable-route`
        #[arg(value_name = "FILE|CODE")]
        about: String,
        /// The method
        #[arg(requires = "url")]
        method: Option<String>,
        /// An absolute URL
        url: Option<String>,
        /// A header field, as in "Name: value"
        #[arg(short = 'H', long = "header")]
        headers: Vec<String>,
        /// The client's address
        #[arg(long, default_value = "192.0.2.1")]
        from: std::net::IpAddr,
    },
    /// Print the routes of a site, in order of precedence
    Routes {
        /// The site file
        file: PathBuf,
        /// As JSON: the whole checked site
        #[arg(long)]
        json: bool,
    },
    /// Draw a site: one HTML page with the map, the routes, the time-outs and the tables
    Report {
        /// The site file
        file: PathBuf,
        /// The page to write; standard output where not given
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Write alert rules for Prometheus, for the metrics of a site
    Alerts(Monitored),
    /// Write a dashboard for Grafana, for the metrics of a site
    Dashboard(Monitored),
    /// Print the Rust that a site becomes
    Expand {
        /// The site file
        file: PathBuf,
    },
    /// Say what changes for users between two sites: classes of requests, each with an example
    ///
    /// A binary is run to print its site, so compare those alone that you would run, on a machine of their architecture. Exit codes: 0 nothing
    /// changes; 1 something does; 2 it can't be told.
    Diff {
        /// The site file as it was, or its binary
        old: PathBuf,
        /// The site file as it is, or its binary
        new: PathBuf,
    },
    /// Run a site's tests, and name each
    Test {
        /// The site file
        file: PathBuf,
        /// List the routes that no test reaches, too
        #[arg(long)]
        coverage: bool,
    },
    /// Format a site file in place; comments stay
    Fmt {
        /// The site files; `-` formats standard input to standard output
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Change nothing; fail where something would change
        #[arg(long)]
        check: bool,
    },
    /// Print the reference manual of the language, in Markdown
    Reference,
    /// Print a script that completes kiln's arguments in a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A site whose metrics other programs read.
#[derive(clap::Args)]
struct Monitored {
    /// The site file
    file: PathBuf,
    /// The `job_name` by which Prometheus scrapes the proxy
    #[arg(long, default_value = "kiln")]
    job: String,
    /// The file to write; standard output where not given
    #[arg(short, long)]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    use command as run;
    let outcome = match Arguments::parse().command {
        Command::New { dir } => run::new::new(&dir),
        Command::Check { file, format, deny } => run::check::check(&file, format, &deny),
        Command::Build { file, output, fast, static_link, target, sign } => {
            run::build::build(&file, output.as_deref(), Settings::new(fast, static_link, target), sign.as_deref())
        }
        Command::Verify { binary, file, public_key } => {
            return run::verify::verify(&binary, &file, public_key.as_deref());
        }
        Command::Image { file, output, tag, fast, targets, ca } => {
            run::image::image(&file, &output, tag.as_deref(), (fast, &targets), ca.as_deref())
        }
        Command::Unit { file, output, name, binary } => {
            run::unit::unit(&file, output.as_deref(), name.as_deref(), binary.as_deref())
        }
        Command::Kubernetes { file, output, name, image } => {
            run::kubernetes::kubernetes(&file, output.as_deref(), name.as_deref(), image.as_deref())
        }
        Command::Run { file, arguments } => run::run::run(&file, &arguments),
        Command::Dev { file, arguments } => run::dev::dev(&file, &arguments),
        Command::BecomeProxy { parent, binary, arguments } => {
            run::dev::proxies::become_proxy(parent, &binary, &arguments)
        }
        Command::Explain { about, method: Some(method), url: Some(url), headers, from } => {
            run::explain::explain(about.as_ref(), &method, &url, &headers, from)
        }
        Command::Explain { about, .. } => proxy_build::code::page(&about).and_then(|page| run::print(&page)),
        Command::Routes { file, json } => run::routes::routes(&file, json),
        Command::Report { file, output } => run::report::report(&file, output.as_deref()),
        Command::Alerts(Monitored { file, job, output }) => {
            run::monitoring::generated(&file, &job, output.as_deref(), proxy_build::monitoring::alerts)
        }
        Command::Dashboard(Monitored { file, job, output }) => {
            run::monitoring::generated(&file, &job, output.as_deref(), proxy_build::monitoring::dashboard)
        }
        Command::Expand { file } => run::expand::expand(&file),
        Command::Diff { old, new } => return run::diff::diff(&old, &new),
        Command::Test { file, coverage } => run::test::test(&file, coverage),
        Command::Fmt { files, check } => run::fmt::fmt(&files, check),
        Command::Reference => run::print(&proxy_build::reference::reference()),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut <Arguments as clap::CommandFactory>::command(),
                "kiln",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|error| {
        anstream::eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
