//! Puts load on a gateway, and measures it.
//!
//! [`modes`] are the shapes of load. They consist of [`Worker`]s that send prepared [`requests`] and record the
//! results in a [`Recorder`]. [`Server`] stands behind the gateway and is never the bottleneck. [`experiments`] put a
//! real Envoy between the two, measure its [`process`], and leave [`results`], from which [`report`] draws pages.
//!
//! All of it runs on one thread: on a machine with two cores the other core is Envoy's.

pub mod experiments;
pub mod figures;
pub mod limits;
mod machine;
pub mod modes;
pub mod options;
pub mod plan;
pub mod pool;
pub mod process;
pub mod progress;
pub mod report;
pub mod requests;
pub mod results;
pub mod server;
pub mod session_id;
pub mod wire;
pub mod worker;

pub use figures::{Figures, Recorder};
pub use requests::{Kind, Target};
pub use server::Server;
pub use session_id::{SessionId, SessionIds};
pub use worker::Worker;

/// An error with a reason for a person to read.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

/// A whole number with separators: `1,000,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn groups_digits_by_three() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
