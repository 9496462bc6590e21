//! Clients and the server: what they send, and what the world expects of the filter.

use std::rc::Rc;

use mcp_session_filter::exchange::{Edit, Exchange, Interest, RequestHead, ResponseHead, Verdict};

use super::books::{Before, Letting, Outcome};
use super::worker::{Core, Place, Stream};
use super::{IDS, SSE, World, id_text};

pub(super) type Fields = Vec<(String, Vec<u8>)>;

/// A request as a client sends it.
#[derive(Debug)]
pub(super) struct Request {
    site: usize,
    verb: &'static str,
    id: Option<usize>,
    has_bad_id: bool,
    is_modern: bool,
    is_json: bool,
    body: &'static [u8],
}

const INITIALIZE: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
const LISTEN: &[u8] = br#"{"jsonrpc":"2.0","id":5,"method":"subscriptions/listen","params":{}}"#;
const BODIES: [&[u8]; 8] = [
    LISTEN,
    INITIALIZE,
    INITIALIZE,
    br#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"t"}}"#,
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    br#"{"jsonrpc":"2.0","id":3,"result":{}}"#,
    br#"[{"jsonrpc":"2.0","id":4,"method":"ping"}]"#,
    br#"{"jsonrpc": nonsense"#,
];

impl World {
    /// Sends a client's request.
    pub(super) fn request(&mut self, wanted: Option<usize>) {
        let Some(number) = self.woken(wanted) else { return };
        self.tally.requests += 1;
        let request = self.any_request();
        let before = self.before(number, request.site, request.id);
        let fields = request.fields();
        let head = RequestHead::new(borrowed(&fields), !request.body.is_empty());
        let now = self.timestamp();
        let Some(worker) = &mut self.workers[number] else {
            return;
        };
        let context = worker.next_context();
        let core = Rc::clone(&worker.core);
        let (begun, heard) = core.run(&self.configured, now, |gate, heard| {
            Exchange::begin(gate, heard, &head, context)
        });
        let Some((exchange, verdict)) = begun else { return };
        let mut stream = Stream {
            core,
            context,
            exchange,
            site: request.site,
            verb: request.verb,
            takes_no_id: false,
            answered: false,
            place: None,
            asks: false,
            is_counted: false,
            uses: None,
            unknown: None,
            is: None,
            itself: None,
        };
        let outcome = Outcome {
            heard,
            letting: letting(&verdict),
            is_read: false,
        };
        self.judged(number, &mut stream, &request, before, outcome);
        self.send_body(number, &mut stream, &request);
        if let Some(worker) = &mut self.workers[number] {
            worker.streams.push(stream);
        }
    }

    fn any_request(&mut self) -> Request {
        let choices = &mut self.choices;
        let (verb, has_id) = choices.one_of(&[
            ("POST", false),
            ("POST", false),
            ("POST", false),
            ("POST", true),
            ("POST", true),
            ("GET", true),
            ("GET", true),
            ("GET", false),
            ("DELETE", true),
            ("HEAD", false),
        ]);
        let body = choices.one_of(&BODIES);
        let site = choices.below(SSE + 1);
        let has_id = has_id && (site, verb) != (SSE, "GET");
        Request {
            site,
            verb,
            id: has_id.then(|| choices.below(IDS)),
            has_bad_id: choices.once_in(40),
            is_modern: choices.once_in(12),
            is_json: !choices.once_in(20),
            body: if verb == "POST" { body } else { b"" },
        }
    }

    /// Sends the body in pieces, or only some of them.
    fn send_body(&mut self, number: usize, stream: &mut Stream, request: &Request) {
        let mut rest = request.body;
        let mut held = Vec::new();
        while !rest.is_empty() {
            let is_looked_at = matches!(stream.exchange.wants().request_body, Interest::Part(_));
            // Where a message is cut off, the world does not know whether the filter knows its method.
            let is_whole = is_looked_at && request.body == LISTEN;
            if !is_whole && self.choices.once_in(30) {
                return;
            }
            let (part, left) = rest.split_at((1 + self.choices.below(64)).min(rest.len()));
            rest = left;
            let core = Rc::clone(&stream.core);
            match stream.exchange.wants().request_body {
                Interest::Nothing => return,
                Interest::Part(max) => {
                    let part = &part[..part.len().min(max)];
                    let now = self.timestamp();
                    let exchange = &mut stream.exchange;
                    let before = self.before(number, request.site, None);
                    let (late, heard) = core.run(&self.configured, now, |gate, heard| {
                        let beginning = exchange.glimpse(heard, part, rest.is_empty())?;
                        Some(letting(&exchange.listen_late(gate, heard, &beginning)))
                    });
                    // The filter looks until it knows the method.
                    let is_known = stream.exchange.wants().request_body == Interest::Nothing;
                    stream.asks |= request.body == LISTEN && is_known;
                    if let Some(letting) = late {
                        self.judged_late(number, stream, request, before, heard, letting);
                    }
                }
                Interest::Whole(_) => {
                    held.extend_from_slice(part);
                    if rest.is_empty() {
                        self.judge(number, stream, request, &core, &held);
                    }
                }
            }
        }
    }

    fn judge(&mut self, number: usize, stream: &mut Stream, request: &Request, core: &Core, held: &[u8]) {
        let before = self.before(number, request.site, request.id);
        let now = self.timestamp();
        let exchange = &mut stream.exchange;
        let (letting, heard) = core.run(&self.configured, now, |gate, heard| {
            letting(&exchange.judge(gate, heard, held))
        });
        let outcome = Outcome {
            heard,
            letting,
            is_read: true,
        };
        self.judged(number, stream, request, before, outcome);
    }

    /// The reservation of a request, if it has one.
    pub(super) fn new_reservation(&self, site: usize) -> Place {
        let timeout = self.configured.sites[site].rules.initialize_timeout;
        let timeout = u64::try_from(timeout.as_millis()).unwrap();
        Place {
            site,
            kept_until: self.now + timeout - timeout / 16,
            gone_at: self.now + timeout,
        }
    }

    /// Gives the server's or Envoy's answer to a request.
    pub(super) fn answer(&mut self, wanted: Option<usize>) {
        // Most requests that keep a place are answered, or no session would ever find one.
        let wants_place = !self.choices.once_in(4);
        let Some((number, mut stream)) = self.take_stream(wanted, wants_place) else {
            return;
        };
        if stream.answered {
            self.go_on(number, &mut stream);
        } else {
            self.tally.answers += 1;
            stream.answered = true;
            self.answered(number, &mut stream);
        }
        if let Some(worker) = &mut self.workers[number] {
            worker.streams.push(stream);
        }
    }

    fn answered(&mut self, number: usize, stream: &mut Stream) {
        let answer = self.any_answer(stream);
        let fields = answer.fields();
        let head = ResponseHead::new(borrowed(&fields));
        if !stream.exchange.wants().answer_head || stream.exchange.is_of_no_interest(&head) {
            return;
        }
        let (now, core) = (self.timestamp(), Rc::clone(&stream.core));
        let is_there = |id| self.is_there_for(&core, stream.site, id);
        let before = Before {
            is_there: answer.id().is_some_and(is_there),
            ..self.before(number, stream.site, None)
        };
        let own = self.session_of(stream);
        let exchange = &mut stream.exchange;
        let (edit, heard) = core.run(&self.configured, now, |gate, heard| {
            exchange.answered(gate, heard, &head, || answer.from_server)
        });
        let passes = match edit {
            Edit::Keep => true,
            Edit::DropSessionId => false,
            Edit::Close | Edit::Replace(_) => panic!("the head of an answer closes or replaces it"),
        };
        Self::note_answered(stream, &answer);
        self.check_answer(number, stream, (own, &answer, passes), (&before, &heard));
        self.opened(number, stream, (own, &answer, passes), before, heard);
    }

    /// The number of the session that the exchange uses.
    pub(super) fn session_of(&self, stream: &Stream) -> Option<usize> {
        let session = stream.exchange.session()?;
        let tag = self.configured.sites[stream.site].tag;
        let key = |id: usize| stream.core.table.key(tag, id_text(id).as_bytes());
        (0..IDS).find(|id| key(*id) == session)
    }

    /// Sends more of an answer's body, if the exchange looks at it.
    fn go_on(&mut self, number: usize, stream: &mut Stream) {
        if stream.exchange.wants().answer_body == 0 {
            return;
        }
        let id = self.choices.below(IDS);
        let (text, opens) = match self.choices.below(6) {
            0 => (": nothing yet\n\n".to_owned(), None),
            1 => (" ".repeat(16 * 1024), None),
            2 => ("event: endpoint\ndata: /c/m\n\n".to_owned(), None),
            _ => {
                let uri = format!("/c/m?sessionId={}", id_text(id));
                (format!("event: endpoint\ndata: {uri}\n\n"), Some(id))
            }
        };
        let (first, second) = text.split_at(self.choices.below(text.len().min(256)));
        let (now, core) = (self.timestamp(), Rc::clone(&stream.core));
        let before = self.before(number, stream.site, None);
        let exchange = &mut stream.exchange;
        let (closes, heard) = core.run(&self.configured, now, |gate, heard| {
            let edits = [first, second].map(|part| {
                let len = part.len().min(exchange.wants().answer_body);
                exchange.streamed(gate, heard, &part.as_bytes()[..len])
            });
            edits.contains(&Edit::Close)
        });
        self.announced(number, stream, opens, before, heard);
        if closes {
            self.end_stream(number, stream);
        }
    }

    /// Ends a stream, for any reason.
    pub(super) fn leave(&mut self, wanted: Option<usize>) {
        let Some((number, mut stream)) = self.take_stream(wanted, false) else {
            return;
        };
        self.end_stream(number, &mut stream);
    }

    pub(super) fn end_stream(&mut self, number: usize, stream: &mut Stream) {
        let (now, core) = (self.timestamp(), Rc::clone(&stream.core));
        let before = self.before(number, stream.site, None);
        let exchange = &mut stream.exchange;
        let ((), heard) = core.run(&self.configured, now, |gate, heard| {
            if !exchange.end_locally(gate.in_use) {
                exchange.end(gate, heard);
            }
        });
        self.left(number, stream, &before, &heard);
    }

    /// Takes any stream of a worker or, if there is one, a stream with a place.
    fn take_stream(&mut self, wanted: Option<usize>, wants_place: bool) -> Option<(usize, Stream)> {
        let number = wanted.unwrap_or_else(|| self.choices.below(super::WORKERS));
        let streams = self.streams(number);
        if streams == 0 {
            return None;
        }
        let chosen = self.choices.below(streams.min(256));
        let worker = self.workers[number].as_mut()?;
        let placed = |stream: &Stream| stream.place.is_some();
        let placed = worker.streams.iter().position(placed).filter(|_| wants_place);
        let chosen = placed.unwrap_or(chosen);
        Some((number, worker.streams.swap_remove(chosen)))
    }
}

impl Request {
    fn fields(&self) -> Fields {
        let mut fields = vec![
            (":method".to_owned(), self.verb.as_bytes().to_vec()),
            (":path".to_owned(), self.path().into_bytes()),
            (":authority".to_owned(), b"gateway".to_vec()),
        ];
        if let Some(id) = self.id.filter(|_| self.site != SSE) {
            fields.push(("mcp-session-id".to_owned(), id_text(id).into_bytes()));
        }
        if self.has_bad_id {
            fields.push(("mcp-session-id".to_owned(), b"\xff".to_vec()));
        }
        if self.verb == "POST" && self.is_json {
            fields.push(("content-type".to_owned(), b"application/json".to_vec()));
        }
        if self.is_modern {
            fields.push(("mcp-protocol-version".to_owned(), b"2026-07-28".to_vec()));
            let (method, name) = match self.body {
                LISTEN => (&b"subscriptions/listen"[..], None),
                _ => (&b"tools/call"[..], Some(b"t".to_vec())),
            };
            fields.push(("mcp-method".to_owned(), method.to_vec()));
            fields.extend(name.map(|name| ("mcp-name".to_owned(), name)));
        }
        fields
    }

    fn path(&self) -> String {
        let id = self.id.map(id_text).unwrap_or_default();
        match (self.site, self.verb, self.id) {
            (0, ..) => "/a?x".to_owned(),
            (1, ..) => "/b".to_owned(),
            (_, "POST" | "DELETE", Some(_)) => format!("/c/m?x&session_id={id}"),
            (_, "POST", None) => "/c/m".to_owned(),
            (..) => "/c?x".to_owned(),
        }
    }

    /// The id by which the request is judged, if it has one.
    pub(super) fn expected(&self, is_read: bool) -> Option<usize> {
        let has_no_session = self.has_bad_id || self.is_sessionless(is_read);
        self.id.filter(|_| self.site == SSE || !has_no_session)
    }

    /// Whether it is of a revision without sessions. An `initialize` never is, once it was read.
    fn is_sessionless(&self, is_read: bool) -> bool {
        self.is_modern && !(is_read && self.body == INITIALIZE)
    }

    /// Whether some servers would open a stream for it and never close it.
    pub(super) fn is_head_of_stream(&self) -> bool {
        (self.site, self.verb) == (SSE, "HEAD")
    }

    /// Whether the filter knows that it asks for a stream: of a POST by its message or, where that is not read, by its
    /// `Mcp-Method`.
    pub(super) fn asks_for_stream(&self, is_read: bool) -> bool {
        match (self.site, self.verb) {
            (SSE, _) => false,
            (_, "GET") => true,
            (_, "POST") => self.body == LISTEN && (is_read || self.is_modern),
            _ => false,
        }
    }

    /// Whether every id comes off its answer.
    pub(super) fn takes_no_id(&self, is_read: bool) -> bool {
        self.site == SSE || self.is_sessionless(is_read)
    }

    /// Whether the server may open a session for it, so that it passes with a place only.
    pub(super) fn needs_a_place(&self, is_read: bool) -> bool {
        match (self.site, self.verb) {
            (SSE, verb) => verb == "GET",
            (_, "POST") => self.is_json && !self.is_sessionless(is_read) && self.expected(is_read).is_none(),
            _ => false,
        }
    }
}

fn borrowed(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_slice()))
}

fn letting(verdict: &Verdict<'_>) -> Letting {
    match verdict {
        Verdict::Forward | Verdict::ForwardWithoutId | Verdict::ForwardForPlainAnswer => Letting::In,
        Verdict::Hold => Letting::Held,
        Verdict::Wait => panic!("there is no fleet"),
        Verdict::Answer(answer) => {
            assert!(answer.body().len() < 4096, "{answer:?}");
            Letting::Refused(answer.status())
        }
    }
}
