//! What a process has used, as `/proc` tells.

use std::fs;
use std::io;
use std::time::Duration;

/// A running process.
#[derive(Debug, Clone, Copy)]
pub struct Process(u32);

impl Process {
    /// The process with this id.
    pub fn of(id: u32) -> Self {
        Self(id)
    }

    /// The process with this id; if that is `func-e`, the Envoy it has started.
    pub fn envoy(id: u32) -> Self {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        let child = children
            .split_whitespace()
            .next()
            .and_then(|child| child.parse().ok());
        Self(child.filter(|_| name.trim() == "func-e").unwrap_or(id))
    }

    /// User and system time of all its threads so far, to the nanosecond where the kernel keeps `schedstat`, else
    /// in clock ticks, usually of 10 ms.
    pub fn cpu(self) -> io::Result<Duration> {
        match self.scheduled() {
            Some(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
            None => self.ticked(),
        }
    }

    /// What the scheduler says its threads have run. User and system time are what it divides that into.
    fn scheduled(self) -> Option<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.0)).ok()? {
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
        (sum > 0).then_some(sum)
    }

    fn ticked(self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| io::Error::other("not as proc(5) has it"))?;
        let a_second = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_secs_f64(ticks as f64 / a_second as f64))
    }

    /// Resident memory in bytes.
    pub fn resident(self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024)
            .ok_or_else(|| io::Error::other("no VmRSS"))
    }

    /// How many files it has open.
    pub fn open_files(self) -> io::Result<u64> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.0))?.count() as u64)
    }
}

/// utime + stime: the 14th and 15th field, counted behind the name, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_user_and_system_time_whatever_the_name() {
        let stat = "42 (a) b 1) S 1 42 42 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 4 0 100 200 300";
        assert_eq!(cpu_ticks(stat), Some(300));
    }

    #[test]
    fn knows_itself() {
        let this = Process::envoy(std::process::id());
        assert!(this.resident().unwrap() > 0);
        assert!(this.open_files().unwrap() > 2);
    }

    #[test]
    fn both_ways_to_measure_time_agree() {
        let this = Process::envoy(std::process::id());
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let (ticked, precise) = (this.ticked().unwrap(), this.cpu().unwrap());
        assert!(
            ticked.abs_diff(precise) < Duration::from_millis(50),
            "{ticked:?} {precise:?}"
        );
    }
}
