//! The report: one page of HTML without anything from elsewhere, a summary in Markdown, and the tables of figures in
//! the documents.

mod axis;
mod bars;
mod lines;
mod page;
pub mod placed;
mod rows;
mod table;

pub use page::page;
pub use placed::Placed;
pub use table::table;

use crate::results::{Claim, Run};

/// Text as HTML and SVG may hold it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

/// How large a run was.
fn size(run: &Run) -> String {
    match (run.counts(), run.soak) {
        (true, false) => "full size".to_owned(),
        (true, true) => "soak".to_owned(),
        (false, _) => format!("a quick look at {} of the size, which does not count", run.scale),
    }
}

/// What became of a target.
fn verdict(run: &Run, claim: &Claim) -> &'static str {
    match (run.counts(), claim.met) {
        (false, _) => "quick",
        (true, true) => "met",
        (true, false) => "missed",
    }
}
