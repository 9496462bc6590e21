//! What the parts have found, as Markdown.

use gateway::envoy::root;

/// The page that shows the tables.
const PAGE: &str = "docs/protection.md";

/// One part of the run.
#[derive(Debug, Clone)]
pub struct Part {
    /// As its marks in the page have it.
    pub name: String,
    pub text: String,
    /// What was wrong.
    pub faults: Vec<String>,
}

impl Part {
    /// A part with nothing in it.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: String::new(),
            faults: Vec::new(),
        }
    }

    /// Puts its tables between its two marks in the page.
    pub fn write(&self) -> Result<(), String> {
        let path = root().join(PAGE);
        let page = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let (begin, end) = (
            format!("<!-- begin {} -->\n", self.name),
            format!("<!-- end {} -->", self.name),
        );
        let parts = page
            .split_once(&begin)
            .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
        let (before, after) = parts.ok_or_else(|| format!("{PAGE}: no place for {}", self.name))?;
        let page = format!("{before}{begin}\n{}\n{end}{after}", self.text.trim_end());
        std::fs::write(&path, page).map_err(|error| error.to_string())
    }
}

/// A table. Cells are the machine's own words: a bar would end one.
pub fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let safe = |cell: String| cell.replace('|', "\\|").replace('\n', " ");
    let head = line(heads.iter().map(|head| (*head).to_owned()).collect());
    let rule = format!("|{}\n", "---|".repeat(heads.len()));
    let rows = rows
        .into_iter()
        .map(|row| line(row.into_iter().map(safe).collect()));
    head + &rule + &rows.collect::<String>()
}
