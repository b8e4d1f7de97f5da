//! The proxies, each with its configuration for a job: one worker, keep-alive on both sides, and the forwarding header
//! fields.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_tests::certificates::Authority;
use kiln_tests::kiln::{cache, stderr, workspace};

use crate::jobs::Job;

/// The address of the origin.
pub(crate) const ORIGIN: &str = "127.0.0.1:19100";

pub(crate) const PROXIES: &[Kind] = &[Kind::Kiln, Kind::Nginx, Kind::Haproxy, Kind::Envoy, Kind::Caddy, Kind::Varnish];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kiln,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
    Varnish,
}

/// A running proxy.
pub(crate) struct Running {
    pub(crate) kind: Kind,
    pub(crate) port: u16,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        for pid in tree(self.child.id()) {
            let _ = Command::new("kill").arg(pid.to_string()).stderr(Stdio::null()).status();
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the user and system time in seconds, of the process and its descendants.
    pub(crate) fn cpu(&self) -> (f64, f64) {
        cpu_of(self.child.id())
    }

    /// Returns the time on a processor, in nanoseconds, of the process and its descendants: what the scheduler has counted, not ticks.
    pub(crate) fn nanos(&self) -> f64 {
        let of = |pid: u32| {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let read = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
            read.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        tree(self.child.id()).into_iter().map(of).sum()
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn memory(&self) -> f64 {
        memory_of(self.child.id())
    }
}

/// Returns the user and system time in seconds, of a process and its descendants.
pub(crate) fn cpu_of(pid: u32) -> (f64, f64) {
    let times = tree(pid).into_iter().map(ticks);
    // A tick is a hundredth of a second on Linux.
    times.fold((0.0, 0.0), |(user, system), (u, s)| (user + u / 100.0, system + s / 100.0))
}

/// Returns the resident memory of a process and its descendants, in bytes.
pub(crate) fn memory_of(pid: u32) -> f64 {
    let resident = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        line.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
    };
    tree(pid).into_iter().map(resident).sum()
}

/// A process and all its descendants.
fn tree(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let below = children.split_whitespace().filter_map(|pid| pid.parse().ok()).flat_map(tree);
    std::iter::once(pid).chain(below).collect()
}

fn ticks(pid: u32) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut numbers = after_name.split_whitespace().skip(11).map(|number| number.parse::<f64>().unwrap_or(0.0));
    (numbers.next().unwrap_or(0.0), numbers.next().unwrap_or(0.0))
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Kiln => "Kiln",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "HAProxy",
            Kind::Envoy => "Envoy",
            Kind::Caddy => "Caddy",
            Kind::Varnish => "Varnish",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Kind::Kiln => "cargo",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Envoy => "envoy",
            Kind::Caddy => "caddy",
            Kind::Varnish => "varnishd",
        }
    }

    /// The installed version, if any.
    pub(crate) fn version(self) -> Option<String> {
        let flag = match self {
            Kind::Kiln | Kind::Envoy => "--version",
            Kind::Nginx | Kind::Haproxy => "-v",
            Kind::Caddy => "version",
            Kind::Varnish => "-V",
        };
        let output = Command::new(self.program()).arg(flag).output().ok()?;
        if self == Kind::Kiln {
            return Some(env!("CARGO_PKG_VERSION").to_owned());
        }
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let start = text.find(|char: char| char.is_ascii_digit())?;
        let end =
            text[start..].find(|char: char| !(char.is_ascii_digit() || char == '.')).unwrap_or(text.len() - start);
        // Envoy prints its commit first.
        let is_version = |part: &&str| part.split('.').count() == 3 && part.starts_with(|c: char| c.is_ascii_digit());
        let known = text.rsplit('/').find(is_version);
        Some(known.filter(|_| self == Kind::Envoy).unwrap_or(&text[start..start + end]).to_owned())
    }

    /// Starts the proxy for a job, in its own folder; returns the reason if it does not start.
    pub(crate) fn start(self, job: Job, dir: &Path, port: u16) -> Result<Running, &'static str> {
        self.start_within(&[], job, dir, port)
    }

    /// Starts the proxy as the arguments of another program.
    pub(crate) fn start_within(
        self,
        program: &[String],
        job: Job,
        dir: &Path,
        port: u16,
    ) -> Result<Running, &'static str> {
        std::fs::create_dir_all(dir).expect("made");
        let file = |name: &str, text: &str| {
            let path = dir.join(format!("{}-{name}", self.name()));
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("text").to_owned()
        };
        let certificate = certificate(dir);
        let mut command = pinned();
        command.args(program);
        match self {
            Kind::Kiln if job == Job::Bare => {
                let own = std::env::current_exe().expect("it runs");
                command.arg(own).args(["bare", &port.to_string()]);
            }
            Kind::Kiln => {
                let site = file("site.kdl", &kiln_site(job, port, dir, &certificate));
                let binary = file("binary", "");
                build(&site, &binary);
                command.arg(binary);
            }
            Kind::Nginx if matches!(job, Job::Compressed { coding: "zstd", .. } | Job::Token) => return Err("-"),
            Kind::Nginx => {
                command.args(["nginx", "-c", &file("nginx.conf", &nginx_conf(job, port, dir, &certificate))]);
                if !program.is_empty() {
                    // One process, which the program is to look at.
                    command.args(["-g", "master_process off;"]);
                }
            }
            Kind::Haproxy => {
                command.args([
                    "haproxy",
                    "-db",
                    "-f",
                    &file("haproxy.cfg", &haproxy_cfg(job, port, &certificate).ok_or("-")?),
                ]);
            }
            Kind::Envoy => {
                if matches!(
                    job,
                    Job::Cached | Job::File(_) | Job::Embedded { .. } | Job::Compressed { cached: true, .. }
                ) {
                    return Err("-");
                }
                let config = file("envoy.json", &envoy_json(job, port, &certificate));
                command.args(["envoy", "-c", &config, "--concurrency", "1", "-l", "off", "--disable-hot-restart"]);
            }
            Kind::Caddy => {
                let config = file("caddy.json", &caddy_json(job, port, dir, &certificate).ok_or("-")?);
                command.env("GOMAXPROCS", "1").args(["caddy", "run", "--config", &config]);
                command.env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
            }
            Kind::Varnish => {
                let vcl = file("varnish.vcl", &varnish_vcl(job).ok_or("-")?);
                let (listen, state) = (format!("127.0.0.1:{port}"), dir.join("varnish"));
                command.args(["varnishd", "-F", "-a", &listen, "-f", &vcl, "-n", state.to_str().expect("text")]);
                command.args(["-s", "malloc,64m", "-p", "thread_pools=1"]);
            }
        }
        self.launch(&mut command, port)
    }

    /// Starts a process, and waits until it accepts connections.
    pub(crate) fn launch(self, command: &mut Command, port: u16) -> Result<Running, &'static str> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut running = Running { kind: self, port, child: child.map_err(|_| "does not start")? };
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if matches!(running.child.try_wait(), Ok(Some(_))) {
                return Err("does not start");
            }
            if began.elapsed() > Duration::from_secs(90) {
                return Err("not up after 90 s");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(running)
    }
}

/// A command on the proxies' core.
pub(crate) fn pinned() -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]);
    command
}

/// Builds Kiln's binary for a site, as users get it.
pub(crate) fn build(site: &str, binary: &str) {
    let mut build = Command::new(crate::compiler::release_kiln());
    build.args(["build", site, "-o", binary]).env("KILN_CACHE", cache()).env("KILN_SOURCE", workspace());
    let built = build.output().expect("kiln runs");
    assert!(built.status.success(), "{}", stderr(&built));
}

/// The paths of a certificate for `localhost`, of its key, and of both in one file.
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
    both: String,
}

pub(crate) fn certificate(dir: &Path) -> Certificate {
    let authority = Authority::new(dir);
    authority.sign("localhost", "localhost", &["localhost"]);
    let path = |name: &str| authority.path(name);
    let read = |name: &str| std::fs::read_to_string(path(name)).expect("written");
    std::fs::write(dir.join("localhost.both"), read("localhost.pem") + &read("localhost.key")).expect("written");
    Certificate { chain: path("localhost.pem"), key: path("localhost.key"), both: path("localhost.both") }
}

/// Repeats a text for every number.
fn each(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

fn kiln_site(job: Job, port: u16, dir: &Path, certificate: &Certificate) -> String {
    let proxy = format!("proxy \"http://{ORIGIN}\"");
    let tls = match job {
        Job::Http3 => " {\n    tls\n    http h1 h2 h3\n}",
        _ if job.tls() => " {\n    tls\n}",
        _ => "",
    };
    let head = format!("process {{\n    workers 1\n}}\nlisten \"127.0.0.1:{port}\"{tls}\n");
    let logged = if job == Job::Logged { "log access\n" } else { "" };
    let sites = match job {
        Job::Prefixes(n) => {
            format!("site * {{\n{}}}\n", each(n, |i| format!("route \"/section{i}/*\" {{\n{proxy}\n}}\n")))
        }
        Job::Expressions(n) => {
            let route = |i| format!("route \"/*\" {{\npath-regex \"^/section{i}/[0-9]+$\"\n{proxy}\n}}\n");
            format!("site * {{\n{}}}\n", each(n, route))
        }
        Job::Hosts(n) => each(n, |i| format!("site host{i}.example.com {{\n{proxy}\n}}\n")),
        Job::Cached => format!("site * {{\ncache\n{proxy}\n}}\n"),
        Job::File(_) => format!("site * {{\nfiles \"{}/files\"\n}}\n", dir.display()),
        Job::Embedded { .. } => format!("site * {{\nfiles \"{}/files\" embed=#true\n}}\n", dir.display()),
        Job::Compressed { coding, level, cached } => {
            let cache = if cached { "cache\n" } else { "" };
            format!("site * {{\ncompress {coding} {coding}-level={level}\n{cache}{proxy}\n}}\n")
        }
        Job::Upload => format!("site * {{\nlimits body=\"1GiB\"\n{proxy}\n}}\n"),
        Job::Limited => format!("site * {{\nrate-limit \"1000000/s\"\n{proxy}\n}}\n"),
        Job::Token => format!(
            "site * {{\nauth jwt (file)\"{}/tests/tokens/jwks.json\" issuer=me audience=api {{\nalgorithms ES256\n}}\n{proxy}\n}}\n",
            workspace().display()
        ),
        _ if job.tls() => {
            let handlers = match job {
                Job::Http3 => format!(
                    "route \"/*\" {{\nfiles \"{}/files\"\n}}\nroute \"/\" {{\nrespond 200 \"ok\\n\"\n}}",
                    dir.display()
                ),
                _ => proxy,
            };
            let Certificate { chain, key, .. } = certificate;
            format!("site localhost {{\ntls {{\ncertificate \"{chain}\" key=\"{key}\"\n}}\n{handlers}\n}}\n")
        }
        _ => format!("site * {{\n{proxy}\n}}\n"),
    };
    format!("{head}{logged}{sites}")
}

/// The configuration of nginx as a proxy, or as the origin.
fn nginx_conf(job: Job, port: u16, dir: &Path, certificate: &Certificate) -> String {
    const PASS: &str = "proxy_pass http://origin;";
    let location = |pattern: String| format!("location {pattern} {{ {PASS} }}\n");
    let tls = if job.tls() {
        let Certificate { chain, key, .. } = certificate;
        format!(" ssl http2; ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3")
    } else {
        String::new()
    };
    let server =
        |name: &str, locations: String| format!("server {{ listen 127.0.0.1:{port}{tls};{name}\n{locations}}}\n");
    let servers = match job {
        Job::Prefixes(n) => server("", each(n, |i| location(format!("/section{i}/")))),
        Job::Expressions(n) => server("", each(n, |i| location(format!("~ ^/section{i}/[0-9]+$")))),
        Job::Hosts(n) => each(n, |i| server(&format!(" server_name host{i}.example.com;"), location("/".to_owned()))),
        Job::File(_) | Job::Embedded { .. } => server(
            "",
            format!(
                "sendfile on; tcp_nopush on; open_file_cache max=1000; gzip_static on; location / {{ root {}/files; }}\n",
                dir.display()
            ),
        ),
        Job::Compressed { coding, level, .. } => {
            let module = if coding == "gzip" { "gzip_proxied any; gzip" } else { "brotli" };
            let on = format!("{module} on; {module}_comp_level {level}; {module}_types application/json; ");
            let on = on.replace("gzip_proxied any; gzip_", "gzip_");
            server("", on + &location("/".to_owned()))
        }
        Job::Limited => server(" limit_req zone=clients burst=100000 nodelay;", location("/".to_owned())),
        _ => server("", location("/".to_owned())),
    };
    let limits = match job {
        Job::Limited => "limit_req_zone $binary_remote_addr zone=clients:10m rate=1000000r/s;\n",
        _ => "",
    };
    let log = if job == Job::Logged { format!("{}/nginx-access.log", dir.display()) } else { "off".to_owned() };
    let cache = match job {
        Job::Cached | Job::Compressed { cached: true, .. } => {
            format!("proxy_cache_path {}/nginx-cache keys_zone=all:10m; proxy_cache all;\n", dir.display())
        }
        _ => String::new(),
    };
    let modules = match job {
        Job::Compressed { coding: "br", .. } => "load_module modules/ngx_http_brotli_filter_module.so;\n",
        _ => "",
    };
    let conf = nginx(
        dir,
        "proxy",
        &format!(
            "access_log {log}; client_max_body_size 1g; proxy_request_buffering off; server_names_hash_max_size 65536;\n\
         upstream origin {{ server {ORIGIN}; keepalive 64; keepalive_requests 100000000; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
         proxy_set_header Via \"1.1 nginx\"; proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;\n{cache}{limits}{servers}"
        ),
    );
    format!("{modules}{conf}")
}

/// The configuration of an nginx with one worker. As root, it would drop its rights to the folder; as another user, it
/// ignores `user`.
pub(crate) fn nginx(dir: &Path, name: &str, http: &str) -> String {
    format!(
        "user root; daemon off; worker_processes 1; pid {0}/{name}.pid; error_log /dev/null;\nevents {{ worker_connections 16384; }}\n\
         http {{ keepalive_requests 100000000; client_body_temp_path {0}/{name}-body; proxy_temp_path {0}/{name}-proxy;\n{http} }}\n",
        dir.display()
    )
}

fn haproxy_cfg(job: Job, port: u16, certificate: &Certificate) -> Option<String> {
    let rules = match job {
        Job::Prefixes(n) => each(n, |i| format!("  use_backend origin if {{ path_beg /section{i}/ }}\n")),
        Job::Expressions(n) => each(n, |i| format!("  use_backend origin if {{ path_reg ^/section{i}/[0-9]+$ }}\n")),
        Job::Hosts(n) => each(n, |i| format!("  use_backend origin if {{ hdr(host) -i host{i}.example.com }}\n")),
        Job::Cached => {
            "  http-request cache-use all\n  http-response cache-store all\n  default_backend origin\n".to_owned()
        }
        Job::File(_) | Job::Embedded { .. } | Job::Token => return None,
        Job::Limited => {
            "  stick-table type ip size 100k expire 10s store http_req_rate(1s)\n  http-request track-sc0 src\n\
             \x20 http-request deny if { sc_http_req_rate(0) gt 1000000 }\n  default_backend origin\n"
                .to_owned()
        }
        Job::Compressed { coding: "br" | "zstd", .. } | Job::Compressed { cached: true, .. } => return None,
        Job::Compressed { coding: "gzip", cached: false, .. } => {
            "  filter compression\n  compression algo gzip\n  compression type application/json\n  default_backend origin\n".to_owned()
        }
        _ => "  default_backend origin\n".to_owned(),
    };
    let cache = if job == Job::Cached { "cache all\n  total-max-size 64\n  max-age 3600\n" } else { "" };
    let log = if job == Job::Logged { "  log stdout format raw local0\n  option httplog\n" } else { "" };
    let tls = if job.tls() { format!(" ssl crt {} alpn h2,http/1.1", certificate.both) } else { String::new() };
    Some(format!(
        "{cache}global\n  nbthread 1\n  tune.comp.maxlevel 5\n  maxconn 8000\ndefaults\n  mode http\n{log}  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         \x20 http-reuse always\n\
         frontend in\n  bind 127.0.0.1:{port}{tls}\n  option forwardfor\n  http-request set-header X-Forwarded-Proto http\n\
         \x20 http-request set-header X-Forwarded-Host %[req.hdr(Host)]\n  http-request set-header Via 1.1\\ haproxy\n{rules}\
         backend origin\n  server origin {ORIGIN}\n"
    ))
}

fn envoy_json(job: Job, port: u16, certificate: &Certificate) -> String {
    let to = r#""route":{"cluster":"origin","timeout":"60s"}"#;
    let join = |count, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
    let hosts = match job {
        Job::Prefixes(n) => {
            let routes = join(n, &|i| format!(r#"{{"match":{{"prefix":"/section{i}/"}},{to}}}"#));
            format!(r#"{{"name":"all","domains":["*"],"routes":[{routes}]}}"#)
        }
        Job::Expressions(n) => {
            let regex = |i| format!(r#"{{"match":{{"safe_regex":{{"regex":"/section{i}/[0-9]+"}}}},{to}}}"#);
            format!(r#"{{"name":"all","domains":["*"],"routes":[{}]}}"#, join(n, &regex))
        }
        Job::Hosts(n) => join(n, &|i| {
            format!(
                r#"{{"name":"h{i}","domains":["host{i}.example.com"],"routes":[{{"match":{{"prefix":"/"}},{to}}}]}}"#
            )
        }),
        _ => format!(r#"{{"name":"all","domains":["*"],"routes":[{{"match":{{"prefix":"/"}},{to}}}]}}"#),
    };
    let log = if job == Job::Logged {
        r#","access_log":[{"name":"file","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":"/dev/null"}}]"#
    } else {
        ""
    };
    let tls = if job.tls() {
        format!(
            r#""transport_socket":{{"name":"tls","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context":{{"alpn_protocols":["h2","http/1.1"],"tls_certificates":[{{"certificate_chain":{{"filename":"{}"}},"private_key":{{"filename":"{}"}}}}]}}}}}},"#,
            certificate.chain, certificate.key
        )
    } else {
        String::new()
    };
    let compressor = envoy_compressor(job);
    let (host, origin_port) = ORIGIN.split_once(':').expect("a port");
    format!(
        r#"{{"static_resources":{{"listeners":[{{"address":{{"socket_address":{{"address":"127.0.0.1","port_value":{port}}}}},
        "filter_chains":[{{{tls}"filters":[{{"name":"http","typed_config":{{
        "@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix":"in","use_remote_address":true,"generate_request_id":false,"via":"1.1 envoy"{log},
        "route_config":{{"virtual_hosts":[{hosts}]}},
        "http_filters":[{compressor}{{"name":"router","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}}}]}}}}]}}]}}],
        "clusters":[{{"name":"origin","connect_timeout":"5s","type":"STATIC","circuit_breakers":{{"thresholds":[{{"max_connections":4096,"max_requests":4096,"max_pending_requests":4096}}]}},
        "load_assignment":{{"cluster_name":"origin","endpoints":[{{"lb_endpoints":[{{"endpoint":{{"address":{{"socket_address":{{"address":"{host}","port_value":{origin_port}}}}}}}}}]}}]}}}}]}}}}"#
    )
}

/// Envoy's compression filter, if the job needs it.
fn envoy_compressor(job: Job) -> String {
    let Job::Compressed { coding, level, .. } = job else { return String::new() };
    const LIBRARIES: &str = "type.googleapis.com/envoy.extensions.compression";
    let library = match coding {
        "gzip" => format!(
            r#"{LIBRARIES}.gzip.compressor.v3.Gzip","compression_level":"COMPRESSION_LEVEL_{level}","memory_level":8,"window_bits":15"#
        ),
        "br" => format!(r#"{LIBRARIES}.brotli.compressor.v3.Brotli","quality":{level}"#),
        _ => format!(r#"{LIBRARIES}.zstd.compressor.v3.Zstd","compression_level":{level}"#),
    };
    format!(
        r#"{{"name":"compressor","typed_config":{{"@type":"type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor",
        "response_direction_config":{{"common_config":{{"content_type":["application/json"]}}}},
        "compressor_library":{{"name":"{coding}","typed_config":{{"@type":"{library}}}}}}}}},"#
    )
}

fn caddy_json(job: Job, port: u16, dir: &Path, certificate: &Certificate) -> Option<String> {
    let handle =
        format!(r#""handle":[{{"handler":"reverse_proxy","upstreams":[{{"dial":"{ORIGIN}"}}]}}],"terminal":true"#);
    let join = |count, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(",");
    let routes = match job {
        // Caddy tries one route after the other, which takes milliseconds for 10,000 of them.
        Job::Prefixes(100_000..) | Job::Expressions(100_000..) => return None,
        // Caddy's cache is a plug-in.
        Job::Cached => return None,
        Job::File(_) | Job::Embedded { .. } => format!(
            r#"{{"handle":[{{"handler":"file_server","root":"{}/files","precompressed":{{"gzip":{{}}}}}}]}}"#,
            dir.display()
        ),
        Job::Compressed { coding: "br", .. } | Job::Compressed { cached: true, .. } => return None,
        Job::Compressed { coding, level, .. } => {
            // Caddy's zstd has its own levels, of which "default" is about 3.
            let settings = if coding == "gzip" { format!("{{\"level\":{level}}}") } else { "{}".to_owned() };
            format!(
                r#"{{"handle":[{{"handler":"encode","encodings":{{"{coding}":{settings}}}}},{{"handler":"reverse_proxy","upstreams":[{{"dial":"{ORIGIN}"}}]}}]}}"#
            )
        }
        Job::Http3 => format!(
            r#"{{"match":[{{"path":["/large"]}}],"handle":[{{"handler":"file_server","root":"{}/files"}}],"terminal":true}},{{"handle":[{{"handler":"static_response","status_code":200,"body":"ok\n"}}]}}"#,
            dir.display()
        ),
        Job::Prefixes(n) => join(n, &|i| format!(r#"{{"match":[{{"path":["/section{i}/*"]}}],{handle}}}"#)),
        Job::Expressions(n) => {
            join(n, &|i| format!(r#"{{"match":[{{"path_regexp":{{"pattern":"^/section{i}/[0-9]+$"}}}}],{handle}}}"#))
        }
        Job::Hosts(n) => join(n, &|i| format!(r#"{{"match":[{{"host":["host{i}.example.com"]}}],{handle}}}"#)),
        _ => format!("{{{handle}}}"),
    };
    let (logging, logs) = if job == Job::Logged {
        (r#""logging":{"logs":{"default":{"writer":{"output":"discard"}}}},"#, r#","logs":{}"#)
    } else {
        (r#""logging":{"logs":{"default":{"level":"ERROR"}}},"#, "")
    };
    let (policies, protocols, tls) = if job.tls() {
        let Certificate { chain, key, .. } = certificate;
        let load = format!(r#","tls":{{"certificates":{{"load_files":[{{"certificate":"{chain}","key":"{key}"}}]}}}}"#);
        let protocols = if job == Job::Http3 { r#""h1","h2","h3""# } else { r#""h1","h2""# };
        (r#""tls_connection_policies":[{}],"#, protocols, load)
    } else {
        ("", r#""h1""#, String::new())
    };
    Some(format!(
        r#"{{"admin":{{"disabled":true}},{logging}"apps":{{"http":{{"servers":{{"in":{{"listen":["127.0.0.1:{port}"],"automatic_https":{{"disable":true}},{policies}"protocols":[{protocols}],"routes":[{routes}]{logs}}}}}}}{tls}}}}}"#
    ))
}

/// The configuration of Varnish, with the cache disabled unless the job needs it. Routes would be code.
fn varnish_vcl(job: Job) -> Option<String> {
    if !matches!(job, Job::Plain | Job::Download | Job::Upload | Job::Cached) {
        return None;
    }
    let (host, port) = ORIGIN.split_once(':')?;
    let mut vcl = format!("vcl 4.1;\nbackend origin {{ .host = \"{host}\"; .port = \"{port}\"; }}\n");
    if job == Job::Cached {
        return Some(vcl);
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        vcl,
        "sub vcl_recv {{ set req.http.X-Forwarded-Proto = \"http\"; set req.http.X-Forwarded-Host = req.http.Host; return (pass); }}"
    );
    Some(vcl)
}
