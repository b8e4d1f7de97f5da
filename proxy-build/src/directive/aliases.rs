//! The words of other proxies, and Kiln's equivalents. People who translate a configuration write these; a guess by spelling
//! would be wrong (`return` is not `retry`, `root` not `route`).

use super::{ALL, Directive, Place};

/// A word of another proxy.
pub struct Alias {
    /// The word for comparison: in lower case, with `-` for `_`.
    pub word: &'static str,
    /// The name of the equivalent directive; empty if there is none, with the reason in `example`.
    pub ours: &'static str,
    /// A line that can replace it.
    pub example: &'static str,
    /// Whether the content of its braces can be kept.
    pub same: bool,
}

const fn alias(word: &'static str, ours: &'static str, example: &'static str) -> Alias {
    Alias { word, ours, example, same: false }
}

/// Returns an alias with the same content.
const fn same(word: &'static str, ours: &'static str, example: &'static str) -> Alias {
    Alias { word, ours, example, same: true }
}

/// Returns a word without an equivalent.
const fn none(word: &'static str, why: &'static str) -> Alias {
    Alias { word, ours: "", example: why, same: false }
}

/// Returns the alias of a word at a place. A word that is a directive elsewhere is an alias only if the table has it
/// for this place.
pub fn find(word: &str, place: Place) -> Option<&'static Alias> {
    let word = word.trim_start_matches('<').to_ascii_lowercase().replace('_', "-");
    let found = || TABLE.iter().filter(|alias| alias.word == word);
    let fits = |alias: &&Alias| super::find(alias.ours, place).is_some();
    // Prefer one that is allowed here. A directive is usually just misplaced, unless it means something else here.
    let ours_elsewhere = ALL.iter().any(|directive| directive.name == word);
    let block = |alias: &&Alias| alias.ours.is_empty() && place == Place::Root;
    found().find(fits).or_else(|| found().find(|alias| !ours_elsewhere || block(alias)))
}

/// What is said of `http` with braces at the top level, where other proxies have such a block.
pub const NO_BLOCK: &str = "there is no block around sites: write each `site` at the top level";

/// Returns the equivalent directive at a place, if there is one.
pub fn directive(alias: &Alias, place: Place) -> Option<&'static Directive> {
    super::find(alias.ours, place).or_else(|| ALL.iter().copied().find(|directive| directive.name == alias.ours))
}

const PROXY: &str = "proxy \"http://127.0.0.1:3000\"";
const FILES: &str = "files \"/var/www/site\"";
const ROUTE: &str = "route \"/api/*\" { proxy \"http://127.0.0.1:3000\"; }";
const SITE: &str = "site example.com { proxy \"http://127.0.0.1:3000\"; }";
const SPA: &str = "files \"/var/www/site\" fallback=\"/index.html\"";
const REDIRECT: &str = "redirect 301 \"https://example.com{path}\"";
const SET: &str = "response-headers { set X-Frame-Options \"DENY\"; }";
const REQUEST_SET: &str = "request-headers { set X-Client \"{client.ip}\"; }";
const PAGE: &str = "error-page 502 503 (file)\"/etc/site/error.html\"";
const UPSTREAM: &str = "upstream app { server \"10.0.0.1:8080\"; }";
const SERVER: &str = "server \"10.0.0.1:8080\"";
const TLS: &str = "tls { certificate (file)\"cert.pem\" key=(file)\"key.pem\"; }";
const CERTIFICATE: &str = "certificate (file)\"cert.pem\" key=(file)\"key.pem\"";
const LIMITS: &str = "limits body=\"10MiB\"";
const HEADERS: &str = "limits headers=\"16KiB\"";
const RATE: &str = "rate-limit \"10/s\" burst=20";
const BASIC: &str = "auth basic (file)\"/etc/site/users\"";
const FORWARD: &str = "auth forward \"http://127.0.0.1:9091/verify\"";
const TIMEOUTS: &str = "timeouts response=\"60s\"";
const CONNECT: &str = "timeouts connect=\"5s\"";
const IDLE: &str = "timeouts idle=\"60s\"";
const EXPIRES: &str = "response-headers { set Cache-Control \"max-age=3600\"; }";
const TRUSTED: &str = "trusted-proxies \"10.0.0.0/8\"";
const TRACE: &str = "trace otlp \"http://127.0.0.1:4318/v1/traces\"";
const LISTEN: &str = "listen \":8080\"";
const NO_STATE: &str = "a build has no such setting: what is to be the case is written in the site";
const NO_FASTCGI: &str = "FastCGI and its like are not spoken: what speaks HTTP is forwarded to by `proxy`";
const MATCHERS: &str = "conditions are matchers in a route, as in: route \"/*\" { header X-Beta; respond 200; }";

/// nginx, Apache, Caddy, HAProxy, Envoy and Traefik.
pub static TABLE: &[Alias] = &[
    same("location", "route", ROUTE),
    same("handle", "route", ROUTE),
    same("directory", "route", ROUTE),
    alias(
        "handle-path",
        "route",
        "route \"/api/*\" { rewrite strip-prefix=\"/api\"; proxy \"http://127.0.0.1:3000\"; }",
    ),
    alias("matcher", "route", ROUTE),
    alias("rule", "route", ROUTE),
    alias("use-backend", "route", ROUTE),
    same("server", "site", SITE),
    same("virtualhost", "site", SITE),
    same("vhost", "site", SITE),
    same("host", "site", SITE),
    same("frontend", "site", SITE),
    alias("domains", "site", SITE),
    alias("virtual-hosts", "site", SITE),
    alias("server-name", "site", SITE),
    alias("servername", "site", SITE),
    alias("serveralias", "site", SITE),
    none("events", NO_STATE),
    none("worker-connections", "connections are bounded by: limits connections=10000"),
    alias("worker-processes", "process", "process { workers 4; }"),
    alias("nbthread", "process", "process { workers 4; }"),
    none("global", NO_STATE),
    none("defaults", "what is said at the top level holds for all sites, as in: timeouts response=\"60s\""),
    alias("proxy-pass", "proxy", PROXY),
    alias("proxypass", "proxy", PROXY),
    alias("proxypassreverse", "proxy", PROXY),
    alias("grpc-pass", "proxy", PROXY),
    alias("reverse-proxy", "proxy", PROXY),
    alias("default-backend", "proxy", PROXY),
    alias("forward", "proxy", PROXY),
    alias("pass", "proxy", PROXY),
    alias("loadbalancer", "proxy", PROXY),
    none("fastcgi-pass", NO_FASTCGI),
    none("uwsgi-pass", NO_FASTCGI),
    none("scgi-pass", NO_FASTCGI),
    none("php-fastcgi", NO_FASTCGI),
    same("backend", "upstream", UPSTREAM),
    same("cluster", "upstream", UPSTREAM),
    same("pool", "upstream", UPSTREAM),
    alias("clusters", "upstream", UPSTREAM),
    alias("services", "upstream", UPSTREAM),
    alias("balancermember", "server", SERVER),
    alias("backend", "server", SERVER),
    alias("to", "server", SERVER),
    alias("endpoint", "server", SERVER),
    alias("url", "server", SERVER),
    alias("ip-hash", "balance", "balance hash key=\"{client.ip}\""),
    alias("hash", "balance", "balance hash key=\"{client.ip}\""),
    alias("least-conn", "balance", "balance least-conn"),
    alias("lb-policy", "balance", "balance least-conn"),
    alias("random", "balance", "balance random"),
    alias("keepalive", "pool", "pool max-idle=32"),
    alias("option", "health-check", "health-check \"/healthz\""),
    alias("httpchk", "health-check", "health-check \"/healthz\""),
    alias("health-uri", "health-check", "health-check \"/healthz\""),
    alias("healthcheck", "health-check", "health-check \"/healthz\""),
    alias("check", "health-check", "health-check \"/healthz\""),
    alias("root", "files", FILES),
    alias("alias", "files", FILES),
    alias("file-server", "files", FILES),
    alias("static", "files", FILES),
    alias("documentroot", "files", FILES),
    alias("try-files", "files", SPA),
    alias("index", "files", "files \"/var/www/site\" index=\"index.html\""),
    alias("directoryindex", "files", "files \"/var/www/site\" index=\"index.html\""),
    none("autoindex", "a folder without an index is listed with: files \"/srv/www\" listing=#true"),
    none("browse", "a folder without an index is listed with: files \"/srv/www\" listing=#true"),
    alias("return", "respond", "respond 404"),
    alias("status", "respond", "respond 404"),
    alias("monitor-uri", "respond", "respond 200"),
    alias("redir", "redirect", REDIRECT),
    alias("rewriterule", "rewrite", "rewrite regex=\"^/old/\" replace=\"/new/\""),
    alias("uri", "rewrite", "rewrite strip-prefix=\"/api\""),
    alias("strip-prefix", "rewrite", "rewrite strip-prefix=\"/api\""),
    alias("add-header", "response-headers", SET),
    alias("more-set-headers", "response-headers", SET),
    alias("proxy-hide-header", "response-headers", "response-headers { remove Server; }"),
    alias("header-down", "response-headers", SET),
    alias("http-response", "response-headers", SET),
    alias("headers", "response-headers", SET),
    alias("header", "response-headers", SET),
    alias("set-header", "response-headers", SET),
    same("delete", "remove", "remove Server"),
    same("unset", "remove", "remove Server"),
    same("hide", "remove", "remove Server"),
    same("append", "add", "add Vary \"Origin\""),
    none("websocket", "WebSockets pass through `proxy`; how long they may be silent says: timeouts idle=\"1h\""),
    none("websockets", "WebSockets pass through `proxy`; how long they may be silent says: timeouts idle=\"1h\""),
    alias("path", "path-regex", "path-regex \"^/api/\""),
    alias("proxy-set-header", "request-headers", REQUEST_SET),
    alias("http-request", "request-headers", REQUEST_SET),
    alias("requestheader", "request-headers", REQUEST_SET),
    alias("request-header", "request-headers", REQUEST_SET),
    alias("header-up", "request-headers", REQUEST_SET),
    alias("expires", "response-headers", EXPIRES),
    alias("cache-control", "response-headers", EXPIRES),
    alias("gzip", "compress", "compress"),
    alias("brotli", "compress", "compress"),
    alias("zstd", "compress", "compress"),
    alias("encode", "compress", "compress"),
    alias("deflate", "compress", "compress"),
    alias("compression", "compress", "compress"),
    alias("gzip-types", "compress", "compress { types \"text/html\" \"text/css\"; }"),
    alias("errorfile", "error-page", PAGE),
    alias("errordocument", "error-page", PAGE),
    alias("handle-errors", "error-page", PAGE),
    alias("access-log", "log", "log access"),
    alias("customlog", "log", "log access"),
    none("error-log", "errors are told on standard error; requests by: log access"),
    alias("client-max-body-size", "limits", LIMITS),
    alias("request-body", "limits", LIMITS),
    alias("limitrequestbody", "limits", LIMITS),
    alias("large-client-header-buffers", "limits", HEADERS),
    alias("client-header-buffer-size", "limits", HEADERS),
    alias("maxconn", "limits", "limits connections=10000"),
    alias("limit-req", "rate-limit", RATE),
    alias("ratelimit", "rate-limit", RATE),
    alias("limit-req-zone", "rate-limit", RATE),
    alias("stick-table", "rate-limit", RATE),
    alias("body-replace", "response-body", "response-body { replace \"http://old.example\" \"https://new.example\"; }"),
    same("in-flight", "concurrency-limit", "concurrency-limit 100"),
    alias("request-types", "request-content-types", "request-content-types \"application/json\""),
    alias("send", "send-headers", "send-headers Authorization Cookie"),
    alias("copy", "copy-headers", "copy-headers Remote-User"),
    alias("limit-conn", "concurrency-limit", "concurrency-limit 100"),
    alias("limit-conn-zone", "concurrency-limit", "concurrency-limit 100"),
    alias("auth-basic", "auth", BASIC),
    alias("auth-basic-user-file", "auth", BASIC),
    alias("basicauth", "auth", BASIC),
    alias("basic-auth", "auth", BASIC),
    alias("authtype", "auth", BASIC),
    alias("auth-request", "auth", FORWARD),
    alias("forward-auth", "auth", FORWARD),
    alias("require", "allow", "allow \"10.0.0.0/8\""),
    alias("proxy-read-timeout", "timeouts", TIMEOUTS),
    alias("proxy-send-timeout", "timeouts", TIMEOUTS),
    alias("proxytimeout", "timeouts", TIMEOUTS),
    alias("timeout", "timeouts", TIMEOUTS),
    alias("proxy-connect-timeout", "timeouts", CONNECT),
    alias("keepalive-timeout", "timeouts", IDLE),
    alias("send-timeout", "timeouts", IDLE),
    alias("client-body-timeout", "timeouts", "timeouts request=\"30s\""),
    alias("client-header-timeout", "timeouts", "timeouts request=\"30s\""),
    alias("proxy-next-upstream", "retry", "retry 2"),
    alias("proxy-cache", "cache", "cache"),
    alias("proxy-cache-valid", "cache", "cache { ttl default=\"5m\"; }"),
    alias("proxy-cache-path", "cache-store", "cache-store main memory=\"256MiB\""),
    alias("proxy-cache-key", "cache", "cache"),
    alias("sub-filter", "response-body", "response-body { replace \"http://old.example\" \"https://new.example\"; }"),
    alias("split-clients", "split", "split { to app weight=9; to canary weight=1; }"),
    alias("bind", "listen", LISTEN),
    alias("port", "listen", LISTEN),
    alias("address", "listen", LISTEN),
    alias("listeners", "listen", LISTEN),
    alias("entrypoints", "listen", LISTEN),
    alias("ssl-certificate", "tls", TLS),
    alias("ssl-certificate-key", "tls", TLS),
    alias("sslcertificatefile", "tls", TLS),
    alias("ssl", "tls", TLS),
    alias("https", "tls", TLS),
    alias("ssl-certificate", "certificate", CERTIFICATE),
    alias("cert", "certificate", CERTIFICATE),
    alias("ssl-protocols", "min-version", "min-version \"1.3\""),
    alias("protocols", "min-version", "min-version \"1.3\""),
    none(
        "ssl-ciphers",
        "cipher suites are those of TLS 1.3 and the strong ones of TLS 1.2; the version is said in `tls` by: \
         min-version \"1.3\"",
    ),
    none(
        "ciphers",
        "cipher suites are those of TLS 1.3 and the strong ones of TLS 1.2; the version is said in `tls` by: \
         min-version \"1.3\"",
    ),
    none("ssl-session-cache", "sessions resume by tickets, which `tls` says by: session-tickets rotate=\"1h\""),
    alias("email", "acme", "acme state=\"/var/lib/site\" email=\"you@example.com\""),
    alias("acme-ca", "acme", "acme state=\"/var/lib/site\" email=\"you@example.com\""),
    alias("letsencrypt", "acme", "acme state=\"/var/lib/site\" email=\"you@example.com\""),
    alias("set-real-ip-from", "trusted-proxies", TRUSTED),
    alias("real-ip-header", "trusted-proxies", "trusted-proxies \"10.0.0.0/8\" header=X-Real-IP"),
    alias("remoteipinternalproxy", "trusted-proxies", TRUSTED),
    alias("resolver", "discover", "discover dns \"app.internal:8080\""),
    none("import", "other files are taken in at the top level, by: include \"sites/*.kdl\""),
    alias("snippet", "preset", "preset common { compress; }"),
    alias("middleware", "preset", "preset common { compress; }"),
    alias("middlewares", "use", "use common"),
    alias("set", "param", "param name type=string default=\"value\""),
    alias("env", "param", "param name type=string default=\"value\""),
    alias("var", "param", "param name type=string default=\"value\""),
    alias("vars", "param", "param name type=string default=\"value\""),
    none("if", MATCHERS),
    none("acl", MATCHERS),
    none("map", MATCHERS),
    none("geo", MATCHERS),
    none("satisfy", "all that is said about access holds"),
    none("proxy-http-version", "HTTP/1.1 is spoken to servers, and HTTP/2 where their `upstream` has: http h2"),
    none("proxy-buffering", "responses are streamed"),
    none("proxy-request-buffering", "request bodies are streamed"),
    none("proxy-redirect", "a `Location` is changed by: response-headers { replace Location \"^http:\" \"https:\"; }"),
    none(
        "proxy-ssl-verify",
        "the certificates of servers are verified; which authorities may sign them says `tls` in an `upstream`",
    ),
    none(
        "stub-status",
        "there is no endpoint for metrics yet; what caches hold and do is at: admin \"127.0.0.1:9000\"",
    ),
    none("metrics", "there is no endpoint for metrics yet; what caches hold and do is at: admin \"127.0.0.1:9000\""),
    none("stats", "there is no endpoint for metrics yet; what caches hold and do is at: admin \"127.0.0.1:9000\""),
    alias("tracing", "trace", TRACE),
    alias("otel-exporter", "trace", TRACE),
    alias("opentelemetry", "trace", TRACE),
    alias("zipkin", "trace", TRACE),
    none("internal", "what only the proxy may ask for is not in a site"),
    none("order", "routes go by what they match, whatever their order in the file"),
    none("templates", NO_STATE),
    none("lua", "code of one's own is in a function that `filter` names"),
    none("plugin", "code of one's own is in a function that `filter` names"),
    none("mode", "connections that are not HTTP go through a `stream`"),
];
