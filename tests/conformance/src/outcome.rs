//! The result of a client's session.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::process::Program;

/// A client that runs longer is stuck.
const BOUND: Duration = Duration::from_secs(90);

/// One step of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub ok: bool,
    /// What came, or what was wrong.
    pub detail: String,
}

/// The steps of a session, as the client took them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub steps: Vec<Step>,
}

impl Outcome {
    /// Runs a client to its end. A client that prints nothing has one step, which failed.
    pub async fn of(client: &Program) -> Self {
        match client.run(BOUND).await {
            Ok(printed) => Self::parse(&printed.stdout).unwrap_or_else(|| {
                let why = if printed.late { "HANGS" } else { "died" };
                let last = printed.stderr.lines().last().unwrap_or_default();
                Self::failed(format!("{why}: {last}"))
            }),
            Err(error) => Self::failed(error),
        }
    }

    fn parse(stdout: &str) -> Option<Self> {
        let line = stdout.lines().rev().find(|line| line.starts_with('{'))?;
        let steps: Map<String, Value> = serde_json::from_str(line).ok()?;
        let step = |(name, value): (&String, &Value)| Step {
            name: name.clone(),
            ok: value["ok"] == true,
            detail: value["detail"].as_str().unwrap_or_default().to_owned(),
        };
        Some(Self {
            steps: steps.iter().map(step).collect(),
        })
    }

    fn failed(detail: String) -> Self {
        let step = Step {
            name: "session".to_owned(),
            ok: false,
            detail,
        };
        Self { steps: vec![step] }
    }

    /// How many steps went well.
    pub fn passed(&self) -> usize {
        self.steps.iter().filter(|step| step.ok).count()
    }

    /// Whether all did.
    pub fn is_good(&self) -> bool {
        self.passed() == self.steps.len()
    }

    /// A step by its name.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// What is worse here than in `other`: steps that went well there and not here.
    pub fn worse_than(&self, other: &Self) -> Vec<String> {
        let well = |name: &str| self.step(name).is_some_and(|step| step.ok);
        let lost = other.steps.iter().filter(|step| step.ok && !well(&step.name));
        lost.map(|step| {
            let detail = self
                .step(&step.name)
                .or(self.steps.last())
                .map_or("", |step| step.detail.as_str());
            format!("{}: {detail}", step.name)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(line: &str) -> Outcome {
        Outcome::parse(line).unwrap()
    }

    #[test]
    fn reads_the_last_line_of_json() {
        let read = outcome(
            "noise\n{\"connect\":{\"ok\":true,\"detail\":\"x\"},\"list\":{\"ok\":false,\"detail\":\"y\"}}\n",
        );
        assert_eq!((read.passed(), read.steps.len(), read.is_good()), (1, 2, false));
    }

    #[test]
    fn a_step_that_failed_or_was_never_taken_is_worse() {
        let good = outcome(r#"{"connect":{"ok":true,"detail":""},"list":{"ok":true,"detail":""}}"#);
        let bad = outcome(r#"{"connect":{"ok":false,"detail":"refused"}}"#);
        assert_eq!(bad.worse_than(&good), ["connect: refused", "list: refused"]);
        assert!(good.worse_than(&bad).is_empty());
    }
}
