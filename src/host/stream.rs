use core::time::Duration;
use std::borrow::Cow;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi::{self, Headers};
use super::caller::Sender;
use super::held_answers::HeldAnswer;
use super::newcomers::Newcomer;
use super::reporter::Reporter;
use super::shared::Shared;
use crate::answer::Answer;
use crate::exchange::{
    Edit, Exchange, HELD_ANSWER_BYTES, ID_WITHIN_BYTES, Interest, RequestHead, ResponseHead, Site, Verdict,
};
use crate::status::View;

const SESSION_ID: &str = "mcp-session-id";
const ACCEPT_ENCODING: &str = "accept-encoding";

/// The root's timer fires so often while newcomers wait for a place in the fleet.
pub(super) const WAITING_TICK: Duration = Duration::from_millis(20);

/// One HTTP request and its answer.
#[derive(Debug)]
pub(super) struct Stream {
    context: u32,
    shared: Option<Rc<Shared>>,
    /// `None` for a request that no endpoint governs, and while it is lent.
    exchange: Option<Exchange>,
    /// Bytes of the body that the filter holds.
    held: usize,
    /// The answer that the filter holds, to which the exchange is lent between callbacks.
    held_answer: Option<Rc<HeldAnswer<Shared>>>,
    /// The request waits for a place in the fleet, or has waited: the exchange is lent until the next callback.
    newcomer: Option<Rc<Newcomer<Shared>>>,
}

impl Stream {
    pub(super) fn new(context: u32, shared: Option<Rc<Shared>>) -> Self {
        Self {
            context,
            shared,
            exchange: None,
            held: 0,
            held_answer: None,
            newcomer: None,
        }
    }

    /// Does what the verdict says.
    fn act(&mut self, verdict: Verdict<'_>) -> Action {
        match verdict {
            Verdict::Wait => self.wait(),
            verdict @ (Verdict::Forward
            | Verdict::ForwardWithoutId
            | Verdict::ForwardForPlainAnswer
            | Verdict::Hold
            | Verdict::Answer(_)) => act(verdict),
        }
    }

    /// Begins to wait for a place in the fleet.
    fn wait(&mut self) -> Action {
        if let (Some(shared), Some(exchange)) = (&self.shared, self.exchange.take()) {
            let newcomer = shared.newcomers.hold(self.context, Shared::now());
            newcomer.lent.lend(shared, exchange);
            self.newcomer = Some(newcomer);
            shared.timer.hurry(WAITING_TICK, self.context);
        }
        Action::Pause
    }

    /// Takes the exchange of a request back that has waited. Returns false if it still waits.
    fn has_waited(&mut self, is_arriving: bool) -> bool {
        let Some(newcomer) = self.newcomer.take() else {
            return true;
        };
        self.exchange = newcomer.lent.take_back();
        let waits = self.exchange.take_if(|exchange| exchange.waits());
        let (Some(shared), Some(exchange)) = (&self.shared, waits) else {
            return true;
        };
        newcomer.is_arriving.set(is_arriving);
        newcomer.lent.lend(shared, exchange);
        self.newcomer = Some(newcomer);
        false
    }

    /// Begins to hold the answer.
    fn hold_answer(&mut self) -> Action {
        if let (Some(shared), Some(exchange)) = (&self.shared, self.exchange.take()) {
            let held = shared.held_answers.hold(self.context, Shared::now());
            held.lent.lend(shared, exchange);
            self.held_answer = Some(held);
        }
        Action::Pause
    }

    /// Runs a callback with the exchange in its place, and lends it again if the answer is still held.
    fn with_exchange(&mut self, callback: impl FnOnce(&mut Self) -> Action) -> Action {
        let Some(held) = self.held_answer.clone() else {
            return callback(self);
        };
        self.exchange = held.lent.take_back();
        let action = callback(self);
        if let (Some(shared), Some(exchange)) = (
            &self.shared,
            self.exchange.take_if(|exchange| exchange.holds_answer()),
        ) {
            held.lent.lend(shared, exchange);
        } else {
            self.held_answer = None;
        }
        action
    }

    /// Handles a part of an answer that is held, of which `size` bytes have come; `last` means that no more will come.
    fn answer_part(&mut self, size: usize, last: bool) -> Action {
        let (Some(shared), Some(exchange), Some(held)) =
            (&self.shared, &mut self.exchange, &self.held_answer)
        else {
            return Action::Continue;
        };
        held.size.set(size);
        if !exchange.holds_answer() {
            return Action::Continue;
        }
        let fits = size <= HELD_ANSWER_BYTES;
        if fits && !last && Shared::now() < held.until {
            return Action::Pause;
        }
        let whole = (fits && last).then(|| abi::response_body(size));
        edit(shared.run(|gate, effects| exchange.settle_answer(gate, effects, whole.as_deref())));
        Action::Continue
    }

    /// Handles `size` bytes of the body so far; `last` means that no more will come.
    fn body(&mut self, size: usize, last: bool) -> Action {
        if !self.has_waited(!last) {
            return Action::Pause;
        }
        let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) else {
            return Action::Continue;
        };
        shared.is_called_for_bodies.set(true);
        match exchange.wants().request_body {
            Interest::Nothing => Action::Continue,
            Interest::Part(max) => {
                let part = abi::request_body(size.min(max));
                match exchange.glimpse(&mut Reporter::new(shared), &part, last) {
                    None => Action::Continue,
                    Some(beginning) => {
                        let verdict =
                            shared.run(|gate, effects| exchange.listen_late(gate, effects, &beginning));
                        self.act(verdict)
                    }
                }
            }
            // Most clients send the id first, so the answer waits for it, but not for the whole body.
            Interest::Whole(max) if size > max && (last || size >= ID_WITHIN_BYTES) => {
                let beginning = abi::request_body(size.min(ID_WITHIN_BYTES));
                let verdict = exchange.too_large(&mut Reporter::new(shared), &beginning);
                self.act(verdict)
            }
            Interest::Whole(_) if !last => {
                self.held = size;
                Action::Pause
            }
            Interest::Whole(_) => {
                let body = abi::request_body(size);
                let verdict = shared.run(|gate, effects| exchange.judge(gate, effects, &body));
                self.act(verdict)
            }
        }
    }
}

impl Context for Stream {}

/// The SDK drops a stream's context in `proxy_on_delete`. Envoy calls it right after `proxy_on_done`, for every
/// stream that was created while the VM lives. So the module does not export `proxy_on_done`, since each callback
/// costs an entry into the VM.
impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(held) = self.held_answer.take() {
            self.exchange = held.lent.take_back();
        }
        if let Some(newcomer) = self.newcomer.take() {
            self.exchange = newcomer.lent.take_back();
        }
        let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) else {
            return;
        };
        if matches!(exchange.wants().request_body, Interest::Whole(_)) {
            shared.held_in_vain();
        }
        if !exchange.end_locally(&mut shared.in_use.borrow_mut()) {
            shared.run(|gate, effects| exchange.end(gate, effects));
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        let Some(shared) = &self.shared else {
            return Action::Continue;
        };
        let fields = abi::fields(Headers::Request);
        #[cfg(feature = "trap")]
        super::trap::if_asked(&fields);
        let sender = Sender(&fields);
        let head = RequestHead::new(fields.iter(), !end_of_stream).from_caller(&sender);
        if let Some(view) = View::asked(&shared.config, &head, fields.iter()) {
            shared.show_status(view);
            return Action::Pause;
        }
        let Some(site) = Site::of(&shared.config, &shared.sites, &mut Reporter::new(shared), &head) else {
            return Action::Continue;
        };
        let context = self.context;
        let (exchange, verdict) =
            shared.run(|gate, effects| Exchange::begin_at(gate, effects, &head, site, context));
        self.exchange = Some(exchange);
        self.act(verdict)
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.with_exchange(|stream| stream.body(size, end_of_stream))
    }

    /// A request that ends with trailers never says `end_of_stream` in a body callback.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        let fields = self.exchange.as_ref().map_or(&[][..], Exchange::own_fields);
        for name in fields {
            drop_header(Headers::RequestTrailers, name);
        }
        let held = self.held;
        self.with_exchange(|stream| stream.body(held, true))
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if !self.has_waited(false) {
            return Action::Continue;
        }
        let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) else {
            return Action::Continue;
        };
        if !exchange.wants().answer_head {
            return Action::Continue;
        }
        let fields = abi::fields(Headers::Response);
        let head = ResponseHead::new(fields.iter());
        if !end_of_stream && exchange.reads(&head) && is_from_server() {
            exchange.hold_answer(&head);
            return self.hold_answer();
        }
        if exchange.is_of_no_interest(&head) {
            return Action::Continue;
        }
        edit(shared.run(|gate, effects| exchange.answered(gate, effects, &head, is_from_server)));
        Action::Continue
    }

    /// Envoy calls this for every part of every answer. It must cost nothing but the call itself, except at the
    /// beginning of a stream of HTTP+SSE and for an answer that is held.
    fn on_http_response_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        if self.held_answer.is_some() {
            return self.with_exchange(|stream| stream.answer_part(size, end_of_stream));
        }
        if let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) {
            let len = size.min(exchange.wants().answer_body);
            if len > 0 {
                let part = abi::response_body(len);
                edit(shared.run(|gate, effects| exchange.streamed(gate, effects, &part)));
            }
        }
        Action::Continue
    }

    /// An answer that ends with trailers never says `end_of_stream` in a body callback.
    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        match &self.held_answer {
            None => Action::Continue,
            Some(held) => {
                let size = held.size.get();
                self.with_exchange(|stream| stream.answer_part(size, true))
            }
        }
    }
}

fn act(verdict: Verdict<'_>) -> Action {
    match verdict {
        Verdict::Forward => Action::Continue,
        Verdict::ForwardWithoutId => {
            drop_header(Headers::Request, SESSION_ID);
            Action::Continue
        }
        Verdict::ForwardForPlainAnswer => {
            drop_header(Headers::Request, ACCEPT_ENCODING);
            Action::Continue
        }
        Verdict::Hold | Verdict::Wait => Action::Pause,
        Verdict::Answer(answer) => {
            answer_with(&answer);
            Action::Pause
        }
    }
}

/// Does what the verdict on a request says that has waited, from the root's callback. If its body is still arriving, the
/// stream's next callback lets it go.
pub(super) fn let_go(verdict: Verdict<'_>, is_arriving: bool) {
    let goes_on = act(verdict) == Action::Continue;
    if goes_on
        && !is_arriving
        && let Err(error) = abi::resume_request()
    {
        log::warn!("event=request_not_resumed status={error}");
    }
}

/// Edits the answer of the current stream.
pub(super) fn edit(edit: Edit) {
    match edit {
        Edit::Keep => {}
        Edit::DropSessionId => drop_header(Headers::Response, SESSION_ID),
        Edit::Close => {
            if let Err(error) = abi::close_response() {
                log::warn!("event=stream_not_closed status={error}");
            }
        }
        Edit::Replace(answer) => answer_with(&answer),
    }
}

/// Answers the request of the current stream.
pub(super) fn send(status: u16, headers: &[(&str, Cow<'_, str>)], body: &[u8]) {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_ref()))
        .collect();
    if let Err(error) = abi::send_local_response(status, &headers, body) {
        log::warn!("event=answer_failed status={error}");
    }
}

fn answer_with(answer: &Answer<'_>) {
    send(answer.status(), &answer.headers(), &answer.body());
}

fn drop_header(map: Headers, name: &str) {
    if let Err(error) = abi::remove_field(map, name) {
        log::warn!("event=header_not_removed status={error}");
    }
}

/// Whether the server gave the answer, and not Envoy or another filter.
fn is_from_server() -> bool {
    abi::property(&[b"response", b"code_details"]) == b"via_upstream"
}
