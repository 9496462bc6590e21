//! The results of the experiments: one file of JSON, from which the report is drawn.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Fallible;

/// The runs of all experiments, the oldest first. All are of one module, one machine and one scale.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    pub experiments: BTreeMap<String, Vec<Run>>,
}

/// One run of one experiment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// When it ended, in UTC.
    pub date: String,
    pub seconds: f64,
    /// 1 is full size.
    pub scale: f64,
    pub soak: bool,
    pub machine: Machine,
    pub outcome: Outcome,
}

/// Where it ran, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub kernel: String,
    pub envoy: String,
    /// The module's size and a hash of it, to tell builds apart.
    pub module: String,
    pub open_files: u64,
}

/// What an experiment has to show.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub title: String,
    pub claims: Vec<Claim>,
    pub charts: Vec<Chart>,
    /// Everything measured, for further study.
    pub figures: Value,
}

/// A figure beside its target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claim {
    pub what: String,
    /// What the others reported, where this repeats their experiment.
    pub original: String,
    pub target: String,
    pub figure: String,
    pub met: bool,
}

/// A picture, as data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chart {
    /// States the finding.
    pub title: String,
    /// How it was measured, in a line or two.
    pub note: String,
    pub x: String,
    pub y: String,
    pub shape: Shape,
}

/// How a picture is drawn.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    Bars(Vec<Bar>),
    Lines(Vec<Line>),
}

/// A value with its spread.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bar {
    pub label: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// What stands beside the value.
    pub note: String,
    /// Ours, rather than something to compare with.
    pub ours: bool,
}

/// A curve.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    pub label: String,
    pub points: Vec<(f64, f64)>,
    pub style: Style,
}

/// What a curve is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// What was measured of the filter.
    Ours,
    /// Another measurement of the filter.
    OursToo,
    /// What it is compared with.
    Other,
    /// Another such comparison.
    OtherToo,
    /// A limit to stay under.
    Limit,
}

impl Machine {
    /// Whether that is this machine with this Envoy, whatever the module.
    pub fn is_the_same(&self, other: &Self) -> bool {
        let told_apart = |machine: &Self| Self {
            module: String::new(),
            ..machine.clone()
        };
        told_apart(self) == told_apart(other)
    }
}

impl Run {
    /// Whether it is of the size that the rows of the documents' tables name, no smaller and no larger.
    pub fn is_full_size(&self) -> bool {
        self.scale == 1.0
    }

    /// Whether its figures are to be held against the targets.
    pub fn counts(&self) -> bool {
        self.scale >= 1.0
    }
}

impl Claim {
    /// A figure beside its target.
    pub fn new(what: &str, target: &str, figure: String, met: bool) -> Self {
        Self {
            what: what.to_owned(),
            original: String::new(),
            target: target.to_owned(),
            figure,
            met,
        }
    }

    /// With what others reported.
    pub fn against(mut self, original: &str) -> Self {
        original.clone_into(&mut self.original);
        self
    }
}

impl Line {
    /// A curve through these points.
    pub fn new(label: &str, style: Style, points: Vec<(f64, f64)>) -> Self {
        Self {
            label: label.to_owned(),
            points,
            style,
        }
    }
}

/// The directory of the results and the report for one kind of run. A quick look never replaces a whole run, nor
/// `make soak` a `make bench`.
pub fn directory(scale: f64, soak: bool) -> PathBuf {
    let bench = gateway::envoy::root().join("target/bench");
    match (scale >= 1.0, soak) {
        (true, false) => bench,
        (true, true) => bench.join("soak"),
        (false, _) => bench.join("quick"),
    }
}

impl Results {
    /// Reads the results so far; none if there is no file yet.
    ///
    /// # Errors
    /// If the file cannot be read, or is not of this version of the program.
    pub fn read(path: &Path) -> Fallible<Self> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| format!("{}: {error}; remove it to begin anew", path.display()).into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("{}: {error}", path.display()).into()),
        }
    }

    /// Writes them, making the directory where it is missing. Whoever is interrupted here leaves the old file.
    ///
    /// # Errors
    /// If the directory cannot be made, or the file not be written.
    pub fn write(&self, path: &Path) -> Fallible<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_string_pretty(self)?)?;
        Ok(fs::rename(new, path)?)
    }

    /// The runs of an experiment, the oldest first.
    pub fn of(&self, name: &str) -> &[Run] {
        self.experiments.get(name).map_or(&[], Vec::as_slice)
    }

    /// Adds a run.
    pub fn add(&mut self, name: &str, run: Run) {
        self.experiments.entry(name.to_owned()).or_default().push(run);
    }

    /// Why these results cannot stand beside those of `machine` at `scale`; `None` if they can.
    pub fn differ_from(&self, machine: &Machine, scale: f64) -> Option<&'static str> {
        let run = self.experiments.values().flatten().next()?;
        if run.machine.module != machine.module {
            Some("the module has changed")
        } else if run.scale != scale {
            Some("the scale is another")
        } else if run.machine != *machine {
            Some("the machine or its Envoy is another")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(module: &str) -> Machine {
        Machine {
            processor: "a processor".to_owned(),
            cores: 2,
            memory_mib: 1024,
            kernel: "6".to_owned(),
            envoy: "1.40.0".to_owned(),
            module: module.to_owned(),
            open_files: 1024,
        }
    }

    fn run(module: &str, scale: f64) -> Run {
        Run {
            date: "2026-01-01 00:00 UTC".to_owned(),
            seconds: 1.0,
            scale,
            soak: false,
            machine: machine(module),
            outcome: Outcome::default(),
        }
    }

    #[test]
    fn results_of_another_module_or_scale_do_not_stand_beside_new_ones() {
        let mut results = Results::default();
        assert_eq!(results.differ_from(&machine("a"), 1.0), None);
        results.add("cpu", run("a", 0.5));
        assert_eq!(results.differ_from(&machine("a"), 0.5), None);
        assert!(
            results
                .differ_from(&machine("b"), 0.5)
                .unwrap()
                .contains("module")
        );
        assert!(results.differ_from(&machine("a"), 0.6).unwrap().contains("scale"));
        let moved = Machine {
            cores: 4,
            ..machine("a")
        };
        assert!(results.differ_from(&moved, 0.5).unwrap().contains("machine"));
    }

    #[test]
    fn every_run_of_an_experiment_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("below/runs.json");
        let mut results = Results::read(&path).unwrap();
        results.add("cpu", run("a", 1.0));
        results.write(&path).unwrap();
        let mut results = Results::read(&path).unwrap();
        results.add("cpu", run("a", 1.0));
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap().of("cpu").len(), 2);
    }
}
