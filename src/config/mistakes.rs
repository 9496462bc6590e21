//! The mistakes of a configuration, all reported at once.

use core::cell::RefCell;
use core::fmt;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The field, as in `endpoints[1].idle_timeout`; empty for the configuration as a whole.
    pub path: String,
    /// What is wrong and what is allowed, as in `must be at least 1s, got "0.5s"`.
    pub problem: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.problem),
            path => write!(f, "{path}: {}", self.problem),
        }
    }
}

/// Why a configuration is refused: one line with the number of mistakes, then one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// The bytes are neither JSON nor a Struct, so no field can be checked.
    pub(super) fn unreadable(problem: String) -> Self {
        Self {
            mistakes: vec![Mistake {
                path: String::new(),
                problem,
            }],
        }
    }

    /// The mistakes, at least one, in the order of reading.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "invalid configuration: {count} mistake{plural}")?;
        self.mistakes
            .iter()
            .try_for_each(|mistake| write!(f, "\n  - {mistake}"))
    }
}

impl core::error::Error for ConfigError {}

/// Collects mistakes and warnings while a configuration is read. All its [`Located`](super::located::Located) values
/// share it.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<String>>,
}

impl Mistakes {
    /// Notes one more mistake; `path` as in [`Mistake::path`].
    pub(super) fn add(&self, path: &str, problem: String) {
        self.mistakes.borrow_mut().push(Mistake {
            path: path.to_owned(),
            problem,
        });
    }

    /// Notes a warning about an accepted value; `path` as in [`Mistake::path`].
    pub(super) fn warn(&self, path: &str, warning: &str) {
        self.warnings.borrow_mut().push(format!("{path}: {warning}"));
    }

    /// An error with all mistakes, if there are any; and the warnings.
    pub(super) fn into_result(self) -> (Result<(), ConfigError>, Vec<String>) {
        let mistakes = self.mistakes.into_inner();
        let result = if mistakes.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { mistakes })
        };
        (result, self.warnings.into_inner())
    }
}
