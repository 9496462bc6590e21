//! Which runs are to be there, in which order, and how long they take.

use std::time::Duration;

use crate::results::Results;

/// One run of one experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    /// Counted from 1.
    pub number: usize,
    /// How many runs of this experiment there are to be.
    pub runs: usize,
}

/// What an experiment takes in seconds at full size, on two quiet cores: a guess, until it has run.
const USUAL: [(&str, f64); 9] = [
    ("cpu", 330.0),
    ("sessions", 420.0),
    ("rest", 100.0),
    ("million", 300.0),
    ("toolhive", 180.0),
    ("kuadrant", 90.0),
    ("contextforge", 75.0),
    ("apisix", 20.0),
    ("abandoned", 600.0),
];

/// What an experiment takes that is not in [`USUAL`].
const UNUSUAL: f64 = 300.0;

/// How often an experiment runs where the command line does not say: what machine and hour do to CPU times shows only
/// in runs that are apart.
fn usual_runs(name: &str, soak: bool) -> usize {
    match (name, soak) {
        ("cpu", false) => 3,
        _ => 1,
    }
}

/// All runs of these experiments. Those of one experiment are as far apart as the others allow.
pub fn steps(names: &[&str], runs: Option<usize>, soak: bool) -> Vec<Step> {
    let mut placed = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let runs = runs.unwrap_or_else(|| usual_runs(name, soak));
        for number in 1..=runs {
            let apart = names.len() as f64 / runs.saturating_sub(1).max(1) as f64;
            let step = Step {
                name: (*name).to_owned(),
                number,
                runs,
            };
            placed.push((place as f64 + (number - 1) as f64 * apart, step));
        }
    }
    placed.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    placed.into_iter().map(|(_, step)| step).collect()
}

impl Step {
    /// Whether its result is there.
    pub fn is_done(&self, results: &Results) -> bool {
        results.of(&self.name).len() >= self.number
    }

    /// What runs: `cpu, run 2 of 3`.
    pub fn title(&self) -> String {
        match self.runs {
            1 => self.name.clone(),
            runs => format!("{}, run {} of {runs}", self.name, self.number),
        }
    }

    /// How long it takes, by the last run of it at this scale in any of these results, or else by what is usual.
    pub fn expected(&self, scale: f64, results: [&Results; 2]) -> Duration {
        let usual = USUAL.iter().find(|(name, _)| *name == self.name);
        let usual = usual.map_or(UNUSUAL, |(_, seconds)| *seconds) * scale.clamp(0.05, 1.0);
        let runs = results.iter().filter_map(|results| results.of(&self.name).last());
        let last = runs
            .filter(|run| run.scale == scale)
            .map(|run| run.seconds)
            .next();
        Duration::from_secs_f64(last.unwrap_or(usual).max(0.0))
    }
}

/// One line: which results are there already, and are not measured again. `None` if there are none.
pub fn taken_over(steps: &[Step], results: &Results) -> Option<String> {
    let done: Vec<&Step> = steps.iter().filter(|step| step.is_done(results)).collect();
    let names: Vec<String> = done.iter().map(|step| step.title()).collect();
    (!done.is_empty()).then(|| {
        format!(
            "taken over, as they are of this module and this scale: {} (ANEW=1 measures them again)",
            names.join("; ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments;

    fn order(steps: &[Step]) -> Vec<String> {
        let named = |step: &Step| format!("{}{}", step.name, step.number);
        steps.iter().map(named).collect()
    }

    #[test]
    fn runs_of_one_experiment_are_apart() {
        let names = ["cpu", "sessions", "million", "apisix"];
        assert_eq!(
            order(&steps(&names, None, false)),
            ["cpu1", "sessions1", "cpu2", "million1", "apisix1", "cpu3"]
        );
        assert_eq!(
            order(&steps(&names[..2], Some(2), false)),
            ["cpu1", "sessions1", "cpu2", "sessions2"]
        );
        assert_eq!(
            order(&steps(&names[..1], Some(3), false)),
            ["cpu1", "cpu2", "cpu3"]
        );
    }

    #[test]
    fn it_is_known_what_every_experiment_takes() {
        assert_eq!(USUAL.map(|(name, _)| name), experiments::NAMES);
    }
}
