//! One HTTP stream: does what Envoy's connection manager does around the filter's callbacks.

#![allow(unsafe_code, reason = "the SDK's exports are C functions")]

use proxy_wasm::types::Action;

use super::vm::{Headers, HttpStream, LocalReply, Phase};
use super::worker::Worker;

unsafe extern "C" {
    safe fn proxy_on_request_headers(context: u32, count: usize, end: bool) -> Action;
    safe fn proxy_on_request_body(context: u32, size: usize, end: bool) -> Action;
    safe fn proxy_on_request_trailers(context: u32, count: usize) -> Action;
    safe fn proxy_on_response_headers(context: u32, count: usize, end: bool) -> Action;
    safe fn proxy_on_response_body(context: u32, size: usize, end: bool) -> Action;
    safe fn proxy_on_response_trailers(context: u32, count: usize) -> Action;
    safe fn proxy_on_log(context: u32);
    safe fn proxy_on_delete(context: u32);
}

/// A stream that a test drives, callback by callback.
pub(crate) struct Stream<'a> {
    worker: &'a Worker,
    context: u32,
}

impl<'a> Stream<'a> {
    /// The stream with this context id.
    pub(crate) fn of(worker: &'a Worker, context: u32) -> Self {
        Self { worker, context }
    }

    /// Sends the head of the request; `end` means that nothing follows.
    pub(crate) fn request(&self, headers: Headers, end: bool) -> Action {
        let count = headers.len();
        self.host(|stream| {
            stream.request = headers;
            stream.phase = Phase::RequestHeaders;
        });
        let context = self.context;
        let action = self
            .worker
            .call(context, move || proxy_on_request_headers(context, count, end));
        self.host(|stream| stream.headers_held = action == Action::Pause);
        self.pass_own_reply();
        action
    }

    /// Sends more of the body. While the filter holds the body, it sees all of it so far.
    pub(crate) fn body(&self, part: &[u8], end: bool) -> Action {
        let size = self.host(|stream| {
            assert!(stream.reply.is_none(), "the request was answered");
            stream.phase = Phase::RequestBody;
            if !stream.buffering {
                stream.body.clear();
            }
            stream.body.extend_from_slice(part);
            stream.body.len()
        });
        let context = self.context;
        let action = self
            .worker
            .call(context, move || proxy_on_request_body(context, size, end));
        self.host(|stream| {
            stream.buffering = action == Action::Pause;
            stream.headers_held &= action == Action::Pause;
        });
        self.pass_own_reply();
        action
    }

    pub(crate) fn trailers(&self) -> Action {
        self.these_trailers(Headers::new())
    }

    /// Ends the request with these trailers.
    pub(crate) fn these_trailers(&self, trailers: Headers) -> Action {
        let count = trailers.len();
        self.host(|stream| {
            stream.request_trailers = trailers;
            stream.phase = Phase::RequestTrailers;
        });
        let context = self.context;
        let action = self
            .worker
            .call(context, move || proxy_on_request_trailers(context, count));
        self.pass_own_reply();
        action
    }

    /// Sends the head of an answer, with `response.code_details`, which passes.
    pub(crate) fn answer(&self, headers: Headers, details: Option<&'static str>, end: bool) {
        let action = self.answer_head(headers, details, end);
        assert_eq!(action, Action::Continue, "the answer is held");
    }

    /// Sends the head of an answer of the server's with a body, which the filter may hold.
    pub(crate) fn answer_head(&self, headers: Headers, details: Option<&'static str>, end: bool) -> Action {
        let count = headers.len();
        self.host(|stream| {
            stream.response = headers;
            stream.details = details;
            stream.phase = Phase::ResponseHeaders;
        });
        let context = self.context;
        let action = self
            .worker
            .call(context, move || proxy_on_response_headers(context, count, end));
        self.host(|stream| stream.answer_is_held = action == Action::Pause);
        action
    }

    /// Sends a part of the answer's body, which passes.
    pub(crate) fn answer_part(&self, part: &[u8]) {
        let action = self.send_answer(part, false);
        assert_eq!(action, Action::Continue, "the answer is held");
    }

    /// Sends a part of the answer's body; `end` means that no more will come. While the filter holds the answer, it
    /// sees all of it so far.
    pub(crate) fn send_answer(&self, part: &[u8], end: bool) -> Action {
        let size = self.host(|stream| {
            stream.phase = Phase::ResponseBody;
            stream.response_body.extend_from_slice(part);
            stream.response_body.len()
        });
        let context = self.context;
        let action = self
            .worker
            .call(context, move || proxy_on_response_body(context, size, end));
        self.answer_went(action);
        action
    }

    /// Ends the answer with trailers.
    pub(crate) fn answer_trailers(&self) -> Action {
        self.host(|stream| stream.phase = Phase::ResponseTrailers);
        let context = self.context;
        let action = self
            .worker
            .call(context, move || proxy_on_response_trailers(context, 1));
        self.answer_went(action);
        action
    }

    /// An answer in place of the server's goes to the client as it is, past the filter.
    fn answer_went(&self, action: Action) {
        self.host(|stream| {
            if stream.reply.is_none() && action == Action::Continue {
                stream.let_answer_go();
            }
        });
    }

    /// What the client got of the body of the server's answer; `None` while the filter holds the answer.
    pub(crate) fn got(&self) -> Option<Vec<u8>> {
        self.host(|stream| (!stream.answer_is_held).then(|| stream.got.clone()))
    }

    pub(crate) fn log(&self) {
        let context = self.context;
        self.host(|stream| stream.phase = Phase::Log);
        self.worker.call(context, move || proxy_on_log(context));
    }

    /// Forgets the stream. Returns what the host knew of it.
    pub(crate) fn delete(self) -> HttpStream {
        let context = self.context;
        self.host(|stream| stream.phase = Phase::Done);
        self.worker.call(context, move || proxy_on_delete(context));
        self.worker.vm(|vm| vm.streams.remove(&context).unwrap())
    }

    /// Ends the stream, for any reason.
    pub(crate) fn close(self) -> HttpStream {
        self.log();
        self.delete()
    }

    /// The filter's own answer, if it gave one.
    pub(crate) fn reply(&self) -> Option<LocalReply> {
        self.host(|stream| stream.reply.clone())
    }

    /// Whether the filter holds the request.
    pub(crate) fn is_held(&self) -> bool {
        self.host(|stream| stream.headers_held)
    }

    /// Whether the filter has reset the stream.
    pub(crate) fn is_reset(&self) -> bool {
        self.host(|stream| stream.is_reset)
    }

    /// The head of the request as the server got it, and of the answer as the client got it.
    pub(crate) fn heads(&self) -> (Headers, Headers) {
        self.host(|stream| (stream.request.clone(), stream.response.clone()))
    }

    /// The trailers of the request as the server got them.
    pub(crate) fn request_trailers(&self) -> Headers {
        self.host(|stream| stream.request_trailers.clone())
    }

    /// Passes the filter's own answer through the filter, like any other answer.
    fn pass_own_reply(&self) {
        let Some(reply) = self.reply() else { return };
        let mut headers = reply.headers;
        headers.insert(0, (":status".to_owned(), reply.status.to_string().into_bytes()));
        self.answer(headers, None, reply.body.is_empty());
    }

    fn host<T>(&self, look: impl FnOnce(&mut HttpStream) -> T) -> T {
        self.worker
            .vm(|vm| look(vm.streams.get_mut(&self.context).unwrap()))
    }
}
