//! CPU time per small proxied keep-alive request on one core, 64 connections, beside nginx with the same headers set;
//! and with the access log on.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_tests::kiln::{kiln, scratch, stderr};

use crate::{median, row};

const ORIGIN: &str = "127.0.0.1:19100";
const ROUNDS: usize = 7;

pub(crate) fn report() {
    const WHAT: &str = "CPU per proxied request";
    for tool in ["nginx", "wrk"] {
        if Command::new(tool).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return row(WHAT, &format!("not measured: {tool} is not installed"), "at most 1.0 of nginx's");
        }
    }
    let dir = scratch("compare-requests");
    let origin = nginx(
        &dir,
        "origin",
        &format!("server {{ listen {ORIGIN}; location / {{ return 200 \"{}\"; }} }}", "x".repeat(100)),
    );
    let beside = nginx(&dir, "beside", &NGINX.replace("ORIGIN", ORIGIN));
    let plain = proxy(&dir, "plain", 18080, "");
    let logged = proxy(&dir, "logged", 18082, "log access\n");
    let mut figures: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        figures[0].push(cpu_per_request(beside.worker(), 18081));
        figures[1].push(cpu_per_request(plain.0.id(), 18080));
        figures[2].push(cpu_per_request(logged.0.id(), 18082));
    }
    drop((origin, beside, plain, logged));
    let [nginx, plain, logged] = figures.map(median);
    row("nginx, CPU per proxied request", &format!("{nginx:.2} us"), "");
    row(WHAT, &format!("{plain:.2} us, {:.2} of nginx's", plain / nginx), "at most 1.0 of nginx's");
    row(
        "the same with an access log",
        &format!("{logged:.2} us, {:.2} of without", logged / plain),
        "at most 1.05 of without",
    );
}

const NGINX: &str = r#"
upstream origin { server ORIGIN; keepalive 64; keepalive_requests 100000000; }
server {
    listen 127.0.0.1:18081;
    location / {
        proxy_pass http://origin;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        proxy_set_header Via "1.1 nginx";
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $http_host;
    }
}
"#;

/// An nginx of one worker.
struct Nginx(Child);

impl Nginx {
    fn worker(&self) -> u32 {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0.id())).expect("a process");
        children.split_whitespace().next().and_then(|pid| pid.parse().ok()).expect("a worker")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn nginx(dir: &Path, name: &str, http: &str) -> Nginx {
    let text = format!(
        "daemon off; worker_processes 1; pid {0}/{name}.pid; error_log /dev/null;\nevents {{ worker_connections 4096; }}\n\
        http {{ access_log off; keepalive_requests 100000000; {http} }}\n",
        dir.display()
    );
    let path = dir.join(format!("{name}.conf"));
    std::fs::write(&path, text).expect("written");
    let child = Command::new("nginx").arg("-c").arg(&path).stderr(Stdio::null()).spawn().expect("nginx starts");
    std::thread::sleep(Duration::from_millis(500));
    Nginx(child)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn proxy(dir: &Path, name: &str, port: u16, more: &str) -> Running {
    let site = dir.join(format!("{name}.kdl"));
    let text = format!(
        "process {{\n    workers 1\n}}\n{more}site * {{\n    listen \"127.0.0.1:{port}\"\n    proxy \"http://{ORIGIN}\"\n}}\n"
    );
    std::fs::write(&site, text).expect("written");
    let binary = dir.join(name);
    let built = kiln(&["build", site.to_str().expect("text"), "-o", binary.to_str().expect("text")]);
    assert!(built.status.success(), "{}", stderr(&built));
    let child = Command::new(binary).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the proxy starts");
    std::thread::sleep(Duration::from_millis(500));
    Running(child)
}

/// Microseconds of CPU time per request over two seconds of load.
fn cpu_per_request(pid: u32, port: u16) -> f64 {
    let before = ticks(pid);
    let wrk = Command::new("wrk")
        .args(["-t1", "-c64", "-d2s", &format!("http://127.0.0.1:{port}/")])
        .output()
        .expect("wrk runs");
    let used = ticks(pid) - before;
    let text = String::from_utf8_lossy(&wrk.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let requests = text
        .lines()
        .find(|line| line.contains("requests in"))
        .and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    // A tick is a hundredth of a second on Linux.
    used * 10_000.0 / requests.expect("a number of requests")
}

fn ticks(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let mut numbers = after_name.split_whitespace().skip(11).map(|number| number.parse::<f64>().unwrap_or(0.0));
    numbers.next().unwrap_or(0.0) + numbers.next().unwrap_or(0.0)
}
