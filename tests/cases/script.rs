//! The format of cases.
//!
//! ```text
//! # a comment
//! == the behaviour that the case is named for
//! endpoint {"admission": "body"}      fields of the endpoint `mcp` at `/mcp`, as JSON
//! config {"max_sessions": 1}          fields of the top level
//! > a POST id=s version=2025-06-18    the head of request `a`; also path=, host=, any other name
//! | {"jsonrpc":"2.0"}                 its body, if it has one; several lines are joined
//! |...                                the rest of the body never comes
//! < a 200 id=s                        the head of its answer; `envoy` at the end: not from the server; `only`: no body
//! ~ a data: x\n\n                      a part of the answer's body
//! ~. a {"jsonrpc":"2.0"}              its last part
//! . a                                 the end of its stream, for any reason
//! wait 30m                            time passes
//! tick                                the timer, until nothing is left to sweep
//! store down                          the host refuses all access to shared data; `store up` ends that
//! ```
//!
//! After an event, indented, its results. A result that is not written must not happen, with two exceptions: facts,
//! gauges, the revision and ages of streams are compared only if they are written, and a request without a verdict is
//! `forwarded`:
//!
//! ```text
//!   held, forwarded                   the verdict: `forwarded`, `forwarded without id`, `untouched`, `429`
//!   retry-after 5                     with an answer of the filter's
//!   body {"jsonrpc":"2.0",...}        its body
//!   id taken off                      of the server's answer
//!   fields a=b, -c                    written into the head of the request, and taken off
//!   answer held                       until its body tells whether the server has lost the session
//!   let go                            the answer that was held; `let go, id taken off`
//!   replaced 404                      by an answer of the filter's
//!   counts created, adopted           counters that went up
//!   ended idle, lifetime              sessions that ended, by their reasons
//!   closes a, b                       streams that the tick resets
//!   lets a, b                         streams whose answers the tick lets go
//!   failed reserve                    operations that the store failed
//!   revision 2025-06-18               under which a POST is counted
//!   streamed 250ms                    how long streams were open that are over now
//!   facts mcp.outcome=forwarded       what is known of the request so far; `-` is nothing
//!   gauges active=1 b.active=0 vm.reserved=0
//! ```
//!
//! In bodies and values `{a*1025}` stands for 1,025 times the letter, and `\xff` for a byte; in answers, `\r` and
//! `\n` are line ends.

use std::time::Duration;

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The line where it begins.
    pub(crate) line: usize,
    /// Fields of the endpoint, JSON.
    pub(crate) endpoint: String,
    /// Fields of the top level, JSON.
    pub(crate) config: String,
    pub(crate) steps: Vec<Step>,
}

/// An event and its expected results.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) event: Event,
    pub(crate) expected: Vec<(String, String)>,
}

/// A body, or the part of it that comes.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_cut_off: bool,
}

#[derive(Debug)]
pub(crate) enum Event {
    Request {
        stream: String,
        head: Vec<(String, Vec<u8>)>,
        body: Option<Body>,
    },
    Answer {
        stream: String,
        head: Vec<(String, Vec<u8>)>,
        from_server: bool,
        has_body: bool,
    },
    AnswerBody {
        stream: String,
        bytes: Vec<u8>,
        last: bool,
    },
    End(String),
    Wait(Duration),
    Tick,
    Store {
        works: bool,
    },
}

/// Reads the cases of a file.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let lines = (1..).zip(text.lines());
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case::new(name, number));
            continue;
        }
        let case = cases.last_mut().expect("a case begins with ==");
        case.read(line, number);
    }
    cases
}

impl Case {
    fn new(name: &str, line: usize) -> Self {
        Self {
            name: name.to_owned(),
            line,
            endpoint: "{}".to_owned(),
            config: "{}".to_owned(),
            steps: Vec::new(),
        }
    }

    fn read(&mut self, line: &str, number: usize) {
        if line.starts_with(' ') {
            let line = line.trim();
            let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
            let step = self.steps.last_mut().expect("an event goes before its result");
            step.expected.push((what.to_owned(), rest.to_owned()));
            return;
        }
        let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "endpoint" => rest.clone_into(&mut self.endpoint),
            "config" => rest.clone_into(&mut self.config),
            "|" => self.body().bytes.extend(expanded(rest)),
            "|..." => self.body().is_cut_off = true,
            _ => self.steps.push(Step {
                line: number,
                event: event(what, rest).unwrap_or_else(|| panic!("line {number}: {line}")),
                expected: Vec::new(),
            }),
        }
    }

    fn body(&mut self) -> &mut Body {
        match self.steps.last_mut().map(|step| &mut step.event) {
            Some(Event::Request { body, .. }) => body.get_or_insert_default(),
            _ => panic!("a body follows the head of a request"),
        }
    }
}

fn event(what: &str, rest: &str) -> Option<Event> {
    let mut words = rest.split(' ');
    let mut next = || words.next().map(str::to_owned);
    Some(match what {
        ">" => {
            let (stream, method) = (next()?, next()?);
            let mut head = vec![
                (":method".to_owned(), method.clone().into_bytes()),
                (":path".to_owned(), b"/mcp".to_vec()),
                (":authority".to_owned(), b"gateway".to_vec()),
            ];
            if method == "POST" {
                set(&mut head, "type=application/json");
            }
            words.for_each(|word| set(&mut head, word));
            Event::Request {
                stream,
                head,
                body: None,
            }
        }
        "<" => {
            let (stream, status) = (next()?, next()?);
            let mut head = vec![(":status".to_owned(), status.into_bytes())];
            let (mut from_server, mut has_body) = (true, true);
            for word in words {
                match word {
                    "envoy" => from_server = false,
                    "only" => has_body = false,
                    field => set(&mut head, field),
                }
            }
            Event::Answer {
                stream,
                head,
                from_server,
                has_body,
            }
        }
        "~" | "~." => {
            let (stream, text) = rest.split_once(' ')?;
            let text = text.replace("\\r", "\r").replace("\\n", "\n");
            Event::AnswerBody {
                stream: stream.to_owned(),
                bytes: expanded(&text),
                last: what == "~.",
            }
        }
        "." => Event::End(next()?),
        "wait" => Event::Wait(duration(rest)?),
        "tick" => Event::Tick,
        "store" => Event::Store { works: rest == "up" },
        _ => return None,
    })
}

/// Adds a field. Path, host and type replace the existing ones, and `type=` removes the content type.
fn set(head: &mut Vec<(String, Vec<u8>)>, word: &str) {
    let (name, value) = word.split_once('=').expect("a field is name=value");
    let name = match name {
        "id" => "mcp-session-id",
        "version" => "mcp-protocol-version",
        "path" => ":path",
        "host" => ":authority",
        "type" => "content-type",
        other => other,
    };
    if name.starts_with(':') || word.starts_with("type=") {
        head.retain(|(known, _)| known != name);
    }
    if word == "type=" {
        return;
    }
    head.push((name.to_owned(), expanded(value)));
}

fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|letter: char| !letter.is_ascii_digit())?;
    let count: u64 = text[..unit].parse().ok()?;
    Some(match &text[unit..] {
        "ms" => Duration::from_millis(count),
        "s" => Duration::from_secs(count),
        "m" => Duration::from_secs(count * 60),
        "h" => Duration::from_secs(count * 3600),
        _ => return None,
    })
}

/// The bytes that a text stands for.
fn expanded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (expansion, len) = repetition(rest)
            .or_else(|| byte(rest))
            .unwrap_or_else(|| (first.to_string().into_bytes(), first.len_utf8()));
        bytes.extend(expansion);
        rest = &rest[len..];
    }
    bytes
}

/// `{a*1025}` at the start of a text, and its length.
fn repetition(text: &str) -> Option<(Vec<u8>, usize)> {
    let (inside, _) = text.strip_prefix('{')?.split_once('}')?;
    let (letter, count) = inside.split_once('*').filter(|(letter, _)| letter.len() == 1)?;
    Some((letter.repeat(count.parse().ok()?).into_bytes(), inside.len() + 2))
}

/// `\xff` at the start of a text, and its length.
fn byte(text: &str) -> Option<(Vec<u8>, usize)> {
    let digits = text.strip_prefix("\\x")?.get(..2)?;
    Some((vec![u8::from_str_radix(digits, 16).ok()?], 4))
}

#[test]
fn letters_are_repeated_and_bytes_are_written_in_hex() {
    assert_eq!(expanded("{\"x\":\"{a*3}\"}"), b"{\"x\":\"aaa\"}");
    assert_eq!(expanded("\\xff\\u0041\\\""), b"\xff\\u0041\\\"");
}
