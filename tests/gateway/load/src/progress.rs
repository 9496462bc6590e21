//! A line on the terminal that says how far a run is.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::figures::Recorder;
use crate::grouped;

/// How often the line is written anew, and how often where it cannot be.
const ON_A_TERMINAL: Duration = Duration::from_millis(250);
const IN_A_LOG: Duration = Duration::from_secs(15);

/// Where a whole `make bench` is.
#[derive(Debug, Clone)]
pub struct Course {
    /// What runs, and which of how many it is.
    pub what: String,
    /// When the whole began.
    pub began: Instant,
    /// When the whole ends, as far as can be said.
    pub ends: Instant,
}

thread_local! {
    static COURSE: RefCell<Option<Course>> = const { RefCell::new(None) };
}

impl Course {
    /// Has every line begin with this from now on.
    pub fn show(self) {
        COURSE.set(Some(self));
    }

    /// What runs, what is gone, and what is left.
    pub fn line(&self) -> String {
        let gone = clock(self.began.elapsed());
        let left = self.ends.saturating_duration_since(Instant::now());
        format!("{} · {gone} gone, about {} left", self.what, clock(left))
    }
}

/// Hours, minutes and seconds, the hours only where there are some: `1:02:03`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

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
        let course = COURSE.with_borrow(|course| course.as_ref().map(Course::line));
        let line = format!(
            "{}{title}: {done} · {rate:.0} requests/s · {} failed",
            course.map(|line| line + " · ").unwrap_or_default(),
            grouped(recorder.failed())
        );
        match on_terminal {
            true => eprint!("\r\x1b[K  {line}"),
            false => eprintln!("  {line}"),
        }
        let _ = std::io::stderr().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_says_what_is_gone_and_what_is_left() {
        let now = Instant::now();
        let course = Course {
            what: "[2 of 10] sessions".to_owned(),
            began: now,
            ends: now + Duration::from_secs(3700),
        };
        let line = course.line();
        assert!(
            line.starts_with("[2 of 10] sessions · 0:00 gone, about 1:01:"),
            "{line}"
        );
        assert_eq!(clock(Duration::from_secs(125)), "2:05");
    }
}
