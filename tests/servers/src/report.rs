//! The rows, as a table.

use gateway::envoy::root;

/// How many characters of an error the table shows: a gateway that does not start has a long log.
const SHOWN: usize = 300;

/// One play against one server.
#[derive(Debug, Clone)]
pub struct Row {
    pub server: String,
    pub play: String,
    /// What the client saw, in words.
    pub seen: String,
    /// Sessions that work for the client.
    pub usable: u64,
    /// Sessions that the server holds.
    pub held: u64,
    /// Those of them that it named to no client.
    pub untold: u64,
    /// What `active` says.
    pub active: u64,
    /// What was wrong besides numbers that differ; may be empty.
    pub wrong: String,
}

impl Row {
    /// A play that could not be played.
    pub fn failed(server: &str, play: &str, wrong: String) -> Self {
        Self {
            server: server.to_owned(),
            play: play.to_owned(),
            seen: String::new(),
            usable: 0,
            held: 0,
            untold: 0,
            active: 0,
            wrong,
        }
    }

    /// Whether client, server and gauge agree, and nothing else was wrong.
    pub fn is_good(&self) -> bool {
        self.usable == self.active && self.usable + self.untold == self.held && self.wrong.is_empty()
    }

    fn line(&self) -> String {
        let verdict = match self.is_good() {
            true => "agree".to_owned(),
            false => format!(
                "**differ** {}",
                self.wrong.chars().take(SHOWN).collect::<String>()
            ),
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            self.server,
            self.play,
            self.seen.replace('|', "\\|"),
            self.usable,
            self.held,
            self.untold,
            self.active,
            verdict.replace('|', "\\|").replace('\n', " "),
        )
    }
}

/// Prints the table and writes it. An error of the file system is told in words.
pub fn write(rows: &[Row]) -> Result<(), String> {
    let head = "| server | play | the client saw | usable | the server holds | and named to nobody | the gauge says | |\n|---|---|---|--:|--:|--:|--:|---|\n";
    let lines: String = rows.iter().map(Row::line).collect();
    let good = rows.iter().filter(|row| row.is_good()).count();
    let text = format!("{head}{lines}\n{good} of {} agree\n", rows.len());
    let directory = root().join("target/servers");
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(&directory).map_err(failed)?;
    std::fs::write(directory.join("report.md"), &text).map_err(failed)?;
    println!("\n{text}\nWritten: {}", directory.join("report.md").display());
    Ok(())
}
