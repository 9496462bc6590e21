//! The servers and clients, and how each is started.

use conformance::Fallible;
use conformance::parties::{SERVERS, python};
use conformance::process::{Program, Server};
use gateway::envoy::root;
use gateway::{Call, Client, Http};

/// The path under which `make test-servers` has put a program.
fn built(path: &str) -> String {
    root().join(".cache/servers").join(path).display().to_string()
}

/// How a server tells its number of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// At `/held`.
    Held,
    /// In its output: each session as it begins and as it ends.
    Log,
}

/// A server to start.
#[derive(Debug, Clone)]
pub struct Party {
    pub name: &'static str,
    /// Where it answers without a redirect.
    pub path: &'static str,
    /// It keeps a session for each `initialize` that it answers 202, and names it to no client. Only a filter that
    /// lets nothing but well-formed messages through could bound these.
    pub keeps_untold: bool,
    program: Program,
    telling: Telling,
}

/// A server that runs.
pub struct Running {
    pub server: Server,
    telling: Telling,
}

/// server-everything, on Express.
pub fn everything() -> Party {
    let server = SERVERS
        .iter()
        .find(|server| server.name.starts_with("everything 2"));
    Party {
        name: "everything 2026.8.31",
        path: "/mcp",
        keeps_untold: false,
        program: server.unwrap_or(&SERVERS[0]).program(),
        telling: Telling::Log,
    }
}

/// The Python SDK of this version, in one of the modes of `python/server.py`.
pub fn python_server(name: &'static str, version: &str, way: &str) -> Party {
    let file = root()
        .join("tests/servers/python/server.py")
        .display()
        .to_string();
    let library = root().join("tests/conformance/python").display().to_string();
    let program = Program::new([python(version), "-B".to_owned(), file]).arg(way);
    Party {
        path: if way == "mounted" { "/mcp/" } else { "/mcp" },
        ..held(name, program.env("PYTHONPATH", library))
    }
}

/// `sdk` or `mcp-go`.
pub fn go_server(name: &'static str, which: &str) -> Party {
    Party {
        keeps_untold: which == "mcp-go",
        ..held(name, Program::new([built("go/servers")]).arg("serve").arg(which))
    }
}

/// The Java SDK in a Tomcat.
pub fn java_server() -> Party {
    held("Java SDK 2.1.0", java().arg("serve"))
}

fn held(name: &'static str, program: Program) -> Party {
    Party {
        name,
        path: "/mcp",
        keeps_untold: false,
        program,
        telling: Telling::Held,
    }
}

fn java() -> Program {
    let classpath = format!("{}:{}", built("java/classes"), built("java/dependency/*"));
    Program::new(["java", "-cp", &classpath, "Servers"])
}

/// `sdk` or `mcp-go`, for the server at `url`.
pub fn go_client(which: &str, url: &str) -> Program {
    Program::new([built("go/servers")])
        .arg("play")
        .arg(which)
        .arg(url)
}

/// The Java SDK's, for the server at `url`.
pub fn java_client(url: &str) -> Program {
    java().arg("play").arg(url)
}

/// An official client by its name in the conformance matrix, for the server at `url`.
pub fn client(name: &str, url: &str) -> Fallible<Program> {
    let client = conformance::parties::CLIENTS
        .iter()
        .find(|client| client.name == name);
    let client = client.ok_or_else(|| format!("no client is called {name}"))?;
    Ok(client.program(url))
}

impl Party {
    /// Starts it.
    pub async fn start(&self) -> Fallible<Running> {
        let server = self.program.clone().serve().await?;
        Ok(Running {
            server,
            telling: self.telling,
        })
    }
}

impl Running {
    /// How many sessions it holds.
    pub async fn held(&self) -> Fallible<u64> {
        match self.telling {
            Telling::Log => {
                let log = self.server.log();
                let count = |words: &str| log.matches(words).count() as u64;
                Ok(count("Session initialized with ID") - count("removing from transports map"))
            }
            Telling::Held => {
                let client = Client::new(self.server.address(), Http::One);
                let answer = client.try_send(Call::method("GET").path("/held")).await?;
                answer
                    .text()
                    .trim()
                    .parse()
                    .map_err(|_| format!("/held says {}", answer.text()))
            }
        }
    }
}
