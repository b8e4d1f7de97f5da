//! `kiln alerts` and `kiln dashboard`: Prometheus accepts the rules, they fire when they should, and Grafana's own model of
//! dashboards knows all members.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use kiln_tests::kiln::{kiln, scratch, stderr, stdout};
use serde_json::Value;

const SITE: &str = r#"
admin "127.0.0.1:9000" {
    metrics
}
limits memory="100MiB"
cache-store main memory="256MiB"
upstream app {
    server "127.0.0.1:3000"
    server "127.0.0.1:3001"
    health-check "/healthz"
    circuit-breaker max-connections=10 max-pending=50
}
upstream odd {
    server "127.0.0.1:4000"
}
site example.com {
    route "/api/*" {
        cache main
        proxy app
    }
    route "/*" {
        proxy odd
    }
}
"#;

/// A site without servers, caches and limits that are known at build.
const SMALL: &str = r#"
param held type=size default="1MiB"
admin "127.0.0.1:9000" {
    metrics {
        buckets "2s" "3s"
    }
}
limits memory=(param)held
site example.com {
    respond 200
}
"#;

fn generated(name: &str, command: &str, site: &str, more: &[&str]) -> Output {
    let file = scratch(name).join("site.kdl");
    std::fs::write(&file, site).expect("written");
    kiln(&[&[command, file.to_str().expect("UTF-8")], more].concat())
}

fn text(name: &str, command: &str, site: &str, more: &[&str]) -> String {
    let output = generated(name, command, site, more);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

/// Returns whether promtool is installed; if not, prints what is not tested.
fn promtool() -> bool {
    let there = Command::new("promtool").arg("--version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: promtool is not installed (Debian: prometheus), so nobody reads the rules and queries");
    }
    there
}

/// Checks a file with promtool, or runs its tests.
fn promtool_takes(name: &str, does: &str, files: &[(&str, &str)]) {
    let dir = scratch(name);
    for (file, content) in files {
        std::fs::write(dir.join(file), content).expect("written");
    }
    let output =
        Command::new("promtool").args([does, "rules", files[0].0]).current_dir(&dir).output().expect("promtool runs");
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(!stdout(&output).contains("lint error"), "{}", stdout(&output));
}

#[test]
fn alerts_depend_on_the_site() {
    let check = |site: &str, expected: &[&str], absent: &[&str]| {
        let rules = text("monitoring-alerts", "alerts", site, &["--job", "edge"]);
        for part in expected {
            assert!(rules.contains(part), "{part}: {rules}");
        }
        for part in absent {
            assert!(!rules.contains(part), "{part}: {rules}");
        }
    };
    check(
        SITE,
        &[
            r#"expr: "kiln_upstream_waiting{job=\"edge\",upstream=\"app\"} > 40""#,
            r#"expr: "kiln_client_memory_bytes{job=\"edge\"} > 94371840""#,
            r#"upstream: "odd""#,
            "KilnAllServersDown",
            "[5m]))) > 1\"",
        ],
        &[],
    );
    // The first bound is longer than a second, and values above the last one can't be told apart.
    let absent = ["KilnAllServersDown", "KilnQueueFull", "KilnClientMemory", "KilnUpstreamFailing", "KilnOverloaded"];
    check(SMALL, &["KilnErrors", "KilnDown"], &[&absent[..], &["KilnSlow"]].concat());
}

#[test]
fn alerts_fire() {
    if !promtool() {
        return;
    }
    let small = text("monitoring-small", "alerts", SMALL, &[]);
    promtool_takes("monitoring-small-rules", "check", &[("small.yml", &small)]);
    let rules = text("monitoring-fire", "alerts", SITE, &[]);
    promtool_takes("monitoring-rules", "check", &[("rules.yml", &rules)]);
    // Half of the requests fail, all servers are down, half of the attempts fail, and the other upstream has never responded.
    let series = [
        (r#"kiln_build_info{job="kiln",instance="a"}"#, "1x60"),
        (r#"kiln_requests_total{job="kiln",instance="a",site="example.com",route="/api/*",code="2xx"}"#, "0+60x60"),
        (r#"kiln_requests_total{job="kiln",instance="a",site="example.com",route="/api/*",code="5xx"}"#, "0+60x60"),
        (r#"kiln_server_healthy{job="kiln",instance="a",upstream="app",server="s1"}"#, "0x60"),
        (r#"kiln_server_healthy{job="kiln",instance="b",upstream="app",server="s1"}"#, "1x60"),
        (r#"kiln_upstream_failures_total{job="kiln",instance="a",upstream="app",server="s1",kind="reset"}"#, "0+6x60"),
        (r#"kiln_upstream_responses_total{job="kiln",instance="a",upstream="app",server="s1",code="2xx"}"#, "0+6x60"),
        (r#"kiln_upstream_failures_total{job="kiln",instance="a",upstream="odd",server="s2",kind="reset"}"#, "0+6x60"),
        (r#"kiln_upstream_waiting{job="kiln",instance="a",upstream="app"}"#, "40x30 41x30"),
    ];
    let mut tests =
        "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n".to_owned();
    for (series, values) in series {
        let _ = writeln!(tests, "      - series: '{series}'\n        values: '{values}'");
    }
    tests += "    alert_rule_test:\n";
    let mut expect = |minute: u32, name: &str, labels: &[&str]| {
        let _ = writeln!(tests, "      - eval_time: {minute}m\n        alertname: {name}\n        exp_alerts:");
        if labels.is_empty() {
            tests.truncate(tests.len() - 1);
            tests += " []\n";
        }
        for labels in labels {
            let _ = writeln!(tests, "          - exp_labels: {{job: kiln, {labels}}}");
        }
    };
    expect(3, "KilnErrors", &[]);
    expect(10, "KilnErrors", &["severity: critical, site: example.com, route: '/api/*'"]);
    expect(10, "KilnAllServersDown", &["severity: critical, instance: a, upstream: app"]);
    expect(10, "KilnUpstreamFailing", &["severity: warning, upstream: app", "severity: warning, upstream: odd"]);
    expect(20, "KilnQueueFull", &[]);
    expect(40, "KilnQueueFull", &["severity: warning, instance: a, upstream: app"]);
    expect(10, "KilnDown", &[]);
    expect(70, "KilnDown", &["severity: critical"]);
    // Annotations are not compared: they are removed from the rules, and the tests expect none.
    let tests = tests.replace("exp_labels", "exp_annotations: {}\n            exp_labels");
    let annotations = rules.lines().filter(|line| {
        let line = line.trim_start();
        !["annotations:", "summary:", "description:"].iter().any(|begins| line.starts_with(begins))
    });
    let bare: String = annotations.flat_map(|line| [line, "\n"]).collect();
    promtool_takes("monitoring-tests", "test", &[("tests.yml", &tests), ("rules.yml", &bare)]);
}

#[test]
fn dashboards_query_existing_metrics() {
    let check = |site: &str, rows: &[&str]| {
        let dashboard: Value =
            serde_json::from_str(&text("monitoring-dashboard", "dashboard", site, &[])).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        let titles: Vec<_> = panels.iter().filter(|panel| panel["type"] == "row").map(|row| &row["title"]).collect();
        assert_eq!(titles, rows);
        let mut taken = Vec::new();
        for panel in panels {
            let side = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
            let cells = (side("y")..side("y") + side("h"))
                .flat_map(|y| (side("x")..side("x") + side("w")).map(move |x| (x, y)));
            taken.extend(cells);
        }
        let all = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), all, "panels overlap");
        assert!(taken.iter().all(|(x, _)| *x < 24));
        dashboard
    };
    check(SMALL, &["Requests", "Process"]);
    let dashboard = check(SITE, &["Requests", "Upstreams", "Caches", "Process"]);
    assert_eq!(dashboard["templating"]["list"][3]["query"], "app,odd");
    if !promtool() {
        return;
    }
    // promtool checks queries only in rules.
    let mut rules = "groups:\n  - name: queries\n    rules:\n".to_owned();
    let targets =
        dashboard["panels"].as_array().expect("panels").iter().filter_map(|panel| panel["targets"].as_array());
    for (index, target) in targets.flatten().enumerate() {
        let query = Value::from(target["expr"].as_str().expect("a query").replace("$__rate_interval", "5m"));
        let _ = writeln!(rules, "      - record: query:{index}\n        expr: {query}");
    }
    promtool_takes("monitoring-queries", "check", &[("queries.yml", &rules)]);
}

#[test]
fn grafana_accepts_the_dashboard() {
    let sdk = Command::new("python3").args(["-c", "import grafana_foundation_sdk"]).output();
    if !sdk.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: Python has no grafana_foundation_sdk, so dashboards are not read by Grafana's model of them"
        );
        return;
    }
    let mut python = Command::new("python3")
        .args(["-c", include_str!("grafana.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let dashboard = text("monitoring-grafana", "dashboard", SITE, &[]);
    python.stdin.take().expect("its input").write_all(dashboard.as_bytes()).expect("taken");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success() && stdout(&output).is_empty(), "{}", stdout(&output));
}

#[test]
fn a_site_without_metrics_is_refused() {
    for command in ["alerts", "dashboard"] {
        let output = generated("monitoring-none", command, "site example.com {\n    respond 200\n}\n", &[]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = stderr(&output);
        assert!(said.contains("the site has no metrics: write `admin \"127.0.0.1:9000\" { metrics; }`"), "{said}");
    }
}
