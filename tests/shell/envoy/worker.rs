//! A worker: a thread with a VM, on which callbacks run one after the other.

#![allow(unsafe_code, reason = "the SDK's exports are C functions")]

use std::collections::BTreeMap;
use std::panic;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use allocation_counter::measure;
use mcp_session_filter as _;
use proxy_wasm::types::LogLevel;

use super::Process;
use super::stream::Stream;
use super::vm::{self, Callout, Fault, Headers, HttpStream, SharedVm, Vm};

unsafe extern "C" {
    safe fn _initialize();
    safe fn proxy_on_context_create(context: u32, root: u32);
    safe fn proxy_on_vm_start(context: u32, size: usize) -> bool;
    safe fn proxy_on_configure(context: u32, size: usize) -> bool;
    safe fn proxy_on_tick(context: u32);
    safe fn proxy_on_done(context: u32) -> bool;
    safe fn proxy_on_delete(context: u32);
    safe fn proxy_on_http_call_response(
        context: u32,
        token: u32,
        headers: usize,
        body: usize,
        trailers: usize,
    );
}

type Job = Box<dyn FnOnce() + Send>;

/// One worker, with every configuration that was loaded on it. Where it is dropped, its VM has failed: no callback comes,
/// and nothing of it reaches the host any more.
pub(crate) struct Worker {
    vm: SharedVm,
    jobs: Sender<Job>,
    next_context: Mutex<u32>,
}

impl Worker {
    pub(super) fn start(process: Arc<Process>) -> Self {
        let vm = SharedVm::default();
        let (jobs, inbox) = channel::<Job>();
        let of_thread = Arc::clone(&vm);
        std::thread::spawn(move || {
            vm::enter(of_thread, process);
            inbox.iter().for_each(|job| job());
            vm::leave();
        });
        let worker = Self {
            vm,
            jobs,
            next_context: Mutex::new(1),
        };
        worker.run(initialize);
        worker
    }

    /// Loads the filter once more, as a listener update does: adds a new root context to the existing ones.
    pub(crate) fn configure(&self, configuration: &str) -> bool {
        let root = self.new_context();
        let bytes = configuration.as_bytes().to_vec();
        let size = bytes.len();
        self.vm(|vm| {
            vm.configuration = bytes;
            vm.roots.push(root);
        });
        self.call(root, move || {
            proxy_on_context_create(root, 0);
            proxy_on_vm_start(root, 0) && proxy_on_configure(root, size)
        })
    }

    /// One tick of every root context.
    pub(crate) fn tick(&self) {
        for root in self.vm(|vm| vm.roots.clone()) {
            self.call(root, move || proxy_on_tick(root));
        }
    }

    /// Takes the requests that the filter itself has sent, so that the test can answer them.
    pub(crate) fn callouts(&self) -> Vec<Callout> {
        self.vm(|vm| std::mem::take(&mut vm.callouts))
    }

    /// Answers a callout; status 0 is a reset or a time-out.
    pub(crate) fn answer_callout(&self, callout: &Callout, status: u16) {
        self.answer_callout_with(callout, status, b"");
    }

    /// Answers a callout with a body.
    pub(crate) fn answer_callout_with(&self, callout: &Callout, status: u16, body: &[u8]) {
        let (root, token) = (callout.root, callout.token);
        let head: Headers = match status {
            0 => Vec::new(),
            status => vec![(":status".to_owned(), status.to_string().into_bytes())],
        };
        let (fields, size) = (head.len(), body.len());
        let body = body.to_vec();
        self.vm(|vm| (vm.call_response, vm.call_response_body) = (head, body));
        self.call(root, move || {
            proxy_on_http_call_response(root, token, fields, size, 0)
        });
        self.vm(|vm| {
            vm.call_response.clear();
            vm.call_response_body.clear();
        });
    }

    /// Removes the oldest root: its listener has drained.
    pub(crate) fn remove_oldest_root(&self) {
        let root = self.vm(|vm| vm.roots.remove(0));
        self.call(root, move || {
            proxy_on_done(root);
            proxy_on_delete(root);
        });
    }

    /// Removes the newest root: Envoy has refused its listener.
    pub(crate) fn remove_newest_root(&self) {
        let root = self.vm(|vm| vm.roots.pop().unwrap());
        self.call(root, move || {
            proxy_on_done(root);
            proxy_on_delete(root);
        });
    }

    /// A new stream of the newest configuration, before its first callback.
    pub(crate) fn stream(&self) -> Stream<'_> {
        let root = self.vm(|vm| *vm.roots.last().unwrap());
        let context = self.new_context();
        self.vm(|vm| vm.streams.insert(context, HttpStream::new()));
        self.call(context, move || proxy_on_context_create(context, root));
        Stream::of(self, context)
    }

    /// Calls a callback of `context`.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        context: u32,
        callback: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.vm(|vm| vm.context = context);
        let (result, allocations) = self.run(|| {
            let mut result = None;
            let allocated = measure(|| result = Some(callback()));
            (result, allocated.count_total)
        });
        self.vm(|vm| vm.allocations += allocations);
        result.expect("it was called")
    }

    /// Reads or changes what the host knows of this VM.
    pub(crate) fn vm<T>(&self, look: impl FnOnce(&mut Vm) -> T) -> T {
        look(&mut vm::lock(&self.vm))
    }

    /// The host functions called since the last time, and how often each was called.
    pub(crate) fn calls(&self) -> BTreeMap<&'static str, u32> {
        self.vm(|vm| std::mem::take(&mut vm.calls))
    }

    /// How often the filter has allocated memory since the last time, beside the bytes that host calls have given it.
    pub(crate) fn allocations(&self) -> u64 {
        self.vm(|vm| std::mem::take(&mut vm.allocations))
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.vm(|vm| vm.fault = Some(fault));
    }

    /// Takes back a fault. Returns true if it did not happen.
    pub(crate) fn fault_is_left(&self) -> bool {
        self.vm(|vm| vm.fault.take()).is_some()
    }

    pub(crate) fn log(&self) -> Vec<(LogLevel, String)> {
        self.vm(|vm| vm.log.clone())
    }

    fn new_context(&self) -> u32 {
        let mut next = self.next_context.lock().unwrap();
        *next += 1;
        *next - 1
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, inbox) = channel();
        let job = move || result.send(job()).expect("the test waits for it");
        self.jobs.send(Box::new(job)).expect("the worker is alive");
        inbox.recv().expect("the worker is alive")
    }
}

/// The SDK installs its logger and its panic hook once in a process, without a lock. The hook would hide the failures
/// of tests, so the earlier hook is put back.
fn initialize() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let hook = panic::take_hook();
    _initialize();
    panic::set_hook(hook);
}
