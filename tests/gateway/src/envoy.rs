//! Envoy itself: where it is, its process, its admin port.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Http;

/// The time from start to ready; compiling the module takes most of it.
const START: Duration = Duration::from_secs(60);

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository's root")
}

/// The command that runs Envoy: `$ENVOY`, `envoy` or `func-e` on `PATH`, or the wheel that `make` has installed.
fn command() -> Result<Vec<OsString>, String> {
    let on_path = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    };
    let wheel = root().join(".cache/envoy-1.40.0/envoy");
    if let Some(envoy) = std::env::var_os("ENVOY").filter(|value| !value.is_empty()) {
        Ok(vec![envoy])
    } else if let Some(envoy) = on_path("envoy") {
        Ok(vec![envoy.into()])
    } else if let Some(func_e) = on_path("func-e") {
        Ok(vec![func_e.into(), "run".into()])
    } else if wheel.is_file() {
        Ok(vec![wheel.into()])
    } else {
        Err("no Envoy: set $ENVOY, put envoy or func-e on PATH, or run `make envoy` once".to_owned())
    }
}

/// Envoy's command, ready for arguments, started in the directory to which the YAML's relative paths belong.
fn envoy() -> Result<Command, String> {
    let words = command()?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(root()).stdin(Stdio::null());
    Ok(command)
}

/// Envoy's major and minor version, read once.
pub fn version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output =
            envoy().and_then(|mut envoy| envoy.arg("--version").output().map_err(|error| error.to_string()));
        let text = String::from_utf8(output.expect("Envoy runs").stdout).expect("a version is text");
        // `<the command>  version: <revision>/1.40.0/Clean/RELEASE/BoringSSL`
        let (_, text) = text.split_once("version: ").expect("it names its version");
        let number = text.split('/').nth(1).expect("a number behind the revision");
        let mut parts = number.split('.').map(|part| part.parse().expect("digits"));
        let mut part = || parts.next().expect("major and minor");
        (part(), part())
    })
}

/// Whether a client learns that an answer broke off. Over HTTP/2, Envoy before 1.37 ends a broken answer as if it
/// were whole.
pub fn tells_of_broken_answers(http: Http) -> bool {
    match http {
        Http::One => true,
        Http::Two => version() >= (1, 37),
    }
}

/// Has Envoy check a configuration file as `--mode validate` does. If Envoy refuses it, `Err` has Envoy's words.
pub fn validate(config: &Path) -> Result<(), String> {
    let output = envoy()?
        .args(["--mode", "validate", "-c"])
        .arg(config)
        .output()
        .expect("Envoy runs");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The answer of the admin interface at this address.
///
/// # Errors
/// If it does not answer within ten seconds.
pub fn ask(admin: SocketAddr, method: &str, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&admin, Duration::from_secs(10))?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    crate::raw::body_of(&answer).ok_or_else(|| std::io::Error::other("no whole answer"))
}

/// A thread that has started a process and lives as long as this value. Envoy asks the kernel for SIGTERM when its
/// parent dies, and takes the *thread* that started it for the parent. A worker of a thread pool ends when idle, so
/// it will not do.
struct Keeper(#[expect(dead_code, reason = "held, not used")] mpsc::Sender<()>);

impl Keeper {
    fn start(mut command: Command) -> (std::io::Result<Child>, Self) {
        let (report, started) = mpsc::channel();
        let (keep, dropped) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let _ = report.send(command.spawn());
            let _ = dropped.recv();
        });
        (started.recv().expect("the thread reports"), Self(keep))
    }
}

/// A running Envoy. Ends with this value.
pub struct Envoy {
    process: Child,
    _keeper: Keeper,
    admin: SocketAddr,
    directory: tempfile::TempDir,
}

impl Envoy {
    /// Starts Envoy and waits until it is ready. If Envoy ends before, as at a refused configuration, `Err` has its
    /// log. A replaced listener has `drain` seconds to finish its requests.
    pub fn start(config: &Value, workers: u32, drain: u32) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("gateway-")
            .tempdir()
            .expect("a directory");
        let file = |name: &str| directory.path().join(name);
        fs::write(file("envoy.json"), config.to_string()).expect("the configuration is written");
        let mut command = envoy()?;
        command
            .arg("-c")
            .arg(file("envoy.json"))
            .arg("--admin-address-path")
            .arg(file("admin"))
            .args([
                "--concurrency",
                &workers.to_string(),
                "--use-dynamic-base-id",
                "--drain-time-s",
                &drain.to_string(),
            ])
            .args(["--log-level", "warning", "--component-log-level", "wasm:info"])
            .args(["--file-flush-interval-msec", "50"])
            .stdout(File::create(file("stdout")).expect("a file"))
            .stderr(File::create(file("stderr")).expect("a file"));
        let (process, keeper) = Keeper::start(command);
        let process = process.map_err(|error| format!("Envoy does not run: {error}"))?;
        let mut envoy = Self {
            process,
            _keeper: keeper,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            directory,
        };
        envoy.wait_until_ready().map(|()| envoy)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let end = Instant::now() + START;
        while Instant::now() < end {
            if self.process.try_wait().expect("the process is ours").is_some() {
                return Err(self.log());
            }
            if let Some(admin) = self.written_admin_address() {
                self.admin = admin;
                if self
                    .try_admin("GET", "/ready")
                    .is_ok_and(|body| body.trim() == "LIVE")
                {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("not ready after {START:?}\n{}", self.log()))
    }

    fn written_admin_address(&self) -> Option<SocketAddr> {
        fs::read_to_string(self.directory.path().join("admin"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Where a listener listens, by its name.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        let listeners: Value = serde_json::from_str(&self.admin("/listeners?format=json")).expect("JSON");
        let statuses = listeners["listener_statuses"].as_array()?;
        let listener = statuses.iter().find(|status| status["name"] == name)?;
        let address = &listener["local_address"]["socket_address"];
        format!("{}:{}", address["address"].as_str()?, address["port_value"])
            .parse()
            .ok()
    }

    /// Where the admin interface listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The admin interface's answer to a GET.
    pub fn admin(&self, path: &str) -> String {
        self.try_admin("GET", path)
            .unwrap_or_else(|error| panic!("admin {path}: {error}"))
    }

    /// As [`Envoy::admin`], but Envoy may be gone.
    pub fn try_admin(&self, method: &str, path: &str) -> std::io::Result<String> {
        ask(self.admin, method, path)
    }

    /// Everything Envoy and the filter have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// The access log so far, a line an entry.
    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.path().join("stdout")).unwrap_or_default();
        // The last line may be half written.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Memory Envoy holds, in bytes, all its VMs' included.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap_or_default();
        line.trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .map_or(0, |kilobytes| kilobytes * 1024)
    }

    /// The id of the process. With `func-e` that is func-e's process, and Envoy is its child.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Whether Envoy still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().is_ok_and(|ended| ended.is_none())
    }

    fn ends_within(&mut self, span: Duration) -> bool {
        let end = Instant::now() + span;
        while Instant::now() < end {
            if !self.is_running() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // SIGTERM first: func-e passes it on, and cannot pass on SIGKILL.
        if let Some(process) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        if !self.ends_within(Duration::from_secs(5)) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
