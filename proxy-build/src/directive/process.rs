//! `process`: settings of the process.

use super::{Directive, Place, Prop};
use crate::ast::{ProcessLine, Setting, Takeover, Top, What};
use crate::syntax::Scalar;
use crate::value;

pub(super) static PROCESS: Directive = Directive {
    name: "process",
    places: &[Place::Root],
    args: "",
    props: &[],
    body: Some(Place::Process),
    repeats: false,
    summary: "Configures the process: workers, shutdown, privileges.",
    details: "",
    example: r#"
process {
    workers 2
    drain timeout="10s"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Top(Top::Process(r.body()))),
};

pub(super) static WORKERS: Directive = Directive {
    name: "workers",
    places: &[Place::Process],
    args: "auto|N",
    props: &[],
    body: None,
    repeats: false,
    summary: "Sets the number of worker threads.",
    details: "Each has its own event loop, listening sockets and connections to upstreams. `auto` (default): one for each core that this\nprocess may run on. At most 1024.",
    example: r#"
process {
    workers auto
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        if r.peek().is_some_and(|leaf| leaf.value == Scalar::Text("auto".to_owned()) && leaf.ty.is_none()) {
            r.arg("a number", value::text)?;
            return Some(What::Workers(None));
        }
        Some(What::Workers(Some(r.arg("`auto` or a number", value::number(1, 1024))?)))
    },
};

pub(super) static DRAIN: Directive = Directive {
    name: "drain",
    places: &[Place::Process],
    args: "",
    props: &[Prop::new(
        "timeout",
        "DURATION",
        "How long the process may take to end after SIGTERM. Default `\"30s\"`.",
    )],
    body: None,
    repeats: false,
    summary: "Configures the graceful shutdown.",
    details: "On SIGTERM or SIGINT it stops accepting, finishes what runs, and exits with 0, all within `timeout`. Running exchanges\nand tunnels have all of that time but its last fifth, or its last three seconds; then they are cut off, and what is pending is written: responses to disk, spans, and lines of logs.\nA second signal ends the process at once.\n\nThe client of a WebSocket gets a Close frame with the status 1001 (RFC 6455 section 7.4.1) once three quarters to nine tenths of that time are over,\nat a moment of its own, so that not all clients connect again at once.",
    example: r#"
process {
    drain timeout="5s"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::Drain(r.required("timeout", value::setting(value::duration))?)),
};

pub(super) static MEMORY_LIMIT: Directive = Directive {
    name: "memory-limit",
    places: &[Place::Process],
    args: "auto|off|SIZE",
    props: &[],
    body: None,
    repeats: false,
    summary: "Refuses requests while the process uses more memory than this.",
    details: "\
The size is that of the resident memory, which the process measures four times a second. While it is larger, memory that is free is returned to the
system, and new requests get 503 with `Retry-After` and the reason `memory-limit`, instead of the kernel ending the process with all of its requests;
new connections of a `stream` are closed. What is in progress goes on. Once the size has fallen below nineteen twentieths of the limit, requests are accepted again.

`auto` (default): nine tenths of what the control group of the process allows (`memory.max` of version 2, as containers and systemd's MemoryMax= set
it), or no limit if there is none. `off`: no limit. Caches ([`cache-store`](#cache-store)), [`limits memory`](#limits) and the number of connections have limits of
their own, whose sum belongs below this one: a notice at start says if it is not.",
    example: r#"
process {
    memory-limit "512MiB"
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let word = r.peek().and_then(|leaf| match (&leaf.value, &leaf.ty) {
            (Scalar::Text(word), None) => Some(word.clone()),
            _ => None,
        });
        if word.as_deref() == Some("auto") {
            r.arg("a SIZE", value::text)?;
            return Some(What::MemoryLimit(None));
        }
        if word.as_deref() == Some("off") {
            let off = r.arg("a SIZE", value::text)?;
            return Some(What::MemoryLimit(Some(off.map(|_| Setting::Fixed(u64::MAX)))));
        }
        Some(What::MemoryLimit(Some(r.arg("`auto`, `off` or a SIZE", value::size_within(16 << 20, value::MAX_MEMORY))?)))
    },
};

pub(super) static USER: Directive = Directive {
    name: "user",
    places: &[Place::Process],
    args: "NAME",
    props: &[],
    body: None,
    repeats: false,
    summary: "The user that the process becomes once its sockets are open.",
    details: "\
By name or number. Ports below 1024 can be listened on and private keys read that only root may, and nothing that a client can reach
runs as root: all capabilities are given up as well, and `no_new_privs` is set. The process gets the user's own group (or [`group`](#group)) and all
groups that list it as a member in /etc/group.

Files that the site names are opened once more as this user. One that can't be opened stops the start, as it couldn't be read again on
SIGHUP or when it changes. Folders of caches and of `acme` are made and written by this user. A process that is started as another user than root can't
become `user`, and ends with an error; one that has been started as this user goes on.",
    example: EXAMPLE,
    read: |r| Some(What::line(ProcessLine::User(r.arg("a NAME", value::socket::account)?))),
};

pub(super) static GROUP: Directive = Directive {
    name: "group",
    places: &[Place::Process],
    args: "NAME",
    props: &[],
    body: None,
    repeats: false,
    summary: "The group that the process gets along with `user`.",
    details: "By name or number. Default: the user's own group in /etc/passwd.",
    example: EXAMPLE,
    read: |r| Some(What::line(ProcessLine::Group(r.arg("a NAME", value::socket::account)?))),
};

pub(super) static CAPABILITIES: Directive = Directive {
    name: "capabilities",
    places: &[Place::Process],
    args: "none",
    props: &[],
    body: None,
    repeats: false,
    summary: "Gives up all capabilities once the sockets are open.",
    details: "\
For processes that a service manager starts as an ordinary user with CAP_NET_BIND_SERVICE: once the sockets are open, they need it no more. With
[`user`](#user), capabilities are always given up.",
    example: r#"
process {
    capabilities none
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        r.arg("`none`", value::one_of(&["none"]))?;
        Some(What::line(ProcessLine::NoCapabilities))
    },
};

pub(super) static SANDBOX: Directive = Directive {
    name: "sandbox",
    places: &[Place::Process],
    args: "off|best-effort|required",
    props: &[],
    body: None,
    repeats: false,
    summary: "Limits what the process can do to what the site needs.",
    details: "\
The compiler knows which folders the site reads and writes, and which ports it connects to. Once its sockets are open, the process gives up all else: by
Landlock (landlock(7)), reading other files, writing elsewhere, running programs, listening on other ports and connecting to other ports by TCP; by a
filter (seccomp(2)), the system calls that it has no use for, which fail as if the kernel didn't have them. `--check` prints what is allowed.

`best-effort` (default) holds what the kernel can hold, and tells at start what it can't. `required` ends the start then. `off` is for sites
whose own functions (`filter`, `handler`) need more.

- Files and folders that the site names can be read along with what else is in the folder that they are in, and links are followed to the folders of their targets: a new version
  may take the place of either.
- A folder must be there at start to be usable later: a notice names those that are not.
- Calls that change files and folders are left only to sites that write some; the sockets that C libraries list addresses by, only to sites that resolve names.
- The certificates of the machine's authorities are read once, at start. If they change, start the proxy again.
- The system's resolver reads its files in /etc, which other services replace, and loads modules from the folders of libraries: sites with names of servers can read these folders.
- With `discover` from a file or by SRV records, the ports are not known, so connections may go anywhere. UDP is not limited.
- With a `dns exec` of `acme` there is no sandbox, as nobody knows what its program needs; `required` is an error then.",
    example: r#"
process {
    sandbox required
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| Some(What::line(ProcessLine::Sandbox(r.arg("`off`, `best-effort` or `required`", value::word(SANDBOXES))?.value))),
};

pub(super) static TAKEOVER: Directive = Directive {
    name: "takeover",
    places: &[Place::Process],
    args: "PATH",
    props: &[
        Prop::new(
            "canary",
            "DURATION",
            "How long the new process serves before the old one ends; at most an hour. Default `\"10s\"`.",
        ),
        Prop::new(
            "max-error-percent",
            "N",
            "The share of responses with 5xx above which the new process gives the sockets back, in percent. Default 5.",
        ),
    ],
    body: None,
    repeats: false,
    summary: "Replaces the binary without losing a connection: `PROXY --upgrade` takes over from the running process.",
    details: "\
The running process listens on the unix socket PATH, which only its user and root can open. A new binary that is started with `--upgrade` and the same flags

1. runs the site's tests, and reads parameters, files and certificates as at every start;
2. receives all listening sockets of the running process, those of `admin` and unix sockets included, the keys of session tickets, and the state of rate limits. It binds only addresses
   that are new. Connections that wait to be accepted stay where they are;
3. starts its workers. The old process stops accepting, but keeps its sockets, and goes on with the connections that it has;
4. counts its responses for the time of `canary`. One with a status of 5xx counts as an error, whoever made it, and so does one that breaks off because a server failed. With more than
   `max-error-percent` errors, and at least five, it rolls back at once.

Then the old process drains as after SIGTERM, and ends with 0. A rollback is the reverse: the old process accepts again at once, and the new one drains, says why, and ends with 3. If the new
process crashes, is killed or hangs before it has decided, the old one accepts again by itself. A new binary that fails before step 3 ends with 1, and the old process never stops accepting.

The new process is started by an operator, a service manager or a script, because the sandbox forbids the old one to run programs. Where no process is running, `--upgrade` starts as without it; if one listens on an address of the sites but not on PATH, the start fails.
A build that crashes in its canary, or once it was replaced, is refused at its next takeover (exit code 3), so that a service manager that starts it again does not bring it back; the start after that takes over.
The folder of PATH must exist, and only users that are trusted may write to it. Counters of metrics and of `concurrency-limit`, and caches in memory, begin at zero in a new process. A `rate-limit` goes on, for up to 262,144
clients that are ahead of their rate, if the new site has the same number of limits with the same settings.",
    example: r#"
process {
    takeover "/run/proxy/takeover.sock" canary="30s" max-error-percent=1
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#,
    read: |r| {
        let path = r.arg("a PATH", value::setting(value::text));
        let canary = r.prop("canary", value::setting(value::duration));
        let max_error_percent = r.prop("max-error-percent", value::integer(0, 100));
        Some(What::line(ProcessLine::Takeover(Takeover { path: path?, canary, max_error_percent })))
    },
};

const SANDBOXES: &[(&str, Option<bool>)] = &[("off", None), ("best-effort", Some(false)), ("required", Some(true))];

const EXAMPLE: &str = r#"
process {
    user www-data
    group www-data
}
site example.com {
    proxy "http://127.0.0.1:3000"
}
"#;
