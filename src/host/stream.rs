use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use super::abi::{self, Headers};
use super::caller::Sender;
use super::reporter::Reporter;
use super::shared::Shared;
use crate::answer::Answer;
use crate::exchange::{Edit, Exchange, ID_WITHIN_BYTES, Interest, RequestHead, ResponseHead, Verdict};

const SESSION_ID: &str = "mcp-session-id";
const ACCEPT_ENCODING: &str = "accept-encoding";

/// One HTTP request and its answer.
#[derive(Debug)]
pub(super) struct Stream {
    context: u32,
    shared: Option<Rc<Shared>>,
    /// `None` for a request that no endpoint governs.
    exchange: Option<Exchange>,
    /// Bytes of the body that the filter holds.
    held: usize,
}

impl Stream {
    pub(super) fn new(context: u32, shared: Option<Rc<Shared>>) -> Self {
        Self {
            context,
            shared,
            exchange: None,
            held: 0,
        }
    }

    /// Handles `size` bytes of the body so far; `last` means that no more will come.
    fn body(&mut self, size: usize, last: bool) -> Action {
        let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) else {
            return Action::Continue;
        };
        match exchange.wants().request_body {
            Interest::Nothing => Action::Continue,
            Interest::Part(max) => {
                let part = abi::request_body(size.min(max));
                exchange.glimpse(&mut Reporter::new(shared), &part, last);
                Action::Continue
            }
            // Most clients send the id first, so the answer waits for it, but not for the whole body.
            Interest::Whole(max) if size > max && (last || size >= ID_WITHIN_BYTES) => {
                let beginning = abi::request_body(size.min(ID_WITHIN_BYTES));
                act(exchange.too_large(&mut Reporter::new(shared), &beginning))
            }
            Interest::Whole(_) if !last => {
                self.held = size;
                Action::Pause
            }
            Interest::Whole(_) => {
                let body = abi::request_body(size);
                act(shared.run(|gate, effects| exchange.judge(gate, effects, &body)))
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
        let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) else {
            return;
        };
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
        let context = self.context;
        match shared.run(|gate, effects| Exchange::begin(gate, effects, &head, context)) {
            None => Action::Continue,
            Some((exchange, verdict)) => {
                self.exchange = Some(exchange);
                act(verdict)
            }
        }
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        self.body(size, end_of_stream)
    }

    /// A request that ends with trailers never says `end_of_stream` in a body callback.
    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        let fields = self.exchange.as_ref().map_or(&[][..], Exchange::own_fields);
        for name in fields {
            drop_header(Headers::RequestTrailers, name);
        }
        let held = self.held;
        self.body(held, true)
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) else {
            return Action::Continue;
        };
        if !exchange.wants().answer_head {
            return Action::Continue;
        }
        let fields = abi::fields(Headers::Response);
        let head = ResponseHead::new(fields.iter());
        if exchange.is_of_no_interest(&head) {
            return Action::Continue;
        }
        edit(shared.run(|gate, effects| exchange.answered(gate, effects, &head, is_from_server)));
        Action::Continue
    }

    /// Envoy calls this for every part of every answer. It must cost nothing but the call itself, except at the
    /// beginning of a stream of HTTP+SSE.
    fn on_http_response_body(&mut self, size: usize, _: bool) -> Action {
        if let (Some(shared), Some(exchange)) = (&self.shared, &mut self.exchange) {
            let len = size.min(exchange.wants().answer_body);
            if len > 0 {
                let part = abi::response_body(len);
                edit(shared.run(|gate, effects| exchange.streamed(gate, effects, &part)));
            }
        }
        Action::Continue
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
        Verdict::Hold => Action::Pause,
        Verdict::Answer(answer) => {
            send(&answer);
            Action::Pause
        }
    }
}

fn edit(edit: Edit) {
    match edit {
        Edit::Keep => {}
        Edit::DropSessionId => drop_header(Headers::Response, SESSION_ID),
        Edit::Close => {
            if let Err(error) = abi::close_response() {
                log::warn!("event=stream_not_closed status={error}");
            }
        }
    }
}

fn send(answer: &Answer<'_>) {
    let headers = answer.headers();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_ref()))
        .collect();
    if let Err(error) = abi::send_local_response(answer.status(), &headers, &answer.body()) {
        log::warn!("event=answer_failed status={error}");
    }
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
