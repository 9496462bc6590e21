//! Programs that run beside the test, and those that run to their end.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gateway::poll;
use rustix::process::{Pid, Signal, kill_process};

use crate::Fallible;

/// How long a program may take to be ready: it may have much to read, and two cores may be busy.
const READY: Duration = Duration::from_secs(90);

/// How long a program may take to stop. Istio's agent waits five seconds before it does.
const STOP: Duration = Duration::from_secs(20);

/// How many lines of a log tell why its program failed.
const TOLD: usize = 25;

/// A program that runs beside the test. It is told to stop, and waited for, when this value goes.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it. What it prints goes to `<name>.log` in `folder`; its input stays open as long as this value is there.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Fallible<Self> {
        let log = folder.join(format!("{name}.log"));
        let failed = |error: std::io::Error| format!("{name} does not start: {error}");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(failed)?;
        let errors = file.try_clone().map_err(failed)?;
        command.stdin(Stdio::piped()).stdout(file).stderr(errors);
        Ok(Self {
            name: name.to_owned(),
            child: command.spawn().map_err(failed)?,
            log,
        })
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends it a line on its input.
    pub fn tell(&mut self, line: &str) -> Fallible<()> {
        let input = self.child.stdin.as_mut().ok_or("it has no input")?;
        writeln!(input, "{line}").map_err(|error| format!("{} hears nothing: {error}", self.name))
    }

    /// Waits until `probe` has found what it looks for, and fails with the end of the log if the program ends before or
    /// if it takes too long. `what` says what is waited for.
    pub async fn until<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> Fallible<T> {
        let found = poll::until(READY, || match self.child.try_wait() {
            Ok(None) => probe(self).map(Some),
            Ok(Some(_)) | Err(_) => Some(None),
        });
        let found = found.await.flatten();
        found.ok_or_else(|| format!("{}: {what} did not come:\n{}", self.name, self.end_of_log()))
    }

    /// The last lines of its log.
    pub fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TOLD)..].join("\n")
    }

    fn ends_within(&mut self, span: Duration) -> bool {
        let end = Instant::now() + span;
        while Instant::now() < end {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Some(process) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(process, Signal::TERM);
        }
        if !self.ends_within(STOP) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The SHA-256 of a file, in hexadecimal digits.
pub fn sha256(file: &Path) -> Fallible<String> {
    let summed = output(Command::new("sha256sum").arg(file))?;
    Ok(summed.split(' ').next().unwrap_or_default().to_owned())
}

/// What a program printed that ran to its end. One that fails is an error with its own words.
pub fn output(command: &mut Command) -> Fallible<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program} does not run: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}
