//! A line on the terminal that says how far a run is.

use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::figures::Recorder;
use crate::grouped;

/// How often the line is written anew, and how often where it cannot be.
const ON_A_TERMINAL: Duration = Duration::from_millis(250);
const IN_A_LOG: Duration = Duration::from_secs(15);

/// Keeps the line up to date until it is dropped.
pub struct Progress {
    writing: JoinHandle<()>,
    on_terminal: bool,
}

impl Progress {
    /// Shows `title` with what `recorder` has, out of `total` where that is not 0.
    pub fn show(title: &str, total: u64, recorder: &Rc<Recorder>) -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let writing =
            tokio::task::spawn_local(write(title.to_owned(), total, Rc::clone(recorder), on_terminal));
        Self { writing, on_terminal }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.writing.abort();
        if self.on_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

async fn write(title: String, total: u64, recorder: Rc<Recorder>, on_terminal: bool) {
    let every = if on_terminal { ON_A_TERMINAL } else { IN_A_LOG };
    let (mut answered, mut since) = (recorder.all_answered(), Instant::now());
    loop {
        tokio::time::sleep(every).await;
        let rate = (recorder.all_answered() - answered) as f64 / since.elapsed().as_secs_f64();
        (answered, since) = (recorder.all_answered(), Instant::now());
        let done = match (recorder.done(), total) {
            (0, 0) => grouped(answered),
            (done, 0) => grouped(done),
            (done, total) => format!("{} of {}", grouped(done), grouped(total)),
        };
        let line = format!(
            "{title}: {done} · {rate:.0} requests/s · {} failed",
            grouped(recorder.failed())
        );
        match on_terminal {
            true => eprint!("\r\x1b[K  {line}"),
            false => eprintln!("  {line}"),
        }
        let _ = std::io::stderr().flush();
    }
}
