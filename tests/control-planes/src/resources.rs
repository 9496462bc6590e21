//! Files that ship, and the little that is replaced in them.

use std::path::Path;
use std::process::Command;

use crate::Fallible;
use crate::process::output;

/// A folder of resources as `kubectl apply -k` would apply it; `$KUBECTL` is the program.
pub fn kustomized(folder: &Path) -> Fallible<String> {
    let kubectl = std::env::var_os("KUBECTL").ok_or("KUBECTL names no program")?;
    output(Command::new(kubectl).arg("kustomize").arg(folder))
}

/// Text in place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    pub old: String,
    pub new: String,
}

impl Replaced {
    /// `new` in place of `old`.
    pub fn new(old: impl Into<String>, new: impl Into<String>) -> Self {
        Self {
            old: old.into(),
            new: new.into(),
        }
    }
}

/// The text with all of these replaced. Each must be there once at least: what is no longer there was tested before and
/// is not tested now.
pub fn replaced(text: &str, list: &[Replaced]) -> Fallible<String> {
    let mut text = text.to_owned();
    for Replaced { old, new } in list {
        if !text.contains(old.as_str()) {
            return Err(format!("there is no `{old}` to replace in:\n{text}"));
        }
        text = text.replace(old.as_str(), new);
    }
    Ok(text)
}
