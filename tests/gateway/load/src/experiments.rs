//! The experiments: a real Envoy under load, and the results.

mod abandoned;
mod admission;
mod bed;
mod cpu;
pub mod instructions;
mod leaks;
mod looks;
mod million;
mod ramp;
mod rate;
mod rest;
mod samples;
mod sessions;
mod spread;
pub(crate) mod variants;

use std::time::{Duration, Instant};

pub use bed::Bed;

use crate::Fallible;
use crate::results::{Machine, Outcome, Run};

/// How large the experiments are.
#[derive(Debug, Clone, Copy)]
pub struct Lab {
    /// 1 is full size; 0.01 is a quick look at whether everything works.
    pub scale: f64,
    /// The long ones.
    pub soak: bool,
    /// How many files may be open.
    pub open_files: u64,
}

/// The experiments by name, in the order in which they run.
pub const NAMES: [&str; 9] = [
    "cpu",
    "sessions",
    "rest",
    "million",
    "toolhive",
    "kuadrant",
    "contextforge",
    "apisix",
    "abandoned",
];

/// Those of `make soak`.
pub const SOAK: [&str; 3] = ["contextforge", "kuadrant", "million"];

/// Makes sure that these are experiments, before the first of them takes its time.
///
/// # Errors
/// With the first that is none.
pub fn known(names: &[&str]) -> Fallible<()> {
    match names.iter().find(|name| !NAMES.contains(name)) {
        Some(name) => Err(format!("no experiment {name}; there are {}", NAMES.join(", ")).into()),
        None => Ok(()),
    }
}

impl Lab {
    /// The experiments that run where none is named.
    pub fn all(&self) -> &'static [&'static str] {
        if self.soak { &SOAK } else { &NAMES }
    }

    /// A count at this scale, but at least `least`.
    pub fn count(&self, full: u64, least: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(least.min(full))
    }

    /// A duration at this scale, but at least a second.
    pub fn lasting(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds * self.scale).max(seconds.min(1.0)))
    }

    /// Runs an experiment.
    ///
    /// # Errors
    /// If the experiment cannot be run. A bad result is no error: it is in the outcome.
    pub async fn run(&self, name: &str, machine: &Machine) -> Fallible<Run> {
        let start = Instant::now();
        let outcome = self
            .outcome(name)
            .await
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Run {
            date: now(),
            seconds: start.elapsed().as_secs_f64(),
            scale: self.scale,
            soak: self.soak,
            machine: machine.clone(),
            outcome,
        })
    }

    async fn outcome(&self, name: &str) -> Fallible<Outcome> {
        match name {
            "cpu" => cpu::run(self).await,
            "sessions" => sessions::run(self).await,
            "rest" => rest::run(self).await,
            "million" => million::run(self).await,
            "toolhive" => leaks::run(self).await,
            "kuadrant" => ramp::run(self).await,
            "contextforge" => rate::run(self).await,
            "abandoned" => abandoned::run(self).await,
            "apisix" => admission::run(self).await,
            _ => Err(format!("no such experiment; there are {}", NAMES.join(", ")).into()),
        }
    }
}

/// The time in UTC, to the minute.
fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    let (year, month, day) = civil(days);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60,
        minutes % 60
    )
}

/// Year, month and day of a day counted from 1970-01-01, by Howard Hinnant's `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(19_782), (2024, 2, 29));
        assert_eq!(civil(20_454), (2026, 1, 1));
    }

    #[test]
    fn sizes_scale_but_not_to_nothing() {
        let lab = Lab {
            scale: 0.001,
            soak: false,
            open_files: 1024,
        };
        assert_eq!(
            (lab.count(1_000_000, 10), lab.count(1000, 10), lab.count(5, 10)),
            (1000, 10, 5)
        );
        assert_eq!(lab.lasting(60.0), Duration::from_secs(1));
    }
}
