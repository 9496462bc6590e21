//! Answers by which a server says, in words of its own, that it no longer knows a session.

/// Such an answer: clients begin anew only at a 404, so the filter gives its own 404 in place of this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostAnswer {
    /// Its status, 200 to 599.
    pub status: u16,
    /// A text that its body contains, 1 to 256 bytes, compared byte by byte. With a status of 2xx, the body must be a
    /// JSON-RPC error, and only the error's message is searched.
    pub contains: String,
}
