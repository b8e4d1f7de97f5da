//! What a site needs of the system that it runs on ([`Footprint`]). Values of parameters are their defaults; what only the start will know is listed.

mod probe;

use std::time::Duration;

use proxy_runtime::context::settings::{self, Address, ParamValue, is_loopback, variable};
use proxy_runtime::site::{DnsUpdate, FilePath, Listener, Param, Place, Setting, SocketFile, Takeover, Text};

pub use self::probe::HealthProbe;
use super::folders;
use crate::model::Site;
use crate::sandbox;

/// What a site needs.
#[derive(Debug)]
pub struct Footprint<'a> {
    site: &'a Site,
    /// The TCP ports that it listens on.
    pub endpoints: Vec<Endpoint>,
    /// The unix sockets that it makes.
    pub sockets: Vec<SocketPath>,
    /// The folders that it serves files from.
    pub folders: Vec<String>,
    /// The files that it reads, and reads again.
    pub files: Vec<String>,
    /// The folders that it writes to, apart from those of its sockets and logs.
    pub written: Vec<String>,
    /// The files of its logs.
    pub logs: Vec<String>,
    /// The unix sockets of its upstreams.
    pub connected: Vec<String>,
    /// The programs that it runs.
    pub programs: Vec<String>,
    /// The folder of `acme`, whose content must survive.
    pub state: Option<String>,
    /// Whether it verifies servers by the system's certificate authorities.
    pub verifies: bool,
    /// Whether it resolves names of servers.
    pub resolves: bool,
}

/// A TCP port that a site listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether only the machine itself can connect.
    pub local: bool,
    /// The port.
    pub port: u16,
    /// Whether connections use TLS.
    pub tls: bool,
    /// Whether it has HTTP/3, by UDP.
    pub http3: bool,
    /// Whether it is the endpoint for operators.
    pub admin: bool,
    /// The index of its listener.
    listener: usize,
}

/// A unix socket that a site makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPath {
    /// Its path.
    pub path: String,
    /// Its permissions.
    pub file: SocketFile,
}

impl<'a> Footprint<'a> {
    /// Returns what a site needs.
    pub fn of(site: &'a Site) -> Footprint<'a> {
        let needs = sandbox::needs(site, sandbox::empty(false, Place { file: "".into(), line: 0 }));
        let known = |paths: &[Setting<Text>]| -> Vec<String> {
            paths.iter().filter_map(|path| text(site, path)).map(str::to_owned).collect()
        };
        let mut files = known(&needs.read_files);
        files.extend(site.files.iter().filter_map(|file| match &file.path {
            FilePath::Fixed(path) => Some(path.to_string()),
            FilePath::Param(index) => site.params.get(usize::from(*index))?.default.as_deref().map(str::to_owned),
        }));
        let (mut written, mut logs) = (known(&needs.write), known(&needs.write_files));
        let mut folders = known(&needs.read);
        for paths in [&mut files, &mut written, &mut logs, &mut folders] {
            paths.sort();
            paths.dedup();
        }
        let (mut endpoints, mut sockets) = (Vec::new(), Vec::new());
        for (index, listener) in site.listeners.iter().enumerate() {
            match text(site, &listener.address).and_then(|address| settings::address(address).ok()) {
                Some(Address::Tcp(host, port)) => endpoints.push(endpoint(listener, index, host, port)),
                Some(Address::Unix(path)) => {
                    sockets.push(SocketPath { path: path.to_owned(), file: listener.file.clone() });
                }
                None => {}
            }
        }
        if let Some(path) = site.process.takeover.as_ref().and_then(|takeover| text(site, &takeover.path)) {
            let file = SocketFile { mode: Some(0o600), user: None, group: None };
            sockets.push(SocketPath { path: path.to_owned(), file });
        }
        let servers = site.upstreams.iter().flat_map(|upstream| upstream.servers.iter());
        let connected = servers.filter_map(|server| match settings::address(text(site, &server.address)?) {
            Ok(Address::Unix(path)) => Some(path.to_owned()),
            _ => None,
        });
        let providers = site.acme.iter().flat_map(|acme| acme.dns.iter());
        let programs = providers.filter_map(|provider| match &provider.update {
            DnsUpdate::Exec(words) => Some(words.first()?.to_string()),
            _ => None,
        });
        Footprint {
            site,
            connected: connected.collect(),
            programs: programs.collect(),
            endpoints,
            sockets,
            folders,
            files,
            written,
            logs,
            state: site.acme.as_ref().and_then(|acme| text(site, &acme.state)).map(str::to_owned),
            verifies: needs.verifies,
            resolves: needs.resolves,
        }
    }

    /// Returns the endpoints that other machines can connect to.
    pub fn reachable(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| !endpoint.local)
    }

    /// Returns those for clients.
    pub fn public(&self) -> impl Iterator<Item = &Endpoint> {
        self.reachable().filter(|endpoint| !endpoint.admin)
    }

    /// Returns whether a port needs a privilege.
    pub fn privileged_ports(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.port < 1024)
    }

    /// Returns the parameters of the site.
    pub fn params(&self) -> &'a [Param] {
        &self.site.params
    }

    /// Returns the parameters that must be given at start, by their variables.
    pub fn required(&self) -> impl Iterator<Item = (String, &'a Param)> {
        let required = self.site.params.iter().filter(|param| param.default.is_none());
        required.map(|param| (variable(&param.name), param))
    }

    /// Returns how long the process may take to end.
    pub fn drain(&self) -> Duration {
        let default = crate::model::DRAIN;
        match self.site.process.drain {
            Setting::Fixed(drain) => drain,
            Setting::Param(index) => match default_of(self.site, index) {
                Some(ParamValue::Duration(drain)) => drain,
                _ => default,
            },
        }
    }

    /// Returns how long a new process serves before the running one ends, if it takes over from it.
    pub fn canary(&self) -> Option<Duration> {
        let takeover = self.site.process.takeover.as_ref()?;
        Some(match takeover.canary {
            Setting::Fixed(canary) => canary,
            Setting::Param(index) => match default_of(self.site, index) {
                Some(ParamValue::Duration(canary)) => canary,
                _ => Takeover::LONGEST_CANARY,
            },
        })
    }

    /// Returns the bytes of memory that the site lets caches and clients use.
    pub fn memory(&self) -> u64 {
        let stores = self.site.stores.iter().map(|store| self.number(store.memory)).fold(0, u64::saturating_add);
        stores.saturating_add(self.number(self.site.root.limits.memory))
    }

    /// Returns the number of client connections.
    pub fn connections(&self) -> u64 {
        self.number(self.site.root.limits.connections)
    }

    fn number(&self, setting: Setting<u64>) -> u64 {
        match setting {
            Setting::Fixed(number) => number,
            Setting::Param(index) => match default_of(self.site, index) {
                Some(ParamValue::Number(number)) => number,
                _ => 0,
            },
        }
    }

    /// Returns the user and the group that the site names.
    pub fn account(&self) -> (Option<&'a str>, Option<&'a str>) {
        let privileges = self.site.process.privileges.as_ref();
        let user = privileges.and_then(|privileges| privileges.user.as_deref());
        (user, privileges.and_then(|privileges| privileges.group.as_deref()))
    }

    /// Returns the user and the group of the process in an image: those of the site if they are numbers, else some that no system
    /// uses.
    ///
    /// # Errors
    /// The site wants to be root.
    pub fn ids(&self) -> Result<(u32, u32), String> {
        const NOBODY: u32 = 65532;
        let (user, group) = self.account();
        let number = |name: Option<&str>| match name? {
            "root" => Some(0),
            name => name.parse::<u32>().ok(),
        };
        let user = number(user).unwrap_or(NOBODY);
        if user == 0 {
            return Err("an image is never run as root: name another `user` in `process`".to_owned());
        }
        Ok((user, number(group).unwrap_or(user)))
    }

    /// Returns whether the proxy gives up capabilities by itself, once its sockets are open.
    pub fn drops_capabilities(&self) -> bool {
        self.site.process.privileges.is_some()
    }

    /// Returns all folders that the process writes to, also for sockets and logs.
    ///
    /// # Errors
    /// Other programs use one of them, or its path has control characters.
    pub fn writable(&self) -> Result<Vec<String>, String> {
        let sockets = self.sockets.iter().map(|socket| folders::of_file(&socket.path, "/run/proxy"));
        let logs = self.logs.iter().map(|file| folders::of_file(file, "/var/log/proxy"));
        let written = self.written.iter().map(|folder| {
            let is_state = self.state.as_ref() == Some(folder);
            folders::of_its_own(folder, if is_state { "/var/lib/proxy" } else { "/var/cache/proxy" })
        });
        let all: Vec<Option<String>> = sockets.chain(logs).chain(written).collect::<Result<_, _>>()?;
        let mut all: Vec<String> = all.into_iter().flatten().collect();
        all.sort();
        all.dedup();
        Ok(all)
    }
}

fn endpoint(listener: &Listener, index: usize, host: &str, port: u16) -> Endpoint {
    // A stream's own connections are encrypted from end to end.
    let tls = listener.speaks.tls;
    let (http3, admin) = (listener.speaks.http3, listener.speaks.admin);
    Endpoint { local: is_loopback(host), port, tls, http3, admin, listener: index }
}

/// Returns a value that is known at build, or by a parameter's default.
fn text<'a>(site: &'a Site, setting: &'a Setting<Text>) -> Option<&'a str> {
    match setting {
        Setting::Fixed(text) => Some(text),
        Setting::Param(index) => site.params.get(usize::from(*index))?.default.as_deref(),
    }
}

fn default_of(site: &Site, index: u16) -> Option<ParamValue> {
    let param = site.params.get(usize::from(index))?;
    param.kind.parse(param.default.as_deref()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    pub(super) fn check(text: &str, expected: impl Fn(&Footprint<'_>)) {
        let compiled = crate::compile_text("site.kdl".as_ref(), "site.kdl", text);
        let site = compiled.model.as_ref().unwrap_or_else(|| panic!("{}", compiled.diagnostics(false)));
        expected(&Footprint::of(site));
    }

    #[test]
    fn ports_and_paths() {
        check(
            "param at type=addr default=\":80\"\nparam root type=string default=\"/srv/www\"\nadmin \"unix:/run/shop/admin.sock\"\n\
             acme email=\"a@a.test\" state=\"/var/lib/shop/acme\"\ncache-store main memory=\"64MiB\" {\n disk \"/var/cache/shop\" size=\"1GiB\"\n}\n\
             listen (param)at\nlisten \":443\" {\n tls\n}\nlog access {\n to file \"/var/log/shop/access.log\"\n}\n\
             site a.example.com {\n tls acme\n auth api-key (file)\"/etc/shop/keys\"\n route \"/f/*\" {\n files (param)root\n }\n\
             route \"/*\" {\n cache main\n proxy \"https://b.test\"\n }\n}",
            |footprint| {
                let ports: Vec<_> = footprint.public().map(|endpoint| (endpoint.port, endpoint.tls)).collect();
                assert_eq!(ports, [(80, false), (443, true)]);
                assert_eq!(footprint.folders, ["/srv/www"]);
                assert_eq!(footprint.files, ["/etc/shop/keys"]);
                assert_eq!(footprint.written, ["/var/cache/shop", "/var/lib/shop/acme"]);
                assert_eq!(footprint.logs, ["/var/log/shop/access.log"]);
                let all = ["/run/shop", "/var/cache/shop", "/var/lib/shop/acme", "/var/log/shop"];
                assert_eq!(footprint.writable().as_deref(), Ok(&all.map(str::to_owned)[..]));
                assert!(footprint.privileged_ports() && footprint.verifies && footprint.resolves);
                assert_eq!(footprint.memory(), (64 << 20) + (10 << 20));
                assert_eq!(footprint.state.as_deref(), Some("/var/lib/shop/acme"));
            },
        );
    }

    #[test]
    fn users_in_images() {
        let ids = |process: &str, expected: Result<(u32, u32), &str>| {
            check(&format!("process {{\n {process}\n}}\nsite * {{\n respond 200\n}}"), |footprint| {
                assert_eq!(footprint.ids(), expected.map_err(str::to_owned), "{process}");
            });
        };
        let root = Err("an image is never run as root: name another `user` in `process`");
        ids("user shop", Ok((65532, 65532)));
        ids("user \"1000\"", Ok((1000, 1000)));
        ids("user \"1000\"; group \"50\"", Ok((1000, 50)));
        ids("user shop; group root", Ok((65532, 0)));
        ids("user root", root);
        ids("user \"0\"", root);
        ids("user root; group shop", root);
    }

    /// What a folder of the system would be made of, by whatever it is written for.
    #[test]
    fn folders_of_others() {
        let site = "site * {\n respond 200\n}";
        let refused = |top: &str, expected: &str| {
            let site = if top.contains("site ") { "" } else { site };
            check(&format!("{top}\n{site}"), |footprint| {
                assert_eq!(footprint.writable().err().as_deref(), Some(expected), "{top}");
            });
        };
        let of_others = |file: &str, example: &str, folder: &str| {
            format!("{file} needs a folder of its own, as in {example}: `{folder}` is used by other programs")
        };
        for top in ["admin \"unix:/run/site.sock\"", "listen \"unix:/run/site.sock\""] {
            refused(top, &of_others("/run/site.sock", "/run/proxy/site.sock", "/run"));
        }
        refused(
            "process {\n takeover \"/tmp/takeover.sock\"\n}",
            &of_others("/tmp/takeover.sock", "/run/proxy/takeover.sock", "/tmp"),
        );
        refused(
            "param log type=string default=\"/var/log/access.log\"\nlog access {\n to file (param)log\n}",
            &of_others("/var/log/access.log", "/var/log/proxy/access.log", "/var/log"),
        );
        refused(
            "log errors {\n to file \"/home/web/errors.log\"\n}",
            &of_others("/home/web/errors.log", "/var/log/proxy/errors.log", "/home/web"),
        );
        refused(
            "cache-store main memory=\"1MiB\" {\n disk \"/var/cache\" size=\"1GiB\"\n}\nsite * {\n cache main\n proxy \"http://127.0.0.1:1\"\n}",
            "the proxy needs a folder of its own, as /var/cache/proxy: `/var/cache` is used by other programs",
        );
        refused(
            "acme email=\"a@a.test\" state=\"/var/lib\"\nsite a.example.com {\n tls acme\n respond 200\n}",
            "the proxy needs a folder of its own, as /var/lib/proxy: `/var/lib` is used by other programs",
        );
        for file in ["/dev/stdout", "/dev/stderr", "/dev/null"] {
            check(&format!("log access {{\n to file \"{file}\"\n}}\n{site}"), |footprint| {
                assert_eq!(footprint.writable(), Ok(Vec::new()), "{file}");
            });
        }
    }
}
