//! Servers on the official SDKs, installed by `make bench`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::Fallible;
use crate::process::Process;

/// Whose server it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sdk {
    Python,
    TypeScript,
}

impl Sdk {
    pub(super) const ALL: [Self; 2] = [Self::Python, Self::TypeScript];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::TypeScript => "TypeScript",
        }
    }

    /// The program and its arguments, seen from where the SDKs are.
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Python => &["python/bin/python", "../../tests/gateway/load/servers/python.py"],
            Self::TypeScript => &[
                "node_modules/node/bin/node",
                "--expose-gc",
                "../../tests/gateway/load/servers/typescript.mjs",
            ],
        }
    }
}

/// A running server. Ends with this value.
pub(super) struct SdkServer {
    process: Child,
    address: SocketAddr,
}

impl SdkServer {
    pub(super) fn start(sdk: Sdk) -> Fallible<Self> {
        let directory = gateway::envoy::root().join(".cache/mcp-sdks");
        let (program, arguments) = sdk.command().split_first().ok_or("no program")?;
        let mut process = Command::new(directory.join(program))
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the {} server does not start: {error}", sdk.name()))?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let port: u16 = line.trim().parse()?;
        let server = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> Fallible<()> {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while sessions_at(self.address).is_err() {
            if std::time::Instant::now() > end {
                return Err("the server does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn process(&self) -> Process {
        Process::of(self.process.id())
    }
}

impl Drop for SdkServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How many sessions the server there says it holds.
pub(super) fn sessions_at(address: SocketAddr) -> io::Result<u64> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(30)))?;
    connection.write_all(b"GET /stats HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (_, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| io::Error::other("no answer"))?;
    let stats: Value = serde_json::from_str(body)?;
    stats["sessions"]
        .as_u64()
        .ok_or_else(|| io::Error::other("no number of sessions"))
}
