//! Reads the repository's documents for the tests that hold them against the code.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The text of a file, by its path from the root of the repository.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below the root of the repository whose names end in `extension`, without built and fetched files.
pub(crate) fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from(".")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let is_ours = !["target", "node_modules", ".git", ".cache"].contains(&name.as_str());
                directories.extend(is_ours.then_some(path));
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(".").unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// The rows of every table of `text` whose header begins with `header`, cell by cell, without code marks.
pub(crate) fn rows(text: &str, header: &str) -> Vec<Vec<String>> {
    let unmarked = |line: &str| cells(line).iter().map(|cell| cell.replace('`', "")).collect();
    let rows: Vec<Vec<String>> = lines_of_tables(text, header).map(unmarked).collect();
    assert!(!rows.is_empty(), "no table {header}");
    rows
}

/// The lines below the header of every table whose header begins with `header`.
pub(crate) fn lines_of_tables<'a>(text: &'a str, header: &str) -> impl Iterator<Item = &'a str> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(header) {
            lines.next();
            found.extend(lines.by_ref().take_while(|line| line.starts_with('|')));
        }
    }
    found.into_iter()
}

/// The cells of a line of a table.
pub(crate) fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "\u{0}");
    let inner = line.trim().trim_matches('|');
    inner.split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// The texts between code marks in a line.
pub(crate) fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The lines outside fenced blocks.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        fenced ^= is_fence;
        !fenced && !is_fence
    })
}

/// These items as a set of texts.
pub(crate) fn set<T: Into<String>>(items: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    items.into_iter().map(Into::into).collect()
}
