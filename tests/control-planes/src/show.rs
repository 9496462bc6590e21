//! What the test prints.

use std::time::Instant;

/// Prints a line for each step that went well, with the seconds since the start.
#[derive(Debug, Clone, Copy)]
pub struct Show {
    start: Instant,
}

impl Show {
    /// The clock starts now.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// What comes now.
    pub fn heading(&self, text: &str) {
        println!("\n{text}");
    }

    /// What is done.
    pub fn done(&self, text: &str) {
        println!("  ok {:>6.1} s  {text}", self.start.elapsed().as_secs_f64());
    }

    /// What is different from what ships.
    pub fn replaced(&self, list: &[crate::resources::Replaced]) {
        for replaced in list {
            let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            println!(
                "  replaced     {}  by  {}",
                one_line(&replaced.old),
                one_line(&replaced.new)
            );
        }
    }
}
