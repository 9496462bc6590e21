//! Clients that write whatever they like.

use std::fmt;
use std::rc::Rc;

use mcp_session_filter::exchange::Interest;

use super::books::User;
use super::filter::{self, Fields};
use super::{Choices, Hostile, Id, Ids, Open};

/// A message, and the world's knowledge of it.
struct Message {
    bytes: &'static [u8],
    /// Some server may take it for an `initialize`.
    may_open: bool,
    /// It is refused in any case, or its refusal would prove nothing.
    is_odd: bool,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes))
    }
}

const fn message(bytes: &'static [u8], may_open: bool, is_odd: bool) -> Message {
    Message {
        bytes,
        may_open,
        is_odd,
    }
}

const MESSAGES: [Message; 14] = [
    message(
        br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#,
        true,
        false,
    ),
    message(
        br#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#,
        true,
        false,
    ),
    message(
        br#"{"jsonrpc":"2.0","method":"initialize","params":{}}"#,
        true,
        false,
    ),
    message(
        br#"{"jsonrpc":"2.0","id":null,"method":"initialize"}"#,
        true,
        true,
    ),
    message(br#"{"jsonrpc":"2.0","id":1,"Method":"initialize"}"#, true, true),
    message(
        br#"{"jsonrpc":"2.0","id":1,"method":"initialize","result":{}}"#,
        true,
        true,
    ),
    message(
        br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t"}}"#,
        false,
        false,
    ),
    message(br#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#, false, false),
    message(
        br#"{"jsonrpc":"2.0","id":3,"method":"server/discover"}"#,
        false,
        true,
    ),
    message(
        br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        false,
        false,
    ),
    message(br#"{"jsonrpc":"2.0","id":4,"result":{}}"#, false, false),
    message(br#"[{"jsonrpc":"2.0","id":5,"method":"ping"}]"#, false, true),
    message(br#"[{"jsonrpc":"2.0","id":6,"method":"initialize"}]"#, true, true),
    message(br#"{"jsonrpc": nonsense"#, false, true),
];

/// A request as a client sends it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) site: usize,
    pub(super) verb: &'static str,
    pub(super) user: User,
    /// How many ids it carries.
    pub(super) ids: usize,
    /// The id, if it is one and valid.
    pub(super) own: Option<Id>,
    pub(super) versions: Vec<&'static str>,
    pub(super) method: Option<&'static str>,
    pub(super) types: &'static [&'static str],
    pub(super) accept: &'static [&'static str],
    message: &'static Message,
    fields: Fields,
}

impl Request {
    pub(super) fn is_modern(&self) -> bool {
        matches!(self.versions[..], [version] if version >= "2026-07-28" && version.len() == 10)
    }

    fn is_json(&self) -> bool {
        self.types == ["application/json"]
    }

    pub(super) fn body(&self) -> &'static [u8] {
        if self.verb == "POST" {
            self.message.bytes
        } else {
            b""
        }
    }

    /// Whether the filter can hold its message until it knows it.
    pub(super) fn is_held_by(&self, holds: bool) -> bool {
        holds && self.verb == "POST" && self.types.iter().any(|one| is_json(one))
    }

    /// Whether it is known to be an `initialize`, where messages are held or not.
    pub(super) fn is_initialize(&self, holds: bool) -> bool {
        self.verb == "POST"
            && if self.is_held_by(holds) {
                self.message.may_open
            } else {
                self.method == Some("initialize")
            }
    }

    /// Whether it is a POST of an ordinary message, which needs a place before it passes.
    pub(super) fn is_ordinary(&self, holds: bool) -> bool {
        let is_plain = if holds {
            !self.message.is_odd
        } else {
            self.method != Some("server/discover")
        };
        self.verb == "POST" && self.is_json() && is_plain && self.ids == usize::from(self.own.is_some())
    }
}

/// What clients of the specification accept.
const BOTH: &str = "application/json, text/event-stream";

fn is_json(media_type: &str) -> bool {
    media_type.to_ascii_lowercase().starts_with("application/json")
}

impl Hostile {
    /// Sends a client's request.
    pub(super) fn request(&mut self, wanted: Option<usize>) {
        let Some(number) = self.woken(wanted) else { return };
        self.tally.requests += 1;
        let request = self.any_request();
        let now = self.timestamp();
        let Some(worker) = &mut self.workers[number] else {
            return;
        };
        let (context, core) = (worker.next_context(), Rc::clone(&worker.core));
        let before = self.before(number, &core, request.site, request.own);
        let has_body = !request.body().is_empty();
        let (begun, heard) = filter::begin(&core, &self.configured, now, &request.fields, has_body, context);
        let mut open = Open {
            core,
            context,
            exchange: None,
            site: request.site,
            verb: request.verb,
            user: request.user,
            own: request.own,
            was_alive: false,
            is_unread: false,
            answered: false,
            place: None,
        };
        if self.has_died(number) {
            return;
        }
        if let Some((exchange, letting)) = begun {
            open.exchange = Some(exchange);
            if !self.judged(&mut open, &request, before, (letting, heard)) {
                return self.end_open(number, &mut open);
            }
            if !self.send_body(number, &mut open, &request) {
                return self.end_open(number, &mut open);
            }
        }
        if let Some(worker) = &mut self.workers[number] {
            worker.streams.push(open);
        }
    }

    /// Sends the body in pieces, or only some of them. Returns false if the request ended meanwhile.
    fn send_body(&mut self, number: usize, open: &mut Open, request: &Request) -> bool {
        let mut rest = request.body();
        let mut held = Vec::new();
        while !rest.is_empty() {
            // A client leaves in the middle. A held request then never reaches the server.
            if self.choices.once_in(60) {
                return false;
            }
            let (part, left) = rest.split_at((1 + self.choices.below(256)).min(rest.len()));
            rest = left;
            let (now, core) = (self.timestamp(), Rc::clone(&open.core));
            let Some(exchange) = &mut open.exchange else {
                return true;
            };
            match filter::interest(exchange) {
                Interest::Nothing => return true,
                Interest::Part(max) => {
                    let part = &part[..part.len().min(max)];
                    core.run(&self.configured, now, |_, heard| {
                        let beginning = exchange.glimpse(heard, part, rest.is_empty());
                        assert_eq!(beginning, None, "streams are not capped here");
                    });
                }
                Interest::Whole(_) => {
                    held.extend_from_slice(part);
                    if rest.is_empty() {
                        return self.judge(number, open, request, &held);
                    }
                }
            }
        }
        true
    }

    fn judge(&mut self, number: usize, open: &mut Open, request: &Request, held: &[u8]) -> bool {
        let (now, core) = (self.timestamp(), Rc::clone(&open.core));
        let before = self.before(number, &core, request.site, request.own);
        let Some(exchange) = &mut open.exchange else {
            return true;
        };
        let judged = filter::judge(exchange, &core, &self.configured, now, held);
        !self.has_died(number) && self.judged(open, request, before, judged)
    }

    fn any_request(&mut self) -> Request {
        let choices = &mut self.choices;
        let verb = choices.one_of(&[
            "POST", "POST", "POST", "POST", "POST", "POST", "GET", "GET", "DELETE", "HEAD", "OPTIONS", "PUT",
        ]);
        let mut request = Request {
            site: choices.below(self.setting.endpoints.len()),
            verb,
            user: choices.one_of(&[None, Some(0), Some(1), Some(2)]),
            ids: 0,
            own: None,
            versions: any_versions(choices),
            method: choices.one_of(&[
                None,
                None,
                Some("initialize"),
                Some("tools/call"),
                Some("server/discover"),
            ]),
            types: choices.one_of(&[
                &["application/json"],
                &["application/json"],
                &["application/json"],
                &["Application/JSON; charset=utf-8"],
                &["text/plain", "application/json"],
                &["text/plain"],
                &[],
            ]),
            accept: choices.one_of(&[
                &[BOTH],
                &[BOTH],
                &["text/event-stream, application/json;q=0.5"],
                &["*/*"],
                &["application/json", "text/event-stream"],
                &[],
            ]),
            message: &MESSAGES[choices.below(MESSAGES.len())],
            fields: Fields(Vec::new()),
        };
        request.fields = self.fields(&mut request);
        request
    }

    fn fields(&mut self, request: &mut Request) -> Fields {
        let name = self.configured.sites[request.site].rules.name.as_str();
        let path = format!("/{name}{}", self.choices.one_of(&["", "", "?x=y"]));
        let mut fields = vec![
            (":method", request.verb.into()),
            (":path", path.into()),
            (":authority", b"gateway".to_vec()),
        ];
        if let Some(user) = request.user {
            fields.push(("x-user", format!("user-{user}").into()));
        }
        fields.extend(
            request
                .versions
                .iter()
                .map(|version| ("mcp-protocol-version", (*version).into())),
        );
        fields.extend(
            request
                .method
                .iter()
                .map(|method| ("mcp-method", (*method).into())),
        );
        fields.extend(request.accept.iter().map(|one| ("accept", (*one).into())));
        fields.extend(request.types.iter().map(|one| ("content-type", (*one).into())));
        let (lines, own) = self.any_ids(request.site);
        request.ids = lines.len();
        request.own = own;
        fields.extend(lines.into_iter().map(|line| ("mcp-session-id", line)));
        Fields(fields)
    }

    /// No id, one, or more; and the id, if it is one and valid.
    fn any_ids(&mut self, site: usize) -> (Vec<Vec<u8>>, Option<Id>) {
        let usable: Vec<_> = self.books.usable[site].keys().copied().collect();
        let id = match usable.is_empty() || self.choices.below(2) == 0 {
            true => Ids::any(&mut self.choices),
            false => self.choices.one_of(&usable),
        };
        let line = self.ids.spelled(id, &mut self.choices);
        match self.choices.below(60) {
            0..=24 => (Vec::new(), None),
            25 => (vec![b"\xff".to_vec()], None),
            26 => (vec![Vec::new()], None),
            27 => (vec![line.clone(), line], None),
            _ => (vec![line], Some(id)),
        }
    }
}

fn any_versions(choices: &mut Choices) -> Vec<&'static str> {
    let any: &[&'static str] = choices.one_of(&[
        &[],
        &[],
        &[],
        &["2025-03-26"],
        &["2025-06-18"],
        &["2025-11-25"],
        &["2026-07-28"],
        &["2027-01-01"],
        &["nonsense"],
        &["2025-06-18", "2026-07-28"],
    ]);
    any.to_vec()
}
