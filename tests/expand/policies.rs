#[allow(unused_imports)]
use ::proxy_runtime::{
    context::facts::Facts, protocol::fields::Fields, filter, filter::Function,
    filter::Functions, filter::HeaderOp, filter::Outgoing, filter::PathStep,
    filter::Rewrite, context::matcher, router::regex::Capturing, router::regex::Joint,
    router::regex::Regex, router::route::Captures, router::route::Tables, site, site::*,
    router::table::Aligned, router::table::Table, router::table::Words,
    context::template::Piece, context::template::Template, context::view::RequestView,
};
#[allow(unused_imports)]
use ::std::{
    borrow::Cow::Borrowed, net::IpAddr, net::Ipv4Addr, net::Ipv6Addr,
    option::Option::None, option::Option::Some, time::Duration,
};
const _: () = ::std::assert!(
    ::proxy_runtime::site::VERSION == 26,
    "proxy-build and proxy-runtime are of different versions"
);
/// `^2`
static REGEX_0: Regex = Regex::new(
    b"rust-regex-automata-dfa-sparse\0\0\xFF\xFE\0\0\x02\0\0\0\0\0\0\0\x06\0\0\0\x05\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02A\0\0\0\x01\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x01\x80\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01\x01\0\x002\0\0\0\0\0\0\0\0\x02\0\0\x02\0\0\x12\0\0\0\x12\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\0\0\0\0\0\0\0\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\0\0\0\0\x01\0\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0\0\0\0\0#\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x12\0\0\0\t\0\0\0\x12\0\0\0\x12\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
);
/// policies.kdl:6 `/users/{id}/*`
#[allow(unused_variables)]
fn matches_0(view: &RequestView<'_>, captures: &mut Captures) -> bool {
    static NETWORKS_0: &[IpNet] = &[
        IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    ];
    matcher::header_matches(view, "x-version", &REGEX_0)
        && !(matcher::client_ip(view, NETWORKS_0))
}
/// policies.kdl:6 `/users/{id}/*`
fn request_0(out: &mut Outgoing<'_>, facts: &Facts<'_>) {
    static REWRITE: Rewrite = Rewrite {
        path: Borrowed(&[PathStep::StripPrefix(Borrowed("/users"))]),
        query_remove: Borrowed(&[]),
        query_set: Borrowed(&[]),
        raw: false,
    };
    filter::rewrite(out, facts, &REWRITE);
    static HEADERS: [HeaderOp; 1usize] = [
        HeaderOp::Set(
            Borrowed("x-user"),
            Template {
                pieces: Borrowed(&[Piece::Capture(0)]),
            },
        ),
    ];
    filter::request_headers(out, facts, &HEADERS);
}
/// policies.kdl:6 `/users/{id}/*`
fn response_0(headers: &mut Fields, facts: &Facts<'_>) {
    static HEADERS: [HeaderOp; 1usize] = [HeaderOp::Remove(Borrowed("server"))];
    filter::response_headers(headers, facts, &HEADERS);
}
static POLICY_0: Policy = Policy {
    limits: Limits {
        headers: Setting::Fixed(16384),
        uri: Setting::Fixed(8192),
        body: Setting::Fixed(16777216),
        connections: Setting::Fixed(10000),
        per_client: Setting::Fixed(u64::MAX),
        handshakes: Setting::Fixed(1000),
        memory: Setting::Fixed(10485760),
        min_rate: 0,
        half_close: false,
        encoded_slash: false,
    },
    timeouts: Timeouts {
        connect: Setting::Fixed(Duration::from_millis(5000)),
        handshake: Setting::Fixed(Duration::from_millis(10000)),
        request: Setting::Fixed(Duration::from_millis(10000)),
        response: Setting::Fixed(Duration::from_millis(60000)),
        proceed: Setting::Fixed(Duration::from_millis(1000)),
        idle: Setting::Fixed(Duration::from_millis(60000)),
        total: Setting::Fixed(Duration::MAX),
    },
    fields: FieldRules {
        own: Borrowed(&[]),
        odd: false,
        pass: Borrowed(&[]),
        underscores: false,
    },
    error_pages: Borrowed(&[]),
    log: None,
    retry: None,
    mirror: None,
    fault: None,
    cache: None,
    cookies: Borrowed(&[]),
    access: None,
    replace: None,
    compress: None,
};
static POLICY_1: Policy = Policy {
    limits: Limits {
        headers: Setting::Fixed(16384),
        uri: Setting::Fixed(8192),
        body: Setting::Fixed(16777216),
        connections: Setting::Fixed(10000),
        per_client: Setting::Fixed(u64::MAX),
        handshakes: Setting::Fixed(1000),
        memory: Setting::Fixed(10485760),
        min_rate: 0,
        half_close: false,
        encoded_slash: false,
    },
    timeouts: Timeouts {
        connect: Setting::Fixed(Duration::from_millis(5000)),
        handshake: Setting::Fixed(Duration::from_millis(10000)),
        request: Setting::Fixed(Duration::from_millis(10000)),
        response: Setting::Fixed(Duration::from_millis(60000)),
        proceed: Setting::Fixed(Duration::from_millis(1000)),
        idle: Setting::Fixed(Duration::from_millis(60000)),
        total: Setting::Fixed(Duration::MAX),
    },
    fields: FieldRules {
        own: Borrowed(&[Borrowed("x-user")]),
        odd: false,
        pass: Borrowed(&[]),
        underscores: false,
    },
    error_pages: Borrowed(&[]),
    log: None,
    retry: None,
    mirror: None,
    fault: None,
    cache: None,
    cookies: Borrowed(&[]),
    access: None,
    replace: None,
    compress: None,
};
static SITES: &[Host] = &[
    Host {
        name: Borrowed("example.com"),
        normal_form: NormalForm {
            encoded_slash: false,
            merge_slashes: true,
            refuse_parameters: false,
        },
        policy: &POLICY_0,
        tls: None,
        secure: None,
        first_route: 0,
    },
];
/// 2 entries of 64 bytes
static HOSTS: &Aligned<[u8]> = &Aligned(
    *b"\0\0\0\x80\x0B\0\0\0\0\0\0\x80\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\0\0\xC0example.com\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0B\0\0\0\0\0\0\x80\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\0\0\xC0example.com\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
);
/// 1 entries of 32 bytes
static SEGMENTS: &Aligned<[u8]> = &Aligned(
    *b"\0\0\0\0\x05\0\0\0\x01\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFFusers\0\0\0",
);
static JOINT: [Joint; 0usize] = [];
static FUNCTIONS: &[Functions] = &[];
static HANDLERS: &[Handler] = &[
    Handler::Proxy(Proxy {
        shares: Borrowed(&[Share { upstream: 0, weight: 1 }]),
        by: None,
        cookie: None,
        host: HostField::Client,
        forwarded: false,
        forwarded_port: false,
        real_ip: false,
        asks_server: false,
    }),
    Handler::Respond(Respond {
        code: 200,
        body: RespondBody::Bytes(site::Bytes::Fixed(Borrowed(b"hello\n"))),
        content_type: Borrowed("text/plain; charset=utf-8"),
    }),
];
static METHODS: &[Methods] = &[
    Methods {
        mask: 3,
        others: Borrowed(&[]),
    },
    Methods::ANY,
];
static POLICIES: &[PolicyId] = &[&POLICY_0, &POLICY_1];
/// 0: `example.com/users/{id}/*` matches_0 request_0 response_0 HANDLERS[0] POLICY_1 (policies.kdl:6)
/// 1: `example.com/*` HANDLERS[1] POLICY_0 (policies.kdl:21)
static ROUTES: &[u8] = b"\0\0\0\0\r\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\0\0\0\0\x01\0\0\0\r\0\0\0\0\0\0\0\r\0\0\0\x02\0\0\0\x01\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\0\0\0\0\0\0\0\x0F\0\0\0\0\0\0\0";
const ROUTE_TABLE: Routes = Routes {
    rows: Words::new(ROUTES),
    text: "/users/{id}/*/*",
    methods: METHODS,
    matches: &[matches_0],
    request: &[request_0],
    response: &[response_0],
    functions: FUNCTIONS,
    handlers: HANDLERS,
    policies: POLICIES,
};
static UPSTREAMS: &[Upstream] = &[
    Upstream {
        name: Borrowed("app"),
        servers: Borrowed(
            &[
                Server {
                    address: Setting::Param(0),
                    weight: Setting::Fixed(2),
                    backup: false,
                    max_connections: Setting::Fixed(u64::MAX),
                    place: Place {
                        file: Borrowed("policies.kdl"),
                        line: 3,
                    },
                },
            ],
        ),
        discover: None,
        balance: BalancePolicy::RoundRobin,
        key: None,
        slow_start: Setting::Fixed(Duration::from_millis(0)),
        panic_threshold: 1,
        circuit_breaker: CircuitBreaker {
            max_connections: Setting::Fixed(u64::MAX),
            max_pending: Setting::Fixed(100),
            pending_timeout: Setting::Fixed(Duration::from_millis(1000)),
        },
        pool: Pool {
            max_idle: Setting::Fixed(1024),
            idle_timeout: Setting::Fixed(Duration::from_millis(60000)),
            max_age: Setting::Fixed(Duration::MAX),
            tcp_keepalive: Setting::Fixed(Duration::MAX),
        },
        health_check: None,
        outlier: None,
        sticky: None,
        proxy_protocol: None,
        tls: None,
        http2: false,
        send_files: Borrowed(&[]),
        place: Place {
            file: Borrowed("policies.kdl"),
            line: 2,
        },
    },
];
static STORES: &[Store] = &[];
static LISTED: &[Listed] = &[];
static LISTENERS: &[Listener] = &[
    Listener {
        name: Borrowed("[::]:8080"),
        address: Setting::Fixed(Borrowed("[::]:8080")),
        file: SocketFile {
            mode: None,
            user: None,
            group: None,
        },
        speaks: Speaks {
            http1: true,
            http2: false,
            http3: false,
            http3_port: None,
            early_data: false,
            tls: false,
            default: None,
            redirect_https: false,
            proxy_protocol: None,
            stream: None,
            admin: false,
        },
        place: Place {
            file: Borrowed("(default)"),
            line: 0,
        },
    },
];
static TLS: &[Tls] = &[];
static STREAMS: &[Stream] = &[];
static OUTPUTS: &[LogOutput] = &[];
static PARAMS: &[Param] = &[
    Param {
        name: Borrowed("backend"),
        kind: ParamKind::Addr,
        default: Some(Borrowed("127.0.0.1:3000")),
        help: Borrowed(""),
        least: 0,
        most: u64::MAX,
        place: Place {
            file: Borrowed("policies.kdl"),
            line: 1,
        },
    },
];
static FILES: &[FileRef] = &[];
static PROCESS: Process = Process {
    workers: None,
    drain: Setting::Fixed(Duration::from_millis(30000)),
    max_streams: Setting::Fixed(100),
    memory_limit: None,
    privileges: None,
    sandbox: Some(Sandbox {
        required: false,
        read: Borrowed(&[]),
        read_files: Borrowed(&[]),
        write: Borrowed(&[]),
        write_files: Borrowed(&[]),
        connect: Some(Borrowed(&[Setting::Param(0)])),
        resolves: false,
        verifies: false,
        place: Place {
            file: Borrowed("policies.kdl"),
            line: 1,
        },
    }),
    takeover: None,
};
static TRUSTED: Trusted = Trusted {
    networks: Borrowed(&[]),
    header: TrustedHeader::XForwardedFor,
};
static TESTS: &[Test] = &[];
static SITE: Site = Site {
    name: "policies.kdl",
    digest: "4971cf0701c49ee5872c1e4ca8065aa0bc10603a02a5bc6a5d7ecc692866d893",
    built: "kiln 0.1.0",
    sources: &[
        SourceFile {
            path: "policies.kdl",
            text: "param backend type=addr default=\"127.0.0.1:3000\"\nupstream app {\n    server (param)backend weight=2\n}\nsite example.com *.example.com {\n    route \"/users/{id}/*\" {\n        method GET\n        header X-Version (regex)\"^2\"\n        not {\n            client-ip \"10.0.0.0/8\"\n        }\n        rewrite strip-prefix=\"/users\"\n        request-headers {\n            set X-User \"{id}\"\n        }\n        response-headers {\n            remove Server\n        }\n        proxy app\n    }\n    route \"/*\" {\n        respond 200 \"hello\\n\"\n    }\n}\n",
        },
    ],
    assets: &[],
    params: PARAMS,
    files: FILES,
    process: &PROCESS,
    listeners: LISTENERS,
    tls: TLS,
    acme: None,
    admin: None,
    outputs: OUTPUTS,
    errors: None,
    trace: None,
    streams: STREAMS,
    trusted: &TRUSTED,
    root: &POLICY_0,
    tables: Tables {
        hosts: Table {
            seed: 16287231350648472473,
            disps: Words::new(b"\0\0\0\0\0\0\0\0"),
            stride: 64,
            slots: Borrowed(&HOSTS.0),
            long: Borrowed(""),
        },
        any_host: Words::new(
            b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        ),
        wildcards: true,
        exact: Table::EMPTY,
        segments: Table {
            seed: 16287231350648472473,
            disps: Words::new(b"\0\0\0\0\0\0\0\0"),
            stride: 32,
            slots: Borrowed(&SEGMENTS.0),
            long: Borrowed(""),
        },
        captures: Words::new(b"\x02\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\x80"),
        leaves: Words::new(b""),
        expressions: Words::new(b""),
        plain: Words::new(b""),
        joint: Borrowed(&JOINT),
    },
    sites: SITES,
    routes: ROUTE_TABLE,
    upstreams: UPSTREAMS,
    stores: STORES,
    listed: LISTED,
    key_sources: &[],
    bundle: Bundle::new(&[]),
    resolve: None,
    tests: TESTS,
};
