//! Cases over real sockets: each folder of `cases/` contains a site and a script of requests with the expected
//! responses.
//!
//! A script is lines of:
//!
//! ```text
//! # a comment
//! write NAME TEXT            writes a file into the case's folder ({dir} in flags); \n is a line end
//! flag NAME VALUE            a parameter of the proxy; it starts with the first request
//! ask [@PARAM] METHOD TARGET a request, to the address of PARAM (default `listen`)
//!     Name: value            its header fields; a Host of its own replaces `Host: site.test`
//!     | text                 its body
//! = 200                      the status; `= closed` for no response at all
//! = Name: value              a header field of the response
//! ! Name                     a field that must not be there
//! ~ text                     is in the response's body
//! !~ text                    is not
//! log text                   is in a line of the access log
//! notice text                is in a line on standard error
//! signal NAME                is sent to the proxy
//! ```
//!
//! `{dir}`, `{listen}` and so on are replaced by the folder and the addresses.

use std::collections::HashMap;
use std::path::PathBuf;

use kiln_tests::client::{Answer, Client};
use kiln_tests::kiln::{scratch, workspace};
use kiln_tests::proxy::{Proxy, build};

macro_rules! cases {
    ($($test:ident $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                run($name);
            }
        )*
        const CASES: &[&str] = &[$($name),*];
    };
}

cases! {
    balance "balance",
    block "block",
    response_body "response-body",
    access "access",
    error_pages "error-pages",
    expressions "expressions",
    files "files",
    forwarding "forwarding",
    handlers "handlers",
    headers "headers",
    limits "limits",
    logs "logs",
    matchers "matchers",
    presets "presets",
    retries "retries",
    rewrite "rewrite",
    routing "routing",
    table "table",
    traffic "traffic",
    trusted "trusted",
    unix "unix",
    upstreams "upstreams",
}

#[test]
fn every_folder_is_a_case() {
    let folders = std::fs::read_dir(workspace().join("tests/cases")).expect("the folder");
    for entry in folders {
        let name = entry.expect("an entry").file_name().into_string().expect("text");
        assert!(CASES.contains(&name.as_str()), "cases/{name} is not run");
    }
}

fn run(name: &str) {
    let folder = workspace().join("tests/cases").join(name);
    let script = std::fs::read_to_string(folder.join("script")).expect("a script");
    let mut case = Case {
        site: folder.join("site.kdl"),
        dir: scratch(&format!("case-{name}")),
        flags: HashMap::new(),
        proxy: None,
        asked: None,
        answer: None,
    };
    for (number, line) in script.lines().enumerate() {
        let outcome = case.line(line);
        if let Err(reason) = outcome {
            panic!("cases/{name}/script:{}: {line}\n{reason}", number + 1);
        }
    }
    case.expect_answered().expect("the last request has an answer");
}

struct Case {
    site: PathBuf,
    dir: PathBuf,
    flags: HashMap<String, String>,
    proxy: Option<Proxy>,
    asked: Option<Ask>,
    /// `None` inside: the connection was closed.
    answer: Option<Option<Answer>>,
}

#[derive(Debug)]
struct Ask {
    param: String,
    method: String,
    target: String,
    headers: Vec<String>,
    body: Option<String>,
}

impl Case {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let line = self.fill(line);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if line.starts_with("    ") {
            let ask = self.asked.as_mut().ok_or("a field of no request")?;
            match line.trim().strip_prefix("| ") {
                Some(body) => ask.body = Some(body.to_owned()),
                None => ask.headers.push(line.trim().to_owned()),
            }
            return Ok(());
        }
        match word {
            "" | "#" => {}
            "write" => {
                let (name, text) = rest.split_once(' ').ok_or("a name and a text")?;
                std::fs::write(self.dir.join(name), text.replace("\\n", "\n")).map_err(|error| error.to_string())?;
            }
            "flag" => {
                let (name, value) = rest.split_once(' ').ok_or("a name and a value")?;
                self.flags.insert(name.to_owned(), value.to_owned());
            }
            "ask" => {
                self.asked = Some(ask(rest)?);
                self.answer = None;
            }
            "log" => drop(self.proxy().log(rest)),
            "notice" => drop(self.proxy().notice(rest)),
            "signal" => self.proxy().signal(rest),
            "=" | "!" | "~" | "!~" => self.expect(word, rest)?,
            _ => return Err("no such line".to_owned()),
        }
        Ok(())
    }

    fn fill(&self, line: &str) -> String {
        let mut line = line.replace("{dir}", &self.dir.display().to_string());
        if let Some(proxy) = &self.proxy {
            for name in ["listen", "other", "one", "two", "three"] {
                if line.contains(&format!("{{{name}}}")) {
                    line = line.replace(&format!("{{{name}}}"), proxy.address(name));
                }
            }
        }
        line
    }

    fn proxy(&mut self) -> &Proxy {
        let (site, flags) = (&self.site, &self.flags);
        self.proxy.get_or_insert_with(|| {
            let flags: Vec<_> = flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let text = std::fs::read_to_string(site).expect("the site");
            Proxy::start(&build(site), &text, &flags)
        })
    }

    fn expect(&mut self, kind: &str, expected: &str) -> Result<(), String> {
        if self.answer.is_none() {
            let ask = self.asked.take().ok_or("nothing was asked")?;
            let address = self.proxy().address(&ask.param).to_owned();
            self.answer = Some(send(&address, &ask));
        }
        let Some(Some(answer)) = &self.answer else {
            return if expected == "closed" { Ok(()) } else { Err("closed without an answer".to_owned()) };
        };
        let holds = match kind {
            "=" if expected.len() == 3 && expected.bytes().all(|byte| byte.is_ascii_digit()) => {
                answer.status.to_string() == expected
            }
            "=" => {
                let (name, value) = expected.split_once(':').ok_or("a status or a field")?;
                let name = name.to_ascii_lowercase();
                answer.headers.iter().any(|(found, text)| *found == name && text == value.trim())
            }
            "!" => answer.header(&expected.to_ascii_lowercase()).is_none(),
            "~" => answer.text().contains(expected),
            _ => !answer.text().contains(expected),
        };
        if holds {
            Ok(())
        } else {
            Err(format!("the answer is {} {:#?}\n{}", answer.status, answer.headers, answer.text()))
        }
    }

    fn expect_answered(&self) -> Result<(), String> {
        match &self.asked {
            Some(ask) => Err(format!("nothing is expected of {ask:?}")),
            None => Ok(()),
        }
    }
}

fn ask(line: &str) -> Result<Ask, String> {
    let (param, rest) = match line.strip_prefix('@') {
        Some(rest) => rest.split_once(' ').ok_or("a method and a target")?,
        None => ("listen", line),
    };
    let (method, target) = rest.split_once(' ').ok_or("a method and a target")?;
    Ok(Ask {
        param: param.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: None,
    })
}

fn send(address: &str, ask: &Ask) -> Option<Answer> {
    let mut request = format!("{} {} HTTP/1.1\r\n", ask.method, ask.target);
    let named = |name: &str| ask.headers.iter().any(|header| header.to_ascii_lowercase().starts_with(name));
    if !named("host:") {
        request += "Host: site.test\r\n";
    }
    for header in &ask.headers {
        request += &format!("{header}\r\n");
    }
    if let Some(body) = &ask.body {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    if !named("connection:") {
        request += "Connection: close\r\n";
    }
    request += "\r\n";
    request += ask.body.as_deref().unwrap_or_default();
    let mut client = Client::to(address);
    client.send(&request);
    let answer = client.try_answer_to(&ask.method)?;
    client.end(&answer);
    Some(answer)
}
