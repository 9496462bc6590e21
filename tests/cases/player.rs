//! Plays a case: does what the host does around the core, without a host.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mcp_session_filter::config::Config;
use mcp_session_filter::exchange::{
    Effects, Exchange, Gate, ID_WITHIN_BYTES, Interest, RequestHead, ResponseHead, Site, Verdict, vm_settings,
};
use mcp_session_filter::header_map::HeaderMap;
use mcp_session_filter::principal::Caller;
use mcp_session_filter::session::testing::{Handle, Memory};
use mcp_session_filter::session::{Configuration, ConfigurationId, RootTag, Table, Timestamp};
use mcp_session_filter::telemetry::Event as Counted;
use mcp_session_filter::worker::in_use::InUse;
use serde_json::{Map, Value};

use crate::held_answers::{self, HeldAnswers};
use crate::recorder::{Facts, Recorder};
use crate::script::{Body, Case, Event, Step};

/// When a case begins, in milliseconds.
const START: u64 = 1_000_000;

/// How the bodies of a case arrive: in two parts, cut at this offset at the latest.
#[derive(Clone, Copy, Debug)]
enum Cut {
    At(usize),
    EveryByte,
}

impl Cut {
    fn apply<'b>(&self, bytes: &'b [u8]) -> Vec<&'b [u8]> {
        match self {
            Self::At(at) => {
                let (first, second) = bytes.split_at((*at).min(bytes.len()));
                vec![first, second]
            }
            Self::EveryByte => bytes.chunks(1).collect(),
        }
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// With its last part.
    LastPart,
    /// With trailers, or with an empty part.
    Apart,
}

/// Plays the case with its bodies whole, then cut in every way.
pub(crate) fn play_in_every_way(case: &Case) -> Result<(), String> {
    let longest = case
        .steps
        .iter()
        .map(|step| body_of(step).len())
        .max()
        .unwrap_or(0);
    play(case, Cut::At(0), Ending::LastPart)?;
    let has_body = |step: &Step| {
        matches!(
            step.event,
            Event::Request { body: Some(_), .. } | Event::AnswerBody { .. }
        )
    };
    if !case.steps.iter().any(has_body) {
        return Ok(());
    }
    let cuts = (0..=longest).map(Cut::At).chain([Cut::EveryByte]);
    for cut in cuts {
        for ending in [Ending::LastPart, Ending::Apart] {
            play(case, cut, ending)
                .map_err(|problem| format!("{problem}\n  with bodies cut {cut:?}, {ending:?}"))?;
        }
    }
    Ok(())
}

fn body_of(step: &Step) -> &[u8] {
    match &step.event {
        Event::Request { body: Some(body), .. } => &body.bytes,
        Event::AnswerBody { bytes, .. } => bytes,
        Event::Request { .. }
        | Event::Answer { .. }
        | Event::End(_)
        | Event::Wait(_)
        | Event::Tick
        | Event::Store { .. } => &[],
    }
}

fn play(case: &Case, cut: Cut, ending: Ending) -> Result<(), String> {
    let mut player = Player::new(case, cut, ending);
    for step in &case.steps {
        player
            .step(step)
            .map_err(|problem| format!("line {}: {problem}", step.line))?;
    }
    player.finish()
}

struct Stream {
    exchange: Option<Exchange>,
    facts: Facts,
}

struct Player {
    config: Config,
    sites: Vec<Rc<Site>>,
    names: Vec<String>,
    store: Handle,
    /// The store was switched off at some time.
    store_has_failed: bool,
    table: Table<Handle>,
    configuration: Configuration,
    in_use: InUse,
    now: Timestamp,
    /// By name and context id.
    streams: BTreeMap<String, (u32, Stream)>,
    held_answers: HeldAnswers,
    cut: Cut,
    ending: Ending,
}

impl Player {
    fn new(case: &Case, cut: Cut, ending: Ending) -> Self {
        let config = config(case);
        let sites = Site::all(&config);
        let store = Memory::ready().handle();
        let table = Table::attach(store.clone(), RootTag::from_random(1), [7; 16]).unwrap();
        let settings = vm_settings(&config, &sites);
        let mut configuration = Configuration::new(ConfigurationId::of(&[]), settings);
        table
            .serve(&mut configuration, Timestamp::from_millis(START))
            .unwrap();
        Self {
            names: sites
                .iter()
                .map(|site| site.rules.name.as_str().to_owned())
                .collect(),
            config,
            sites,
            store,
            store_has_failed: false,
            table,
            configuration,
            in_use: InUse::default(),
            now: Timestamp::from_millis(START),
            streams: BTreeMap::new(),
            held_answers: HeldAnswers::default(),
            cut,
            ending,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let before = self.table.counts().map(|(counts, _)| counts).ok();
        let recorder = self.happen(&step.event);
        recorder.compare(step)?;
        self.compare_gauges(step)?;
        let after = self.table.counts().map(|(counts, _)| counts).ok();
        let moved = matches!((&before, &after), (Some(before), Some(after)) if before.active != after.active
            || before.reserved != after.reserved || before.endpoints != after.endpoints);
        let by_tick = matches!(step.event, Event::Tick);
        if moved && !recorder.counts_moved && !by_tick {
            return Err("the counts moved, and the gauges do not follow".to_owned());
        }
        match after {
            Some(counts) if counts.active + counts.reserved > counts.limit => Err("over the cap".to_owned()),
            Some(_) | None => Ok(()),
        }
    }

    fn happen(&mut self, event: &Event) -> Recorder {
        match event {
            Event::Request { stream, head, body } => self.request(stream, head, body.as_ref()),
            Event::Answer {
                stream,
                head,
                from_server,
                has_body,
            } => self.answer(stream, head, *from_server, *has_body),
            Event::AnswerBody { stream, bytes, last } => self.answer_body(stream, bytes, *last),
            Event::End(stream) => self.end(stream),
            Event::Tick => self.tick(),
            Event::Wait(time) => {
                self.now = self.now.after(*time);
                Recorder::default()
            }
            Event::Store { works } => {
                self.store.be_refused(if *works { 0 } else { u32::MAX });
                self.store_has_failed |= !works;
                Recorder::default()
            }
        }
    }

    fn request(&mut self, name: &str, fields: &[(String, Vec<u8>)], body: Option<&Body>) -> Recorder {
        let context = u32::try_from(self.streams.len()).unwrap() + 2;
        let mut recorder = Recorder::new(&self.names, Facts::new());
        let sender = Sender(header_map(fields));
        let head = RequestHead::new(borrowed(fields), body.is_some()).from_caller(&sender);
        let mut gate = self.gate();
        let begun = Exchange::begin(&mut gate, &mut recorder, &head, context);
        let exchange = match begun {
            None => {
                recorder.verdict = Some("untouched".to_owned());
                None
            }
            Some((mut exchange, verdict)) => {
                recorder.tell(&verdict, "");
                if !matches!(verdict, Verdict::Answer(_)) {
                    self.body(&mut exchange, &mut recorder, body);
                }
                Some(exchange)
            }
        };
        let facts = recorder.facts.clone();
        let known = self
            .streams
            .insert(name.to_owned(), (context, Stream { exchange, facts }));
        assert!(known.is_none(), "two requests are named {name}");
        recorder
    }

    /// Sends the body, in the parts into which this playing cuts it.
    fn body(&mut self, exchange: &mut Exchange, recorder: &mut Recorder, body: Option<&Body>) {
        let Some(body) = body else { return };
        let mut held = Vec::new();
        for (part, last) in self.parts(body) {
            match exchange.wants().request_body {
                Interest::Nothing => {}
                Interest::Part(max) => {
                    let part = &part[..part.len().min(max)];
                    if let Some(beginning) = exchange.glimpse(recorder, part, last) {
                        let verdict = exchange.listen_late(&mut self.gate(), recorder, &beginning);
                        recorder.tell(&verdict, "");
                        if matches!(verdict, Verdict::Answer(_)) {
                            return;
                        }
                    }
                }
                Interest::Whole(max) => {
                    held.extend_from_slice(part);
                    if held.len() > max && (last || held.len() >= ID_WITHIN_BYTES) {
                        let beginning = &held[..held.len().min(ID_WITHIN_BYTES)];
                        let verdict = exchange.too_large(recorder, beginning);
                        return recorder.tell(&verdict, "held, ");
                    }
                    if last {
                        let verdict = exchange.judge(&mut self.gate(), recorder, &held);
                        return recorder.tell(&verdict, "held, ");
                    }
                }
            }
        }
    }

    fn parts<'b>(&self, body: &'b Body) -> Vec<(&'b [u8], bool)> {
        self.parts_of(&body.bytes, !body.is_cut_off)
    }

    fn parts_of<'b>(&self, bytes: &'b [u8], is_whole: bool) -> Vec<(&'b [u8], bool)> {
        let mut parts = self.cut.apply(bytes);
        if matches!(self.ending, Ending::Apart) || parts.is_empty() {
            parts.push(b"");
        }
        let last = parts.len() - 1;
        let is_last = |index| index == last && is_whole;
        (0..)
            .zip(parts)
            .map(|(index, part)| (part, is_last(index)))
            .collect()
    }

    /// Sends a part of an answer's body, in the parts into which this playing cuts it.
    fn answer_body(&mut self, name: &str, bytes: &[u8], last: bool) -> Recorder {
        let cut = self.cut;
        if let Some(mut held) = self.held_answers.take(name) {
            let parts = self.parts_of(bytes, last);
            let recorder = self.with(name, |gate, recorder, exchange| {
                for part in parts {
                    held_answers::send(&mut held, part, gate, recorder, exchange);
                }
            });
            if self.exchange(name).is_some_and(Exchange::holds_answer) {
                self.held_answers.put(name, held);
            }
            return recorder;
        }
        self.with(name, |gate, recorder, exchange| {
            for part in cut.apply(bytes) {
                let len = part.len().min(exchange.wants().answer_body);
                let edit = exchange.streamed(gate, recorder, &part[..len]);
                recorder.edit(edit);
            }
        })
    }

    fn answer(
        &mut self,
        name: &str,
        fields: &[(String, Vec<u8>)],
        from_server: bool,
        has_body: bool,
    ) -> Recorder {
        let recorder = self.with(name, |gate, recorder, exchange| {
            let head = ResponseHead::new(borrowed(fields));
            if !exchange.wants().answer_head {
                return;
            }
            if from_server && has_body && held_answers::hold(exchange, recorder, &head) {
                return;
            }
            if exchange.is_of_no_interest(&head) {
                return;
            }
            let edit = exchange.answered(gate, recorder, &head, || from_server);
            recorder.edit(edit);
        });
        let holds = self.exchange(name).is_some_and(Exchange::holds_answer);
        self.held_answers.note(name, holds, self.now);
        recorder
    }

    fn exchange(&self, name: &str) -> Option<&Exchange> {
        let (_, stream) = self.streams.get(name)?;
        stream.exchange.as_ref()
    }

    fn end(&mut self, name: &str) -> Recorder {
        let recorder = self.with(name, |gate, recorder, exchange| {
            if !exchange.end_locally(gate.in_use) {
                exchange.end(gate, recorder);
            }
        });
        if let Some((_, stream)) = self.streams.get_mut(name) {
            stream.exchange = None;
        }
        self.held_answers.take(name);
        recorder
    }

    fn with(
        &mut self,
        name: &str,
        event: impl FnOnce(&mut Gate<'_, Handle>, &mut Recorder, &mut Exchange),
    ) -> Recorder {
        let (context, mut stream) = self
            .streams
            .remove(name)
            .unwrap_or_else(|| panic!("no request is named {name}"));
        let mut recorder = Recorder::new(&self.names, stream.facts);
        if let Some(exchange) = &mut stream.exchange {
            event(&mut self.gate(), &mut recorder, exchange);
        }
        stream.facts = recorder.facts.clone();
        self.streams.insert(name.to_owned(), (context, stream));
        recorder
    }

    /// Does what a root context does at every tick.
    fn tick(&mut self) -> Recorder {
        let _ = self.table.restore(&mut self.configuration, self.now);
        let mut recorder = Recorder::new(&self.names, Facts::new());
        let created = self.in_use.keep(&self.table, self.now, |operation, _| {
            recorder.failed.push(operation.to_owned());
        });
        for endpoint in created {
            let site = self.sites.iter().find(|site| site.tag == endpoint).unwrap();
            recorder.count(site.index, Counted::Created);
        }
        let overdue = self.in_use.to_close(usize::MAX, self.now);
        loop {
            match self.table.sweep(self.now) {
                Ok(None) => break,
                Ok(Some(report)) => {
                    recorder
                        .ended
                        .extend(report.ended.iter().map(|ended| ended.reason.as_str().to_owned()));
                    assert_eq!(report.repaired, 0);
                }
                Err(_) => {
                    recorder.failed.push("sweep".to_owned());
                    break;
                }
            }
        }
        for name in self.held_answers.take_overdue(self.now) {
            let of_stream = self.with(&name, |gate, recorder, exchange| {
                let edit = exchange.settle_answer(gate, recorder, None);
                held_answers::record(recorder, edit);
            });
            recorder.lets.push(name);
            recorder.counts.extend(of_stream.counts);
            recorder.pending.extend(of_stream.pending);
            recorder.ended.extend(of_stream.ended);
        }
        let named = self.streams.iter();
        recorder.closes = named
            .filter(|(_, (context, _))| overdue.contains(context))
            .map(|(name, _)| name.clone())
            .collect();
        recorder
    }

    fn gate(&mut self) -> Gate<'_, Handle> {
        Gate {
            config: &self.config,
            sites: &self.sites,
            table: &self.table,
            in_use: &mut self.in_use,
            now: self.now,
        }
    }

    fn compare_gauges(&self, step: &Step) -> Result<(), String> {
        let expected = step.expected.iter().filter(|(what, _)| what == "gauges");
        for gauge in expected.flat_map(|(_, gauges)| gauges.split(' ')) {
            let (name, value) = gauge.split_once('=').expect("a gauge is name=value");
            let found = self.gauge(name);
            if found.to_string() != value {
                return Err(format!("{name} is {found}, not {value}"));
            }
        }
        Ok(())
    }

    fn gauge(&self, name: &str) -> u32 {
        let (endpoint, gauge) = name.split_once('.').unwrap_or(("mcp", name));
        let (counts, _) = self.table.counts().unwrap();
        let row = counts.endpoints.iter().find(|row| row.settings.name == endpoint);
        let (active, reserved, streams) = match row {
            Some(row) => (row.active, row.reserved, row.streams),
            None if endpoint == "vm" => (counts.active, counts.reserved, 0),
            None => panic!("no endpoint is named {endpoint}"),
        };
        match gauge {
            "active" => active,
            "reserved" => reserved,
            "streams" => streams,
            other => panic!("no gauge is named {other}"),
        }
    }

    /// Checks the end: once every stream is over, there is no reservation, no open stream and no session in use.
    fn finish(mut self) -> Result<(), String> {
        let names: Vec<_> = self.streams.keys().cloned().collect();
        for name in names {
            self.end(&name);
        }
        if self.store_has_failed {
            // A reservation that could not be given back comes back at its deadline.
            self.store.be_refused(0);
            self.now = self.now.after(Duration::from_secs(3600));
            self.table.keep_leases(&[], self.now).unwrap();
        }
        let (counts, _) = self.table.counts().unwrap();
        let streams: u32 = counts.endpoints.iter().map(|endpoint| endpoint.streams).sum();
        if (counts.reserved, streams, self.in_use.len()) == (0, 0, 0) {
            Ok(())
        } else {
            Err(format!(
                "something is left at the end: {counts:?}, {:?}",
                self.in_use
            ))
        }
    }
}

fn config(case: &Case) -> Config {
    let object = |text: &str| -> Map<String, Value> { serde_json::from_str(text).expect(text) };
    let mut endpoint = object(r#"{"name": "mcp", "path": "/mcp"}"#);
    endpoint.extend(object(&case.endpoint));
    let mut config = Map::from_iter([("endpoints".to_owned(), Value::Array(vec![endpoint.into()]))]);
    config.extend(object(&case.config));
    Config::parse(Value::Object(config).to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// The client, known only by the fields of its request.
#[derive(Debug)]
struct Sender(HeaderMap);

impl Caller for Sender {
    fn fields(&self) -> &HeaderMap {
        &self.0
    }

    fn property(&self, _: &[&[u8]]) -> Vec<u8> {
        Vec::new()
    }
}

/// The fields in the bytes of a host.
fn header_map(fields: &[(String, Vec<u8>)]) -> HeaderMap {
    let len = |text: &[u8]| u32::try_from(text.len()).unwrap().to_le_bytes();
    let mut bytes = u32::try_from(fields.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in fields {
        bytes.extend([len(name.as_bytes()), len(value)].concat());
    }
    for (name, value) in fields {
        bytes.extend([name.as_bytes(), &[0], value, &[0]].concat());
    }
    HeaderMap::new(bytes)
}

fn borrowed(fields: &[(String, Vec<u8>)]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_slice()))
}
