//! What one worker's VM asks of its host: the state behind the host functions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use proxy_wasm::types::{BufferType, LogLevel, MapType, Status};

use super::Process;

/// Header fields in order, names in lower case.
pub(crate) type Headers = Vec<(String, Vec<u8>)>;

/// The state of one VM, shared by its thread and the test.
pub(crate) type SharedVm = Arc<Mutex<Vm>>;

thread_local! {
    static CURRENT: RefCell<Option<(SharedVm, Arc<Process>)>> = const { RefCell::new(None) };
}

/// Makes this thread a worker.
pub(crate) fn enter(vm: SharedVm, process: Arc<Process>) {
    CURRENT.with(|current| *current.borrow_mut() = Some((vm, process)));
}

/// This thread is no worker any more: what its memory still drops reaches no host.
pub(crate) fn leave() {
    CURRENT.with(|current| *current.borrow_mut() = None);
}

/// The VM and the process of this thread, if it is a worker.
pub(crate) fn of_this_thread() -> Option<(SharedVm, Arc<Process>)> {
    CURRENT
        .try_with(|current| current.borrow().clone())
        .ok()
        .flatten()
}

/// Nanoseconds on this worker's clock; counts as a host call.
pub(crate) fn clock_of_this_thread() -> Option<u64> {
    as_host(|| {
        let (vm, process) = of_this_thread()?;
        *lock(&vm).calls.entry("clock_time_get").or_default() += 1;
        Some(process.now.load(Ordering::SeqCst))
    })
}

/// Runs a part of the host: what it allocates, the filter does not.
pub(crate) fn as_host<T>(part: impl FnOnce() -> T) -> T {
    let mut result = None;
    allocation_counter::opt_out(|| result = Some(part()));
    result.expect("it was called")
}

pub(crate) fn lock(vm: &SharedVm) -> MutexGuard<'_, Vm> {
    vm.lock().unwrap()
}

/// A host function that is to fail once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) function: &'static str,
    /// How many calls of it succeed before.
    pub(crate) after: u32,
    pub(crate) status: Status,
}

/// The phase of a stream, which decides what the filter can read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
    Log,
    Done,
}

/// An answer from the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalReply {
    pub(crate) status: u32,
    pub(crate) headers: Headers,
    pub(crate) body: String,
}

impl LocalReply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        str::from_utf8(value).ok()
    }
}

/// A request from the filter itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Callout {
    pub(crate) root: u32,
    pub(crate) token: u32,
    pub(crate) cluster: String,
    pub(crate) headers: Headers,
    pub(crate) body: String,
    pub(crate) timeout_ms: u32,
}

impl Callout {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        str::from_utf8(value).ok()
    }
}

pub(crate) struct HttpStream {
    pub(crate) phase: Phase,
    pub(crate) request: Headers,
    pub(crate) request_trailers: Headers,
    pub(crate) response: Headers,
    /// `response.code_details`
    pub(crate) details: Option<&'static str>,
    pub(crate) headers_held: bool,
    pub(crate) buffering: bool,
    pub(crate) body: Vec<u8>,
    /// The part of the answer's body that is passing, or all of it that is held.
    pub(crate) response_body: Vec<u8>,
    /// The filter holds the answer: neither its head nor what has come of its body has gone to the client.
    pub(crate) answer_is_held: bool,
    /// The client got this much of the answer's body.
    pub(crate) got: Vec<u8>,
    pub(crate) filter_state: BTreeMap<String, String>,
    pub(crate) reply: Option<LocalReply>,
    pub(crate) is_reset: bool,
}

impl HttpStream {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            request: Headers::new(),
            request_trailers: Headers::new(),
            response: Headers::new(),
            details: None,
            headers_held: false,
            buffering: false,
            body: Vec::new(),
            response_body: Vec::new(),
            answer_is_held: false,
            got: Vec::new(),
            filter_state: BTreeMap::new(),
            reply: None,
            is_reset: false,
        }
    }
}

impl HttpStream {
    /// Sends the client what is held, or what is passing.
    pub(crate) fn let_answer_go(&mut self) {
        self.answer_is_held = false;
        self.got.append(&mut self.response_body);
    }
}

#[derive(Default)]
pub(crate) struct Vm {
    pub(crate) calls: BTreeMap<&'static str, u32>,
    /// How often callbacks have allocated memory, host functions left out.
    pub(crate) allocations: u64,
    pub(crate) fault: Option<Fault>,
    /// The effective context.
    pub(crate) context: u32,
    pub(crate) roots: Vec<u32>,
    pub(crate) streams: BTreeMap<u32, HttpStream>,
    pub(crate) configuration: Vec<u8>,
    /// Requests from the filter itself without an answer yet.
    pub(crate) callouts: Vec<Callout>,
    /// The head of the answer to a callout, during the root's callback for it.
    pub(crate) call_response: Headers,
    /// Its body.
    pub(crate) call_response_body: Vec<u8>,
    pub(crate) tick_ms: u32,
    pub(crate) log: Vec<(LogLevel, String)>,
}

impl Vm {
    /// Counts a call, and fails it if a test says so.
    pub(crate) fn count(&mut self, function: &'static str) -> Result<(), Status> {
        *self.calls.entry(function).or_default() += 1;
        match &mut self.fault {
            Some(fault) if fault.function == function && fault.after == 0 => {
                let status = fault.status;
                self.fault = None;
                Err(status)
            }
            Some(fault) if fault.function == function => {
                fault.after -= 1;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn stream(&mut self) -> Option<&mut HttpStream> {
        self.streams.get_mut(&self.context)
    }

    /// A map that can be read and written in the stream's phase.
    pub(crate) fn map(&mut self, map: MapType) -> Option<&mut Headers> {
        if map == MapType::HttpCallResponseHeaders {
            return Some(&mut self.call_response);
        }
        let stream = self.stream()?;
        match (map, stream.phase) {
            (MapType::HttpRequestHeaders, Phase::RequestHeaders) => Some(&mut stream.request),
            (MapType::HttpRequestHeaders, Phase::RequestBody | Phase::RequestTrailers)
                if stream.headers_held =>
            {
                Some(&mut stream.request)
            }
            (MapType::HttpRequestTrailers, Phase::RequestTrailers) => Some(&mut stream.request_trailers),
            (MapType::HttpResponseHeaders, Phase::ResponseHeaders) => Some(&mut stream.response),
            (MapType::HttpResponseHeaders, _) if stream.answer_is_held => Some(&mut stream.response),
            _ => None,
        }
    }

    pub(crate) fn buffer(&mut self, buffer: BufferType) -> Option<&[u8]> {
        match buffer {
            BufferType::PluginConfiguration => return Some(&self.configuration),
            BufferType::HttpCallResponseBody => return Some(&self.call_response_body),
            _ => {}
        }
        let stream = self.stream()?;
        if buffer == BufferType::HttpResponseBody {
            let is_there = stream.phase == Phase::ResponseBody
                || (stream.phase == Phase::ResponseTrailers && stream.answer_is_held);
            return is_there.then_some(&stream.response_body);
        }
        let is_there = stream.phase == Phase::RequestBody
            || (stream.phase == Phase::RequestTrailers && stream.buffering);
        (buffer == BufferType::HttpRequestBody && is_there).then_some(&stream.body)
    }

    /// Lets the request of the current stream go on.
    pub(crate) fn resume_request(&mut self) -> Result<(), Status> {
        let stream = self.stream().ok_or(Status::BadArgument)?;
        assert!(stream.headers_held, "nothing is held");
        assert!(stream.reply.is_none(), "two acts on one stream");
        (stream.headers_held, stream.buffering) = (false, false);
        Ok(())
    }

    /// Lets the answer of the current stream go on.
    pub(crate) fn resume_answer(&mut self) -> Result<(), Status> {
        let stream = self.stream().ok_or(Status::BadArgument)?;
        assert!(stream.answer_is_held, "nothing is held");
        assert!(stream.reply.is_none(), "two acts on one stream");
        stream.let_answer_go();
        Ok(())
    }

    pub(crate) fn property(&mut self, path: &str) -> Option<Vec<u8>> {
        let stream = self.stream()?;
        match (path, stream.phase) {
            ("response.code_details", Phase::ResponseHeaders | Phase::Log | Phase::Done) => {
                stream.details.map(|details| details.as_bytes().to_vec())
            }
            _ => None,
        }
    }
}
