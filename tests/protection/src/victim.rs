//! A server that tells how many sessions it holds, and comes back where it was.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use conformance::Fallible;
use conformance::parties::python;
use conformance::process::{Program, Server};
use gateway::envoy::root;
use gateway::{Call, Client, Http};
use serde_json::Value;

/// Between two looks at what a server holds.
const LOOK: Duration = Duration::from_millis(50);

/// Has what CVE-2026-52869 is about, and no bound for bodies.
pub const OLD: &str = "1.25.0";

/// A library and its version.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    pub version: &'static str,
    /// The mode of `python/server.py`.
    pub mode: &'static str,
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub sessions: u64,
    /// Resident memory, in bytes.
    pub resident: u64,
    /// The most of it there ever was, in bytes.
    pub peak: u64,
}

/// A server that runs.
pub struct Victim {
    library: Library,
    place: Place,
}

impl Library {
    /// As tables name it.
    pub fn name(self) -> String {
        format!("Python `mcp` {}", self.version)
    }

    /// How it is started.
    pub fn program(self) -> Program {
        let file = root().join("tests/protection/python/server.py");
        let library = root().join("tests/conformance/python");
        let program = Program::new([python(self.version), "-B".to_owned(), file.display().to_string()]);
        program
            .arg(self.mode)
            .env("PYTHONPATH", library.display().to_string())
    }
}

impl Victim {
    /// Starts it.
    pub async fn start(library: Library) -> Fallible<Self> {
        let place = Place::start(library.program()).await?;
        Ok(Self { library, place })
    }

    /// As tables name it.
    pub fn name(&self) -> String {
        self.library.name()
    }

    /// Where it listens, also after a restart.
    pub fn address(&self) -> SocketAddr {
        self.place.address()
    }

    /// Ends it and starts a new one in its place, which holds nothing.
    pub async fn restart(&mut self) -> Fallible<()> {
        self.place.replace().await
    }

    /// What it holds.
    pub async fn held(&self) -> Fallible<Held> {
        let client = Client::new(self.address(), Http::One);
        let answer = client.try_send(Call::method("GET").path("/held")).await?;
        let said: Value =
            serde_json::from_str(&answer.text()).map_err(|_| format!("/held says {}", answer.text()))?;
        let number = |name: &str| said[name].as_u64().ok_or_else(|| format!("/held says {said}"));
        Ok(Held {
            sessions: number("sessions")?,
            resident: number("resident")?,
            peak: number("peak")?,
        })
    }

    /// What it holds once that has not changed for this long.
    pub async fn settled(&self, quiet: Duration) -> Fallible<Held> {
        let (mut last, mut since) = (self.held().await?, Instant::now());
        while since.elapsed() < quiet {
            tokio::time::sleep(LOOK).await;
            let now = self.held().await?;
            if now.sessions != last.sessions {
                since = Instant::now();
            }
            last = now;
        }
        Ok(last)
    }
}

/// A server that can be replaced where it listens.
pub struct Place {
    program: Program,
    server: Option<Server>,
    address: SocketAddr,
}

impl Place {
    /// Starts the first server there.
    pub async fn start(program: Program) -> Fallible<Self> {
        let server = program.clone().serve().await?;
        let address = server.address();
        Ok(Self {
            program,
            server: Some(server),
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and starts another one there, which knows nothing.
    pub async fn replace(&mut self) -> Fallible<()> {
        self.server = None;
        let program = self
            .program
            .clone()
            .env("LISTEN_PORT", self.address.port().to_string());
        let mut failed = String::new();
        // Whatever has that port for a moment gives it back: a connection of Envoy's, say.
        for _ in 0..5 {
            match program.clone().serve().await {
                Ok(server) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
