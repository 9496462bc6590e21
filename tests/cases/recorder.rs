//! Records the results of an event.

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_session_filter::answer::Answer;
use mcp_session_filter::exchange::{Edit, Effects, Verdict};
use mcp_session_filter::session::{EndedSession, SessionKey, StoreError};
use mcp_session_filter::telemetry::{self, Event, Fact};

use crate::script::Step;

/// The known facts about a request.
pub(crate) type Facts = BTreeMap<&'static str, String>;

/// Everything that an event caused.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// The name of the endpoint with each index.
    endpoints: Vec<String>,
    pub(crate) counts: Vec<String>,
    pub(crate) ended: Vec<String>,
    /// Endpoints for which a DELETE became pending at once.
    pub(crate) pending: Vec<String>,
    pub(crate) failed: Vec<String>,
    /// Fields that were written into the head of the request, or taken off.
    fields: Vec<String>,
    pub(crate) closes: Vec<String>,
    pub(crate) lets: Vec<String>,
    /// How long streams were open that are over.
    pub(crate) streamed: Vec<String>,
    pub(crate) facts: Facts,
    /// The revision under which a POST was counted.
    revision: Option<String>,
    pub(crate) counts_moved: bool,
    pub(crate) verdict: Option<String>,
    answer: Vec<(String, String)>,
}

impl Recorder {
    pub(crate) fn new(endpoints: &[String], facts: Facts) -> Self {
        Self {
            endpoints: endpoints.to_vec(),
            facts,
            ..Self::default()
        }
    }

    /// Records an edit of an answer.
    pub(crate) fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Keep => {}
            Edit::DropSessionId => self.verdict = Some("id taken off".to_owned()),
            Edit::Close => self.verdict = Some("closed".to_owned()),
            Edit::Replace(answer) => {
                self.verdict = Some(format!("replaced {}", answer.status()));
                self.record_answer(&answer);
            }
        }
    }

    /// Records a verdict, and the answer if the verdict is one.
    pub(crate) fn tell(&mut self, verdict: &Verdict<'_>, before: &str) {
        let words = match verdict {
            Verdict::Forward => "forwarded".to_owned(),
            Verdict::ForwardWithoutId => "forwarded without id".to_owned(),
            Verdict::ForwardForPlainAnswer => "forwarded for a plain answer".to_owned(),
            Verdict::Hold => "held".to_owned(),
            Verdict::Wait => "waits".to_owned(),
            Verdict::Answer(answer) => answer.status().to_string(),
        };
        self.verdict = Some(format!("{before}{words}"));
        if let Verdict::Answer(answer) = verdict {
            self.record_answer(answer);
        }
    }

    fn record_answer(&mut self, answer: &Answer<'_>) {
        for (name, value) in answer.headers() {
            if name != "content-type" {
                self.answer.push((name.to_owned(), value.into_owned()));
            }
        }
        let body = String::from_utf8(answer.body()).unwrap();
        self.answer.push(("body".to_owned(), body));
    }

    /// Compares the record with what the step expects. The error says what differs.
    pub(crate) fn compare(&self, step: &Step) -> Result<(), String> {
        let is_optional = |what: &str| matches!(what, "facts" | "gauges" | "revision" | "streamed");
        let expected = step.expected.iter().filter(|(what, _)| !is_optional(what));
        let expected: Vec<_> = expected.cloned().collect();
        let is_silent = |(what, rest): &(String, String)| what == "forwarded" && rest.is_empty();
        let mut lines = self.lines();
        if !expected.iter().any(is_silent) {
            lines.retain(|line| !is_silent(line));
        }
        if lines != expected {
            return Err(format!("expected {}, found {}", shown(&expected), shown(&lines)));
        }
        for (_, streamed) in step.expected.iter().filter(|(what, _)| what == "streamed") {
            if *streamed != self.streamed.join(", ") {
                return Err(format!("streamed {:?}, not {streamed}", self.streamed));
            }
        }
        self.compare_revision(step)?;
        self.compare_facts(step)
    }

    fn compare_revision(&self, step: &Step) -> Result<(), String> {
        let expected = step.expected.iter().find(|(what, _)| what == "revision");
        match (expected, &self.revision) {
            (Some((_, expected)), revision) if revision.as_ref() != Some(expected) => {
                Err(format!("counted as revision {revision:?}, not {expected}"))
            }
            _ => Ok(()),
        }
    }

    fn compare_facts(&self, step: &Step) -> Result<(), String> {
        let facts = step.expected.iter().filter(|(what, _)| what == "facts");
        for fact in facts.flat_map(|(_, facts)| facts.split(' ')) {
            let (name, value) = fact.split_once('=').expect("a fact is name=value");
            let known = self.facts.get(name).map_or("-", String::as_str);
            if known != value {
                return Err(format!("{name} is {known}, not {value}"));
            }
        }
        Ok(())
    }

    /// Everything that the case must state, in the case's words.
    fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        if let Some(verdict) = &self.verdict {
            let (what, rest) = verdict.split_once(' ').unwrap_or((verdict, ""));
            lines.push((what.to_owned(), rest.to_owned()));
        }
        lines.extend(self.answer.iter().cloned());
        for (what, list) in [
            ("fields", &self.fields),
            ("counts", &self.counts),
            ("ended", &self.ended),
            ("pending", &self.pending),
            ("closes", &self.closes),
            ("lets", &self.lets),
            ("failed", &self.failed),
        ] {
            if !list.is_empty() {
                lines.push((what.to_owned(), list.join(", ")));
            }
        }
        lines
    }
}

impl Effects for Recorder {
    fn count(&mut self, site: usize, event: Event) {
        if let Event::Revision(revision) = event {
            assert!(self.revision.is_none(), "a POST is counted once");
            self.revision = Some(revision.as_str().to_owned());
            return;
        }
        let name = telemetry::counter(&self.endpoints[site], event);
        let name = name.trim_start_matches("mcp_sessions.endpoint.");
        self.counts
            .push(name.strip_prefix("mcp.").unwrap_or(name).to_owned());
    }

    fn ended(&mut self, ended: &EndedSession) {
        self.ended.push(ended.reason.as_str().to_owned());
    }

    fn delete_pending(&mut self, site: usize, _: SessionKey) {
        self.pending.push(self.endpoints[site].clone());
    }

    fn delete_failed(&mut self, site: usize) {
        self.pending.push(format!("{}, in vain", self.endpoints[site]));
    }

    fn counts_moved(&mut self, _: usize) {
        self.counts_moved = true;
    }

    fn stream_closed(&mut self, site: usize, lived: Duration) {
        assert_eq!(site, 0, "only the endpoint `mcp` has streams in cases");
        self.streamed.push(format!("{}ms", lived.as_millis()));
    }

    fn note(&mut self, fact: Fact<'_>) {
        self.facts.insert(fact.key(), fact.value().to_owned());
    }

    fn write_field(&mut self, name: &'static str, value: Option<&str>) {
        self.fields.push(match value {
            Some(value) => format!("{name}={value}"),
            None => format!("-{name}"),
        });
    }

    fn ungoverned(&mut self) {
        self.counts.push("ungoverned".to_owned());
    }

    fn failed(&mut self, operation: &'static str, _: StoreError) {
        self.failed.push(operation.to_owned());
    }
}

fn shown(lines: &[(String, String)]) -> String {
    let lines: Vec<_> = lines
        .iter()
        .map(|(what, rest)| format!("\n    {what} {rest}"))
        .collect();
    lines.concat()
}
