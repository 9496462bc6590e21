//! Finds the `endpoint` event at the beginning of a stream of HTTP+SSE (MCP 2024-11-05, `basic/transports` § HTTP
//! with SSE), while the stream passes in parts.
//!
//! Lines, fields and events follow the HTML standard, § Server-sent events, "Interpreting an event stream". The
//! result does not depend on where the stream was cut.

/// Most bytes of a stream that the search looks at. The event is the first that a server sends. Some servers send a
/// few kilobytes of comments before it, to get through proxies that buffer.
pub const MAX_BYTES: usize = 16 * 1024;

/// Most bytes that are kept of a line, and of an event's data. An event that is longer names no session: a URI has no
/// such length.
const MAX_LINE_BYTES: usize = 2048;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Looks for the first `endpoint` event. Keeps the current line and event, at most [`MAX_BYTES`] of each.
#[derive(Debug)]
pub struct EndpointFinder {
    /// How many more bytes the search looks at.
    left: usize,
    line: Vec<u8>,
    /// The last byte was a carriage return, so a line feed after it does not end another line.
    after_return: bool,
    is_first_line: bool,
    is_endpoint: bool,
    data: Vec<u8>,
    /// The event is longer than what is kept.
    is_cut: bool,
}

/// The result of a search so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// The event may still come.
    GoesOn,
    /// The event's data: the URI to which the client must send its POSTs.
    Found(Vec<u8>),
    /// The event did not come within [`MAX_BYTES`].
    GivenUp,
}

impl EndpointFinder {
    /// A search at the beginning of a stream.
    pub fn new() -> Self {
        Self {
            left: MAX_BYTES,
            line: Vec::new(),
            after_return: false,
            is_first_line: true,
            is_endpoint: false,
            data: Vec::new(),
            is_cut: false,
        }
    }

    /// How many bytes of the next part the search looks at.
    pub fn room(&self) -> usize {
        self.left
    }

    /// Looks at the next part of the stream.
    pub fn look_at(&mut self, part: &[u8]) -> Search {
        for byte in part.iter().take(self.left) {
            self.left -= 1;
            if self.ends_line(*byte) && self.take_line() {
                return Search::Found(core::mem::take(&mut self.data));
            }
        }
        if self.left == 0 {
            Search::GivenUp
        } else {
            Search::GoesOn
        }
    }

    /// Whether the byte ends a line. If not, adds it to the line.
    fn ends_line(&mut self, byte: u8) -> bool {
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        match byte {
            b'\n' => !after_return,
            b'\r' => true,
            _ => {
                self.add_to_line(byte);
                false
            }
        }
    }

    /// Keeps no comment, and no more of a line than [`MAX_LINE_BYTES`]: many streams may wait for their event at once.
    fn add_to_line(&mut self, byte: u8) {
        if self.line.first() == Some(&b':') {
            return;
        }
        if self.line.len() < MAX_LINE_BYTES {
            self.line.push(byte);
        } else {
            self.is_cut = true;
        }
    }

    /// Takes a complete line. Returns true if it completes the event; the event's data is then in `data`.
    fn take_line(&mut self) -> bool {
        let line = core::mem::take(&mut self.line);
        let is_first = core::mem::replace(&mut self.is_first_line, false);
        let line = match line.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if is_first => rest,
            Some(_) | None => &line,
        };
        if line.is_empty() {
            return self.dispatch();
        }
        self.take_field(line);
        false
    }

    /// Handles an empty line: it completes the event, if there is one.
    fn dispatch(&mut self) -> bool {
        let is_whole = !core::mem::take(&mut self.is_cut);
        let is_endpoint = core::mem::take(&mut self.is_endpoint) && is_whole && self.data.pop().is_some();
        if !is_endpoint {
            self.data.clear();
        }
        is_endpoint
    }

    /// Takes one field. Ignores comments, whose name is empty, and all other fields.
    fn take_field(&mut self, line: &[u8]) {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.is_endpoint = value == b"endpoint",
            b"data" if self.data.len() + value.len() < MAX_LINE_BYTES => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"data" => self.is_cut = true,
            _ => {}
        }
    }
}

impl Default for EndpointFinder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn search(parts: &[&[u8]]) -> Search {
        let mut finder = EndpointFinder::new();
        for part in parts {
            match finder.look_at(part) {
                Search::GoesOn => {}
                over @ (Search::Found(_) | Search::GivenUp) => return over,
            }
        }
        Search::GoesOn
    }

    fn found(stream: &str) -> Option<String> {
        match search(&[stream.as_bytes()]) {
            Search::Found(data) => Some(String::from_utf8(data).unwrap()),
            Search::GoesOn | Search::GivenUp => None,
        }
    }

    const EVENT: &str = "event: endpoint\ndata: /m?sessionId=1\n\n";

    #[test]
    fn finds_what_servers_send() {
        for stream in [
            EVENT,
            "event: endpoint\r\ndata: /m?sessionId=1\r\n\r\n",
            "event: endpoint\rdata: /m?sessionId=1\r\r",
            "event:endpoint\ndata:/m?sessionId=1\n\n",
            "data: /m?sessionId=1\nevent: endpoint\n\n",
            "\u{feff}event: endpoint\ndata: /m?sessionId=1\n\n",
            "id: 7\nretry: 10\nevent: endpoint\nunknown\ndata: /m?sessionId=1\n\n",
            ": welcome\n\n: again\nevent: endpoint\n:\ndata: /m?sessionId=1\n\n",
            "event: message\ndata: {}\n\nevent: endpoint\ndata: /m?sessionId=1\n\n",
            "event: other\nevent: endpoint\ndata: /m?sessionId=1\n\n",
            "event: endpoint\r\ndata: /m?sessionId=1\n\r\n",
        ] {
            assert_eq!(found(stream).as_deref(), Some("/m?sessionId=1"), "{stream:?}");
        }
    }

    #[test]
    fn lines_of_data_are_joined() {
        assert_eq!(
            found("event: endpoint\ndata: /a\ndata\ndata:  b\n\n").unwrap(),
            "/a\n\n b"
        );
        assert_eq!(found("event: endpoint\ndata\n\n").unwrap(), "");
    }

    #[test]
    fn other_events_are_not_it() {
        for stream in [
            "",
            "event: endpoint\n\n",
            "event: endpoint\n\ndata: /m\n\n",
            "event: endpoint\ndata: /m\n",
            "event: endpoint\nevent: message\ndata: /m\n\n",
            "event: endpoint\nevent\ndata: /m\n\n",
            "event:  endpoint\ndata: /m\n\n",
            "event: Endpoint\ndata: /m\n\n",
            "Event: endpoint\ndata: /m\n\n",
            "event : endpoint\ndata: /m\n\n",
            ":event: endpoint\ndata: /m\n\n",
            "\n\u{feff}event: endpoint\ndata: /m\n\n",
            "data: event: endpoint\ndata: /m\n\n",
        ] {
            assert_eq!(found(stream), None, "{stream:?}");
        }
    }

    #[test]
    fn data_of_an_event_before_is_not_taken_along() {
        assert_eq!(found("data: a\n\nevent: endpoint\ndata: b\n\n").unwrap(), "b");
        assert_eq!(
            found("event: x\ndata: a\n\nevent: endpoint\ndata: b\n\n").unwrap(),
            "b"
        );
    }

    #[test]
    fn comments_and_long_lines_are_not_kept() {
        let mut finder = EndpointFinder::new();
        finder.look_at(&[b':'; 8192]);
        assert_eq!(finder.line.len(), 1);
        finder.look_at(b"\n\nevent: endpoint\ndata: ");
        finder.look_at(&[b'x'; 4000]);
        assert_eq!(finder.line.len(), MAX_LINE_BYTES);
        assert_eq!(finder.look_at(b"\n\n"), Search::GoesOn);
        let next = finder.look_at(b"event: endpoint\ndata: /m?sessionId=s\n\n");
        assert_eq!(next, Search::Found(b"/m?sessionId=s".to_vec()));
    }

    #[test]
    fn the_first_of_two_is_taken() {
        let two = format!("{EVENT}event: endpoint\ndata: /other\n\n");
        assert_eq!(found(&two).unwrap(), "/m?sessionId=1");
    }

    #[test]
    fn gives_up_at_the_bound_and_not_before() {
        let comment = |len: usize| format!(":{}\n", " ".repeat(len - 2));
        let fits = comment(MAX_BYTES - EVENT.len());
        assert!(found(&(fits.clone() + EVENT)).is_some());
        let too_long = format!(" {fits}{EVENT}");
        assert_eq!(search(&[too_long.as_bytes()]), Search::GivenUp);
        let mut finder = EndpointFinder::new();
        assert_eq!(finder.look_at(&[b'x'; MAX_BYTES]), Search::GivenUp);
        assert_eq!(
            (finder.room(), finder.look_at(EVENT.as_bytes())),
            (0, Search::GivenUp)
        );
    }

    /// The event by the standard's rules, from a whole stream.
    fn as_the_standard_says(stream: &str) -> Option<String> {
        let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let unified = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (complete, _) = unified.rsplit_once('\n')?;
        let (mut name, mut data) = (String::new(), String::new());
        for line in complete.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                _ if line.is_empty() => {
                    if name == "endpoint" && !data.is_empty() {
                        data.pop();
                        return Some(data);
                    }
                    (name, data) = (String::new(), String::new());
                }
                "event" => value.clone_into(&mut name),
                "data" => data = format!("{data}{value}\n"),
                _ => {}
            }
        }
        None
    }

    const PIECES: [&str; 18] = [
        "event",
        "data",
        "id",
        ":",
        ": ",
        " ",
        "endpoint",
        "message",
        "/m?sessionId=1",
        "\n",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\u{feff}",
        "x",
        "event: endpoint\n",
        "data: a\r\n",
    ];

    fn streams() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn says_what_the_standard_says_however_it_is_cut(stream in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
            let expected = as_the_standard_says(&stream);
            prop_assert_eq!(found(&stream), expected.clone());
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            let whole = expected.map_or(Search::GoesOn, |data| Search::Found(data.into_bytes()));
            prop_assert_eq!(search(&parts), whole.clone());
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(search(&single), whole);
        }

        #[test]
        fn any_bytes_are_looked_at_within_the_bound(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut finder = EndpointFinder::new();
            let _ = finder.look_at(&bytes);
            prop_assert!(finder.line.len() + finder.data.len() <= 2 * MAX_LINE_BYTES);
        }
    }
}
