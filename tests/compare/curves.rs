//! Cost by number and by size: `compare curves`. CPU time per request, Kiln beside nginx in turns, as charts in `docs/curves/`: how it grows with
//! connections, bodies, HTTP/2 streams and servers. One binary and one configuration for all of them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln_tests::kiln::{scratch, workspace};

use crate::load::{Clients, Pace, pin};
use crate::proxies::{Certificate, Kind, ORIGIN, Running, build, certificate, nginx, pinned};
use crate::svg::{Chart, Point, Series};
use crate::{median, requests};

const PROXIES: [Kind; 2] = [Kind::Kiln, Kind::Nginx];
const ROUNDS: usize = 3;
const TIME: Duration = Duration::from_secs(1);

/// Requests per second, where the number of something else grows: a rate that both proxies can take.
const RATE: f64 = 5_000.0;

/// Two ports for each proxy: without and with TLS.
const FIRST_PORT: u16 = 18_280;

const CONNECTIONS: [usize; 5] = [64, 256, 1_000, 4_000, 10_000];
const BODIES: [usize; 6] = [1, 100, 10_000, 1_000_000, 10_000_000, 100_000_000];
const STREAMS: [usize; 4] = [1, 4, 16, 64];
const SERVERS: [usize; 4] = [1, 10, 100, 1_000];

/// What grows.
#[derive(Clone, Copy)]
enum Quantity {
    Connections,
    Bodies,
    Streams,
    Servers,
}

impl Quantity {
    fn file(self) -> &'static str {
        match self {
            Quantity::Connections => "connections",
            Quantity::Bodies => "bodies",
            Quantity::Streams => "streams",
            Quantity::Servers => "servers",
        }
    }

    fn steps(self) -> Vec<usize> {
        match self {
            Quantity::Connections => {
                let most = most_connections();
                let fewer = CONNECTIONS.into_iter().take_while(|&count| count < most);
                fewer.chain([most.min(CONNECTIONS[CONNECTIONS.len() - 1])]).collect()
            }
            Quantity::Bodies => BODIES.to_vec(),
            Quantity::Streams => STREAMS.to_vec(),
            Quantity::Servers => SERVERS.to_vec(),
        }
    }

    fn chart(self, series: Vec<Series>) -> Chart {
        let (title, across, upward) = match self {
            Quantity::Connections => {
                ("CPU by connections", "connections, all in use, 5,000 requests per second", "us per request")
            }
            Quantity::Bodies => ("CPU by size of the body", "bytes of the response", "us per request"),
            Quantity::Streams => ("CPU by streams", "HTTP/2 streams on each of four connections", "us per request"),
            Quantity::Servers => ("CPU by servers", "servers of the upstream, in turns", "us per request"),
        };
        Chart { title, across, upward, logarithmic: matches!(self, Quantity::Bodies), series }
    }

    /// The CPU time per request, in microseconds.
    fn measure(self, proxy: &Running, step: usize, clients: &mut Option<Clients>) -> Option<f64> {
        let get = |path: &str| vec![format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()];
        let (count, path, pace) = match self {
            Quantity::Streams => return streams(proxy, step),
            Quantity::Connections => (step, "/s1/".to_owned(), Pace::PerSecond(RATE)),
            Quantity::Servers => (64, format!("/s{step}/"), Pace::PerSecond(RATE)),
            Quantity::Bodies => (4, format!("/bytes/{step}"), Pace::Closed),
        };
        if clients.is_none() {
            let mut new = Clients::connect(proxy.port, count)?;
            // Connections to servers are opened, and each client is known.
            new.run(&get(&path), pace, TIME)?;
            *clients = Some(new);
        }
        let before = proxy.nanos();
        let run = clients.as_mut()?.run(&get(&path), pace, TIME)?;
        Some((proxy.nanos() - before) / run.count() as f64 / 1e3)
    }
}

pub(crate) fn report(only: Option<&str>) {
    if requests::lacks(&["nginx", "h2load", "taskset"]) {
        return;
    }
    // Raised before the proxies start: they inherit it.
    most_connections();
    let dir = scratch("compare-curves");
    let most = SERVERS[SERVERS.len() - 1];
    let origin = requests::origin_on(&dir, &servers(most).collect::<Vec<_>>());
    let folder = dir.join("files/bytes");
    std::fs::create_dir_all(&folder).expect("made");
    for size in BODIES {
        // Without blocks on the disk.
        std::fs::File::create(folder.join(size.to_string())).and_then(|file| file.set_len(size as u64)).expect("made");
    }
    let certificate = certificate(&dir);
    let proxies = PROXIES.map(|kind| start(kind, &dir, &certificate));
    let charts = workspace().join("docs/curves");
    std::fs::create_dir_all(&charts).expect("made");
    pin(&[1]);
    println!("\n**CPU per request, us: median of {ROUNDS} rounds (lowest to highest)**\n");
    println!("| what | Kiln | nginx |\n|---|---|---|");
    for quantity in [Quantity::Connections, Quantity::Bodies, Quantity::Streams, Quantity::Servers] {
        if only.is_some_and(|only| only != quantity.file()) {
            continue;
        }
        let mut series = PROXIES.map(|kind| Series { name: kind.name(), points: Vec::new() });
        for step in quantity.steps() {
            let found = turns(quantity, &proxies, step);
            let cells = found.each_ref().map(|found| {
                found.map_or("-".to_owned(), |p| format!("{:.1} ({:.1} to {:.1})", p.median, p.lowest, p.highest))
            });
            println!("| {} {step} | {} |", quantity.file(), cells.join(" | "));
            series.iter_mut().zip(found).for_each(|(series, found)| series.points.extend(found));
        }
        let path = charts.join(format!("{}.svg", quantity.file()));
        std::fs::write(path, quantity.chart(series.into()).svg()).expect("written");
    }
    drop(origin);
}

/// The figures of one step, of each proxy; `None` if it can't do that.
fn turns(quantity: Quantity, proxies: &[Running; 2], step: usize) -> [Option<Point>; 2] {
    let mut clients = [None, None];
    let mut figures = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for turn in 0..proxies.len() {
            let at = (round + turn) % proxies.len();
            figures[at].extend(quantity.measure(&proxies[at], step, &mut clients[at]));
        }
    }
    figures.map(|figures| {
        let lowest = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = figures.iter().copied().fold(0.0, f64::max);
        (figures.len() == ROUNDS).then(|| Point { at: step as f64, median: median(figures), lowest, highest })
    })
}

/// h2load has a thread of its own; its first connections belong to the figure.
fn streams(proxy: &Running, streams: usize) -> Option<f64> {
    let url = format!("https://localhost:{}/", proxy.port + 1);
    let before = proxy.nanos();
    let output = Command::new("h2load").args(["-t1", "-c4", &format!("-m{streams}"), "-D1", &url]).output().ok()?;
    let took = proxy.nanos() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // "status codes: 41000 2xx, 0 3xx, 0 4xx, 0 5xx".
    let statuses = text.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let counts: Vec<f64> = statuses.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok()).collect();
    match counts[..] {
        [good, 0.0, 0.0, 0.0] if good > 0.0 => Some(took / good / 1e3),
        _ => None,
    }
}

/// Raises the limit of descriptors, and returns the most connections that it leaves room for: a proxy needs two for each.
fn most_connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("raised");
    let limit = limit.maximum.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    limit.saturating_sub(2_000) / 2 / 1_000 * 1_000
}

/// The addresses of servers, which are all the origin.
fn servers(count: usize) -> impl Iterator<Item = String> {
    let port = ORIGIN.rsplit(':').next().unwrap_or_default();
    (0..count).map(move |number| format!("127.1.{}.{}:{port}", number / 250, number % 250 + 1))
}

fn start(kind: Kind, dir: &Path, certificate: &Certificate) -> Running {
    let port = FIRST_PORT + 10 * kind as u16;
    let Certificate { chain, key, .. } = certificate;
    let mut command = pinned();
    if kind == Kind::Kiln {
        let upstream = |count| {
            let servers: String = servers(count).map(|server| format!("server \"{server}\"\n")).collect();
            format!("upstream s{count} {{\n{servers}}}\n")
        };
        let route = |count| format!("route \"/s{count}/*\" {{\nproxy s{count}\n}}\n");
        let site = format!(
            "process {{\nworkers 1\n}}\n{}limits connections=20000\nsite * {{\nlisten \"127.0.0.1:{port}\"\n{}\
             route \"/*\" {{\nproxy s1\n}}\n}}\n\
             site localhost {{\nlisten \"127.0.0.1:{}\" {{\ntls\n}}\ntls {{\ncertificate \"{chain}\" key=\"{key}\"\n}}\nproxy s1\n}}\n",
            SERVERS.map(upstream).concat(),
            SERVERS.map(route).concat(),
            port + 1
        );
        let (path, binary) = (dir.join("site.kdl"), dir.join("binary"));
        std::fs::write(&path, site).expect("written");
        build(path.to_str().expect("text"), binary.to_str().expect("text"));
        command.arg(binary);
    } else {
        let upstream = |count| {
            let servers: String = servers(count).map(|server| format!("server {server};\n")).collect();
            format!("upstream s{count} {{\n{servers}keepalive 1024; keepalive_requests 100000000;\n}}\n")
        };
        let location = |count| format!("location /s{count}/ {{ proxy_pass http://s{count}; }}\n");
        let http = format!(
            "access_log off; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
             proxy_set_header Via \"1.1 nginx\"; proxy_set_header X-Forwarded-For $remote_addr;\n\
             proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;\n\
             http2_max_concurrent_streams 250;\n{}server {{\nlisten 127.0.0.1:{port};\nlisten 127.0.0.1:{} ssl http2;\n\
             ssl_certificate {chain}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;\n{}\
             location / {{ proxy_pass http://s1; }}\n}}\n",
            SERVERS.map(upstream).concat(),
            port + 1,
            SERVERS.map(location).concat()
        );
        let path = dir.join("nginx-curves.conf");
        std::fs::write(&path, nginx(dir, "curves", &http)).expect("written");
        command.args(["nginx", "-c"]).arg(path);
    }
    kind.launch(&mut command, port).expect("it starts")
}
