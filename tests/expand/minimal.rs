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
/// 1 entries of 64 bytes
static HOSTS: &Aligned<[u8]> = &Aligned(
    *b"\0\0\0\0\x0B\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\xC0example.com\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
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
];
static METHODS: &[Methods] = &[Methods::ANY];
static POLICIES: &[PolicyId] = &[&POLICY_0];
/// 0: `example.com/*` HANDLERS[0] POLICY_0 (minimal.kdl:2)
static ROUTES: &[u8] = b"\0\0\0\0\x02\0\0\0\0\0\0\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0";
const ROUTE_TABLE: Routes = Routes {
    rows: Words::new(ROUTES),
    text: "/*",
    methods: METHODS,
    matches: &[],
    request: &[],
    response: &[],
    functions: FUNCTIONS,
    handlers: HANDLERS,
    policies: POLICIES,
};
static UPSTREAMS: &[Upstream] = &[
    Upstream {
        name: Borrowed("127.0.0.1:3000"),
        servers: Borrowed(
            &[
                Server {
                    address: Setting::Fixed(Borrowed("127.0.0.1:3000")),
                    weight: Setting::Fixed(1),
                    backup: false,
                    max_connections: Setting::Fixed(u64::MAX),
                    place: Place {
                        file: Borrowed("minimal.kdl"),
                        line: 2,
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
            file: Borrowed("minimal.kdl"),
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
static PARAMS: &[Param] = &[];
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
        connect: Some(Borrowed(&[Setting::Fixed(Borrowed("3000"))])),
        resolves: false,
        verifies: false,
        place: Place {
            file: Borrowed("minimal.kdl"),
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
    name: "minimal.kdl",
    digest: "4f634b6548c829227c8beedfa8db1628fe4322cc1fcb6fd2802bda79aeaf6ca1",
    built: "kiln 0.1.0",
    sources: &[
        SourceFile {
            path: "minimal.kdl",
            text: "site example.com {\n    proxy \"http://127.0.0.1:3000\"\n}\n",
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
        wildcards: false,
        exact: Table::EMPTY,
        segments: Table::EMPTY,
        captures: Words::new(b""),
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
