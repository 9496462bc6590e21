//! Programs that are started, bounded in time, and stopped by their process group.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gateway::poll;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::Fallible;

/// From start to listening; a Python server imports much.
const START: Duration = Duration::from_secs(60);

/// A command line and its environment.
#[derive(Debug, Clone)]
pub struct Program {
    words: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The output of a program that has ended.
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
    /// It was ended because it took too long.
    pub late: bool,
}

impl Program {
    /// A command with its arguments.
    pub fn new<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// One more argument.
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    /// One more variable of its environment.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn spawn(&self, command: &mut Command) -> Fallible<Group> {
        let child = command.spawn();
        child
            .map(Group)
            .map_err(|error| format!("{}: {error}", self.words.join(" ")))
    }

    /// Runs it to its end, or for at most `bound`.
    pub async fn run(&self, bound: Duration) -> Fallible<Printed> {
        let mut command = self.command();
        let mut group = self.spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let (mut stdout, mut stderr) = (group.0.stdout.take(), group.0.stderr.take());
        let (mut printed, mut complained) = (Vec::new(), Vec::new());
        let whole = async {
            tokio::join!(
                read(&mut stdout, &mut printed),
                read(&mut stderr, &mut complained)
            );
            group.0.wait().await
        };
        let late = tokio::time::timeout(bound, whole).await.is_err();
        drop(group);
        Ok(Printed {
            stdout: String::from_utf8_lossy(&printed).into_owned(),
            stderr: String::from_utf8_lossy(&complained).into_owned(),
            late,
        })
    }

    /// Starts a server that writes the port it listens on into the file `$READY`.
    pub async fn serve(self) -> Fallible<Server> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let ready = directory.path().join("port");
        let log = directory.path().join("log");
        let file = std::fs::File::create(&log).map_err(|error| error.to_string())?;
        let program = self.env("READY", ready.display().to_string());
        let mut command = program.command();
        let errors = file.try_clone().map_err(|error| error.to_string())?;
        let mut group = program.spawn(command.stdout(file).stderr(errors))?;
        let port = wait_for_port(&mut group, &ready).await;
        match port {
            Some(port) => Ok(Server {
                port,
                _group: group,
                _directory: directory,
            }),
            None => Err(format!("no server: {}\n{}", program.words.join(" "), tail(&log))),
        }
    }
}

async fn read(from: &mut Option<impl AsyncReadExt + Unpin>, into: &mut Vec<u8>) {
    if let Some(from) = from {
        let _ = from.read_to_end(into).await;
    }
}

async fn wait_for_port(group: &mut Group, ready: &Path) -> Option<u16> {
    let written = || std::fs::read_to_string(ready).ok()?.trim().parse().ok();
    poll::until(START, || match group.0.try_wait() {
        Ok(None) => written().map(Some),
        Ok(Some(_)) | Err(_) => Some(None),
    })
    .await
    .flatten()
}

fn tail(log: &PathBuf) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// A running server. Ends with this value.
pub struct Server {
    port: u16,
    _group: Group,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

/// A process and all it has started. They end with this value.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Nothing once it has been waited for: its id may be another's by then.
        if let Some(leader) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
