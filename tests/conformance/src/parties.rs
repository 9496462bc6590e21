//! The official clients and servers: how each is started.

use std::path::PathBuf;

use gateway::envoy::root;

use crate::Fallible;
use crate::process::Program;

/// The transport between clients and servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Of 2025-03-26 and later.
    StreamableHttp,
    /// The one of 2024-11-05: a GET for the server's messages, POSTs elsewhere.
    HttpSse,
}

/// A client library, and the mode of its use.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub name: &'static str,
    pub transport: Transport,
    /// It asks for the revision without sessions first.
    pub modern: bool,
    runner: Runner,
    arguments: &'static [&'static str],
}

/// A server.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    pub name: &'static str,
    pub transport: Transport,
    /// The path of requests; with HTTP+SSE, of the stream.
    pub path: &'static str,
    /// With HTTP+SSE, the path of messages.
    pub message_path: &'static str,
    /// It knows only revisions with sessions.
    pub legacy_only: bool,
    runner: Runner,
    arguments: &'static [&'static str],
}

/// What runs a program.
#[derive(Debug, Clone, Copy)]
enum Runner {
    /// Node, with a file of `js/`.
    Node(&'static str),
    /// Python with this version of the SDK, with a file of `python/`.
    Python(&'static str, &'static str),
    /// A binary of this package.
    Rust(&'static str),
}

use Runner::{Node, Python, Rust};
use Transport::{HttpSse, StreamableHttp};

const V1: &str = "1.30.0";
const V2: &str = "2.3.0";
const EVERYTHING: &str = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";

const fn client(
    name: &'static str,
    transport: Transport,
    runner: Runner,
    arguments: &'static [&'static str],
) -> Client {
    Client {
        name,
        transport,
        modern: false,
        runner,
        arguments,
    }
}

const fn auto(client: Client) -> Client {
    Client {
        modern: true,
        ..client
    }
}

/// Every client.
pub const CLIENTS: [Client; 12] = [
    client(
        "TypeScript 1.32.2",
        StreamableHttp,
        Node("client-v1.mjs"),
        &["http"],
    ),
    client(
        "TypeScript 2.4.0",
        StreamableHttp,
        Node("client-v2.mjs"),
        &["legacy"],
    ),
    auto(client(
        "TypeScript 2.4.0 auto",
        StreamableHttp,
        Node("client-v2.mjs"),
        &["auto"],
    )),
    client(
        "Python 1.30.0",
        StreamableHttp,
        Python(V1, "client_v1.py"),
        &["http"],
    ),
    client(
        "Python 2.3.0",
        StreamableHttp,
        Python(V2, "client_v2.py"),
        &["legacy"],
    ),
    auto(client(
        "Python 2.3.0 auto",
        StreamableHttp,
        Python(V2, "client_v2.py"),
        &["auto"],
    )),
    client("Rust 3.8.0", StreamableHttp, Rust("rust-client"), &[]),
    client("Inspector 2.12.0", StreamableHttp, Node("inspector.mjs"), &[]),
    client(
        "mcp-remote 0.15.1",
        StreamableHttp,
        Node("client-v1.mjs"),
        &["remote"],
    ),
    client("TypeScript 1.32.2 SSE", HttpSse, Node("client-v1.mjs"), &["sse"]),
    client("Python 1.30.0 SSE", HttpSse, Python(V1, "client_v1.py"), &["sse"]),
    client("Python 2.3.0 SSE", HttpSse, Python(V2, "client_v2.py"), &["sse"]),
];

const fn http(name: &'static str, runner: Runner, arguments: &'static [&'static str]) -> Server {
    Server {
        name,
        transport: StreamableHttp,
        path: "/mcp",
        message_path: "",
        legacy_only: false,
        runner,
        arguments,
    }
}

const fn sse(name: &'static str, message_path: &'static str, runner: Runner) -> Server {
    Server {
        name,
        transport: HttpSse,
        path: "/sse",
        message_path,
        legacy_only: true,
        runner,
        arguments: &["sse"],
    }
}

const fn legacy_only(server: Server) -> Server {
    Server {
        legacy_only: true,
        ..server
    }
}

/// Every server.
pub const SERVERS: [Server; 8] = [
    legacy_only(http(
        "everything 2026.8.31",
        Node(EVERYTHING),
        &["streamableHttp"],
    )),
    legacy_only(http("Python 1.30.0", Python(V1, "server_v1.py"), &["http"])),
    http("Python 2.3.0", Python(V2, "server_v2.py"), &["http"]),
    http("Rust 3.8.0", Rust("rust-server"), &[]),
    http("TypeScript 2.4.0", Node("server-v2.mjs"), &[]),
    sse("everything SSE", "/message", Node(EVERYTHING)),
    sse("Python 1.30.0 SSE", "/messages/", Python(V1, "server_v1.py")),
    sse("Python 2.3.0 SSE", "/messages/", Python(V2, "server_v2.py")),
];

/// The server that the official suite is run against.
pub const FIXTURE: Server = http("fixture", Node("fixture.mjs"), &[]);

/// A server on the TypeScript SDK that says in this way that it does not know a session.
pub fn forgetful(status: u16, text: &str) -> Program {
    let pin = installed().join("js/loopback.cjs").display().to_string();
    let program = Node("forgetful.mjs").program().arg(status.to_string()).arg(text);
    at_home(program.env("NODE_OPTIONS", format!("--require {pin}")))
}

/// What `make conformance` has installed.
pub fn installed() -> PathBuf {
    root().join(".cache/conformance")
}

/// Puts the scripts beside the packages they import: Node looks for those from where a script is.
pub fn install_scripts() -> Fallible<()> {
    let failed = |error: std::io::Error| error.to_string();
    let (from, to) = (root().join("tests/conformance/js"), installed().join("js"));
    for script in std::fs::read_dir(&from).map_err(failed)? {
        let script = script.map_err(failed)?.path();
        let is_script = script.extension().is_some_and(|extension| extension != "json");
        if let Some(name) = script.file_name().filter(|_| is_script) {
            std::fs::copy(&script, to.join(name)).map_err(failed)?;
        }
    }
    std::fs::create_dir_all(installed().join("home")).map_err(failed)
}

/// The Python that has this version of the SDK.
pub fn python(version: &str) -> String {
    let binary = installed().join(format!("mcp-{version}/bin/python"));
    binary.display().to_string()
}

fn node() -> String {
    let binary = installed().join("js/node_modules/node/bin/node");
    binary.display().to_string()
}

impl Runner {
    fn program(self) -> Program {
        match self {
            Node(file) => Program::new([node(), installed().join("js").join(file).display().to_string()]),
            Python(version, file) => {
                let file = root().join("tests/conformance/python").join(file);
                Program::new([python(version), "-B".to_owned(), file.display().to_string()])
            }
            Rust(name) => {
                let this = std::env::current_exe().unwrap_or_default();
                Program::new([this.with_file_name(name).display().to_string()])
            }
        }
    }
}

/// Gives a client a home directory of its own for its files.
fn at_home(program: Program) -> Program {
    let home = installed().join("home").display().to_string();
    program
        .env("HOME", home.clone())
        .env("MCP_REMOTE_CONFIG_DIR", home)
        .env("NO_COLOR", "1")
}

impl Client {
    /// The client, for the server at `url`.
    pub fn program(&self, url: &str) -> Program {
        let words = self.arguments.iter().copied().chain([url]);
        at_home(words.fold(self.runner.program(), Program::arg))
    }
}

impl Server {
    /// The server, on a loopback port of the system's choice.
    pub fn program(&self) -> Program {
        let pin = installed().join("js/loopback.cjs").display().to_string();
        let program = self
            .arguments
            .iter()
            .fold(self.runner.program(), |program, word| program.arg(*word));
        match self.runner {
            Node(_) => at_home(program.env("NODE_OPTIONS", format!("--require {pin}"))),
            Python(..) | Rust(_) => program,
        }
    }

    /// Whether this client can talk to it.
    pub fn suits(&self, client: &Client) -> bool {
        self.transport == client.transport
    }
}

/// The official suite: its version and its program.
pub fn suite(package: &str) -> Program {
    let file = installed()
        .join("js/node_modules")
        .join(package)
        .join("dist/index.js");
    at_home(Program::new([
        node(),
        file.display().to_string(),
        "server".to_owned(),
    ]))
}
