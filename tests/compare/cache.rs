//! The efficiency and the cost of the cache, through a real proxy: the hit ratio on a trace compared to two policies from
//! the
//! literature, memory for the entries, and the benefit of a second core.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kiln_tests::client::{Client, ask};
use kiln_tests::kiln::{cache, scratch, stderr, workspace};
use kiln_tests::origin::Origin;
use kiln_tests::proxy::Proxy;

/// Responds to `/SIZE/...` with a body of that size.
fn origin() -> Origin {
    Origin::new(|mut connection, _| {
        let body = vec![b'x'; 1 << 20];
        while let Some(request) = connection.head() {
            let size = request.split('/').nth(1).and_then(|size| size.parse().ok()).unwrap_or(100).min(body.len());
            let mut answer =
                format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=36000\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n")
                    .into_bytes();
            answer.extend_from_slice(&body[..size]);
            connection.send(answer);
        }
    })
}

fn start(name: &str, memory: &str, workers: usize, origin: &Origin) -> Proxy {
    let dir = scratch(&format!("compare-cache-{name}"));
    let text = format!(
        "param listen type=addr\nparam admin type=addr\nadmin (param)admin {{\nstatus\n}}\nprocess {{\nworkers {workers}\n}}\n\
         cache-store all memory=\"{memory}\"\nsite * {{\nlisten (param)listen\ncache\nproxy \"http://{}\"\n}}\n",
        origin.address
    );
    let (site, binary) = (dir.join("site.kdl"), dir.join("proxy"));
    std::fs::write(&site, &text).expect("written");
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let mut build = Command::new(crate::compiler::release_kiln());
    build
        .args(["build", &path(&site), "-o", &path(&binary)])
        .env("KILN_CACHE", cache())
        .env("KILN_SOURCE", workspace());
    let built = build.output().expect("kiln runs");
    assert!(built.status.success(), "{}", stderr(&built));
    Proxy::start(&binary, &text, &[])
}

/// Prints the report, or only the named part of it.
pub(crate) fn report(only: Option<&str>) {
    let origin = origin();
    for (name, part) in [("hits", hits as fn(&Origin)), ("memory", memory), ("cores", cores), ("entries", entries)] {
        if only.is_none_or(|only| only == name) {
            part(&origin);
        }
    }
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const OBJECTS: usize = 100_000;
const REQUESTS: usize = 400_000;
const CAPACITY: usize = 64 << 20;

/// The overhead of an object besides its body: as Kiln counts it, and applied to all policies.
const BESIDE: usize = 700;

/// A trace: Zipf's law with exponent 0.9 over 100,000 objects of 1 to 32 KiB (most are small); each fifth request is for
/// an object that is never requested again, as crawlers do.
fn trace() -> Vec<(usize, usize)> {
    let mut cumulative = Vec::with_capacity(OBJECTS);
    let mut sum = 0.0;
    for rank in 1..=OBJECTS {
        sum += (rank as f64).powf(-0.9);
        cumulative.push(sum);
    }
    let mut dice = Dice(1);
    let size = |object: usize| {
        let mut own = Dice(object as u64 * 7919 + 3);
        own.next();
        1024 + (31.0 * 1024.0 * own.next().powi(3)) as usize
    };
    let requests = (0..REQUESTS).map(|at| {
        let object = match at % 5 {
            4 => OBJECTS + at,
            _ => cumulative.partition_point(|&up_to| up_to < dice.next() * sum),
        };
        (object, size(object))
    });
    requests.collect()
}

fn hits(origin: &Origin) {
    let trace = trace();
    let proxy = start("hits", "64MiB", 1, origin);
    let mut client = Client::to(proxy.address("listen"));
    let mut hits = 0;
    for (object, size) in &trace {
        client.send(format!("GET /{size}/{object} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        hits += usize::from(client.answer().header("cache-status").is_some_and(|status| status.contains("; hit")));
    }
    println!("\n| policy | hits on the trace, % |\n|---|---|");
    println!("| Kiln | {:.2} |", 100.0 * hits as f64 / REQUESTS as f64);
    println!("| S3-FIFO, simulated | {:.2} |", 100.0 * s3_fifo(&trace) as f64 / REQUESTS as f64);
    println!("| LRU, simulated | {:.2} |", 100.0 * lru(&trace) as f64 / REQUESTS as f64);
}

fn lru(trace: &[(usize, usize)]) -> usize {
    let (mut last, mut order, mut held, mut hits) = (HashMap::new(), VecDeque::new(), 0, 0);
    for (at, &(object, size)) in trace.iter().enumerate() {
        if last.insert(object, at).is_some() {
            hits += 1;
        } else {
            held += size + BESIDE;
        }
        order.push_back((object, at, size));
        while held > CAPACITY {
            let Some((object, at, size)) = order.pop_front() else { break };
            if last.get(&object) == Some(&at) {
                last.remove(&object);
                held -= size + BESIDE;
            }
        }
    }
    hits
}

/// Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023): a small queue of a tenth, a two-bit frequency
/// counter for each entry, and
/// a ghost queue of evicted names.
fn s3_fifo(trace: &[(usize, usize)]) -> usize {
    let mut small: VecDeque<(usize, usize)> = VecDeque::new();
    let mut main: VecDeque<(usize, usize)> = VecDeque::new();
    let (mut ghosts, mut ghost_order): (HashSet<usize>, VecDeque<usize>) = Default::default();
    let mut used: HashMap<usize, u8> = HashMap::new();
    let (mut in_small, mut in_main, mut hits) = (0, 0, 0);
    for &(object, size) in trace {
        let weight = size + BESIDE;
        if let Some(count) = used.get_mut(&object) {
            *count = (*count + 1).min(3);
            hits += 1;
            continue;
        }
        while in_small + in_main + weight > CAPACITY {
            if in_small >= CAPACITY / 10 || main.is_empty() {
                let Some((object, weight)) = small.pop_front() else { break };
                in_small -= weight;
                if used[&object] > 1 {
                    used.insert(object, 0);
                    main.push_back((object, weight));
                    in_main += weight;
                } else {
                    used.remove(&object);
                    ghosts.insert(object);
                    ghost_order.push_back(object);
                    if ghost_order.len() > main.len().max(1000) {
                        ghost_order.pop_front().map(|object| ghosts.remove(&object));
                    }
                }
            } else if let Some((object, weight)) = main.pop_front() {
                let count = used[&object];
                if count > 0 {
                    used.insert(object, count - 1);
                    main.push_back((object, weight));
                } else {
                    used.remove(&object);
                    in_main -= weight;
                }
            }
        }
        used.insert(object, 0);
        if ghosts.remove(&object) {
            main.push_back((object, weight));
            in_main += weight;
        } else {
            small.push_back((object, weight));
            in_small += weight;
        }
    }
    hits
}

/// A number in the JSON of `GET /stores`, by its name.
fn state(proxy: &Proxy, name: &str) -> f64 {
    let text = ask(proxy.address("admin"), "GET /stores HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").text();
    let behind = text.split(&format!("\"{name}\":")).nth(1).expect("a number");
    behind.split([',', '}']).next().and_then(|number| number.parse().ok()).expect("a number")
}

fn resident(proxy: &Proxy) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    line.and_then(|kib| kib.parse::<f64>().ok()).expect("a number") * 1024.0
}

/// The size of a response of 4 KiB in bytes, with its stored fields.
fn answer(proxy: &Proxy) -> f64 {
    let answer = ask(proxy.address("listen"), "GET /4096/0-0 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let own = ["age", "cache-status", "connection", "content-length"];
    let fields = answer.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    let fields: usize = fields.map(|(name, value)| format!("{name}: {value}\r\n").len()).sum();
    (answer.body.len() + fields) as f64
}

/// A store of 1 GiB, full of objects of 4 KiB.
fn memory(origin: &Origin) {
    let proxy = start("memory", "1GiB", 2, origin);
    let before = resident(&proxy);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let address = proxy.address("listen");
            scope.spawn(move || {
                let mut client = Client::to(address);
                for object in 0..75_000 {
                    client.send(format!("GET /4096/{worker}-{object} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
                    assert_eq!(client.answer().status, 200);
                }
            });
        }
    });
    let payload = state(&proxy, "entries") * answer(&proxy);
    let grown = resident(&proxy) - before;
    println!("\n| store of 1 GiB full of 4 KiB | |\n|---|---|");
    println!("| counted, of the capacity | {:.3} |", state(&proxy, "bytes") / state(&proxy, "capacity"));
    println!("| resident memory, of the capacity | {:.3} |", grown / state(&proxy, "capacity"));
    println!("| resident memory beside answers, % of them | {:.1} |", 100.0 * (grown / payload - 1.0));
}

/// CPU time per hit with one entry, a thousand and a million, requested randomly, in turns.
fn entries(origin: &Origin) {
    const COUNTS: [usize; 3] = [1, 1000, 1_000_000];
    let proxies = COUNTS.map(|count| {
        let proxy = start(&format!("entries-{count}"), "3GiB", 1, origin);
        std::thread::scope(|scope| {
            for part in 0..4 {
                let address = proxy.address("listen");
                scope.spawn(move || {
                    let mut client = Client::to(address);
                    for object in (part..count).step_by(4) {
                        client.send(format!("GET /100/{object} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
                        assert_eq!(client.answer().status, 200);
                    }
                });
            }
        });
        proxy
    });
    let script = scratch("compare-cache-script").join("random.lua");
    let mut costs = COUNTS.map(|_| Vec::new());
    for round in 0..7 {
        for ((proxy, costs), count) in proxies.iter().zip(&mut costs).zip(COUNTS) {
            // Each round requests different objects.
            let text = format!(
                "math.randomseed({round})\nlocal fields = {{ Host = 'a.test' }}\n\
                 request = function() return wrk.format('GET', '/100/' .. math.random(0, {}), fields) end\n",
                count - 1
            );
            std::fs::write(&script, text).expect("written");
            costs.push(cost(proxy, &["-s", script.to_str().expect("text")]));
        }
    }
    println!("\n| entries | in the store | CPU per hit, us |\n|---|---|---|");
    for ((proxy, costs), count) in proxies.iter().zip(costs).zip(COUNTS) {
        println!("| {count} | {} | {:.2} |", state(proxy, "entries"), crate::median(costs));
    }
}

/// CPU time per hit with one worker and with two, in turns. The load generator shares the cores, so elapsed time is
/// meaningless.
fn cores(origin: &Origin) {
    let proxies = [1, 2].map(|workers| start(&format!("cores-{workers}"), "64MiB", workers, origin));
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..7 {
        for (proxy, costs) in proxies.iter().zip(&mut costs) {
            costs.push(cost(proxy, &[]));
        }
    }
    let [one, two] = costs.map(crate::median);
    println!("\n| workers | CPU per hit, us |\n|---|---|\n| 1 | {one:.2} |\n| 2 | {two:.2} |");
    println!("\nTwo cores do {:.2} times what one does, by the CPU that a hit takes.", 2.0 * one / two);
}

fn cost(proxy: &Proxy, more: &[&str]) -> f64 {
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.pid())).expect("a process");
        let fields: Vec<f64> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0.0))
            .collect();
        fields[11] + fields[12]
    };
    let before = ticks();
    let url = format!("http://{}/100/hot", proxy.address("listen"));
    let wrk = Command::new("wrk").args(["-t1", "-c32", "-d1s"]).args(more).arg(&url).output().expect("wrk runs");
    let text = String::from_utf8_lossy(&wrk.stdout).into_owned();
    let requests =
        text.lines().find(|line| line.contains("requests in")).and_then(|line| line.split_whitespace().next());
    let requests: f64 = requests.and_then(|requests| requests.parse().ok()).expect("requests");
    std::thread::sleep(Duration::from_millis(20));
    (ticks() - before) * 1e4 / requests
}
