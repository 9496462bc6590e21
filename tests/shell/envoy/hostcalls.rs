//! The host functions that the SDK imports.

#![allow(unsafe_code, reason = "the proxy-wasm ABI hands over pointers")]

use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use mcp_session_filter::session::testing::Stale;
use proxy_wasm::types::{BufferType, LogLevel, MapType, MetricType, Status, StreamType};

use super::Process;
use super::vm::{self, Callout, Headers, LocalReply, Vm};

unsafe extern "C" {
    fn proxy_on_memory_allocate(size: usize) -> *mut u8;
}

/// Runs a host function: counts the call, and fails it if a test says so.
fn host_call(function: &'static str, call: impl FnOnce(&mut Vm, &Process) -> Result<(), Status>) -> Status {
    vm::as_host(|| {
        let Some((vm, process)) = vm::of_this_thread() else {
            return Status::InternalFailure;
        };
        let mut vm = vm::lock(&vm);
        match vm.count(function).and_then(|()| call(&mut vm, &process)) {
            Ok(()) => Status::Ok,
            Err(status) => status,
        }
    })
}

/// The bytes that the guest passes.
///
/// # Safety
/// `data` is null, or points to `size` bytes that outlive the call.
unsafe fn taken<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    // SAFETY: the caller promises it.
    unsafe { std::slice::from_raw_parts(data, size) }
}

/// # Safety
/// As [`taken`].
unsafe fn taken_text<'a>(data: *const u8, size: usize) -> &'a str {
    // SAFETY: the caller promises it.
    str::from_utf8(unsafe { taken(data, size) }).expect("names are text")
}

/// Gives bytes to the guest in memory of its own. No bytes are a null pointer, as with Envoy.
///
/// # Safety
/// `data` and `size` can be written.
unsafe fn give(bytes: &[u8], data: *mut *mut u8, size: *mut usize) {
    let copy = if bytes.is_empty() {
        null_mut()
    } else {
        // SAFETY: the SDK's allocator returns memory for as many bytes as it is asked for.
        unsafe {
            let copy = proxy_on_memory_allocate(bytes.len());
            copy.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            copy
        }
    };
    // SAFETY: the caller promises it.
    unsafe {
        data.write(copy);
        size.write(bytes.len());
    }
}

fn serialized(headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let length = |len: usize| u32::try_from(len).unwrap().to_le_bytes();
    let mut bytes = length(headers.len()).to_vec();
    for (name, value) in headers {
        bytes.extend(length(name.len()));
        bytes.extend(length(value.len()));
    }
    for (name, value) in headers {
        bytes.extend(name.bytes().chain([0]).chain(value.iter().copied()).chain([0]));
    }
    bytes
}

fn deserialized(bytes: &[u8]) -> Headers {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let count = if bytes.is_empty() { 0 } else { number(0) };
    let mut at = 4 + count * 8;
    let mut take = |len: usize| {
        let taken = bytes[at..at + len].to_vec();
        at += len + 1;
        taken
    };
    (0..count)
        .map(|index| {
            let name = take(number(4 + index * 8));
            let value = take(number(8 + index * 8));
            (String::from_utf8(name).unwrap(), value)
        })
        .collect()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_log(level: LogLevel, data: *const u8, size: usize) -> Status {
    // SAFETY: the SDK hands over a message.
    let message = unsafe { taken_text(data, size) }.to_owned();
    host_call("log", |vm, _| {
        vm.log.push((level, message));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_log_level(level: *mut LogLevel) -> Status {
    host_call("get_log_level", |_, _| {
        // SAFETY: the SDK hands over a place for it.
        unsafe { level.write(LogLevel::Info) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_tick_period_milliseconds(period: u32) -> Status {
    host_call("set_tick_period", |vm, _| {
        vm.tick_ms = period;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_buffer_bytes(
    buffer: BufferType,
    start: usize,
    max: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    host_call("get_buffer", |vm, _| {
        let bytes = vm.buffer(buffer).ok_or(Status::NotFound)?;
        let end = bytes.len().min(start.saturating_add(max));
        // SAFETY: the SDK hands over places for both.
        unsafe { give(&bytes[start.min(end)..end], data, size) };
        Ok(())
    })
}

/// A map that does not exist in this phase reads as empty.
#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_pairs(
    map: MapType,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    host_call("get_map", |vm, _| {
        let bytes = serialized(vm.map(map).map_or(&[], |headers| headers));
        // SAFETY: the SDK hands over places for both.
        unsafe { give(&bytes, data, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_header_map_value(
    map: MapType,
    key: *const u8,
    key_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    // SAFETY: the SDK hands over a name.
    let key = unsafe { taken_text(key, key_size) };
    host_call("get_map_value", |vm, _| {
        let headers = vm.map(map).ok_or(Status::BadArgument)?;
        let found = headers.iter().find(|(name, _)| name == key);
        let (_, value) = found.ok_or(Status::NotFound)?;
        // SAFETY: the SDK hands over places for both.
        unsafe { give(value, data, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_remove_header_map_value(map: MapType, key: *const u8, key_size: usize) -> Status {
    // SAFETY: the SDK hands over a name.
    let key = unsafe { taken_text(key, key_size) };
    host_call("remove_map_value", |vm, _| {
        let headers = vm.map(map).ok_or(Status::BadArgument)?;
        headers.retain(|(name, _)| name != key);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_replace_header_map_value(
    map: MapType,
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
) -> Status {
    // SAFETY: the SDK hands over a name and a value.
    let (key, value) = unsafe { (taken_text(key, key_size), taken(value, value_size)) };
    host_call("replace_map_value", |vm, _| {
        let headers = vm.map(map).ok_or(Status::BadArgument)?;
        headers.retain(|(name, _)| name != key);
        headers.push((key.to_owned(), value.to_vec()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_property(
    path: *const u8,
    path_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    // SAFETY: the SDK hands over a path.
    let path = unsafe { taken_text(path, path_size) }.replace('\0', ".");
    host_call("get_property", |vm, _| {
        let value = vm.property(&path).ok_or(Status::NotFound)?;
        // SAFETY: the SDK hands over places for both.
        unsafe { give(&value, data, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_property(
    path: *const u8,
    path_size: usize,
    value: *const u8,
    value_size: usize,
) -> Status {
    // SAFETY: the SDK hands over a path and a value.
    let (path, value) = unsafe { (taken_text(path, path_size), taken_text(value, value_size)) };
    host_call("set_property", |vm, _| {
        let stream = vm.stream().ok_or(Status::NotFound)?;
        stream.filter_state.insert(path.to_owned(), value.to_owned());
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_shared_data(
    key: *const u8,
    key_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
    cas: *mut u32,
) -> Status {
    // SAFETY: the SDK hands over a key.
    let key = unsafe { taken_text(key, key_size) };
    host_call("get_shared_data", |_, process| {
        let store = process.shared_data.lock().unwrap();
        let (value, current) = store.get(key).ok_or(Status::NotFound)?;
        // SAFETY: the SDK hands over places for all three.
        unsafe {
            give(value, data, size);
            cas.write(current);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_shared_data(
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
    cas: u32,
) -> Status {
    // SAFETY: the SDK hands over a key and a value.
    let (key, value) = unsafe { (taken_text(key, key_size), taken(value, value_size)) };
    host_call("set_shared_data", |_, process| {
        let written = process.shared_data.lock().unwrap().set(key, value, cas);
        written.map_err(|Stale| Status::CasMismatch)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_http_call(
    cluster: *const u8,
    cluster_size: usize,
    headers: *const u8,
    headers_size: usize,
    body: *const u8,
    body_size: usize,
    _trailers: *const u8,
    _trailers_size: usize,
    timeout_ms: u32,
    token: *mut u32,
) -> Status {
    // SAFETY: the SDK hands over a name and headers.
    let (cluster, headers) = unsafe { (taken_text(cluster, cluster_size), taken(headers, headers_size)) };
    // SAFETY: the SDK hands over a body, or none.
    let body = unsafe { taken_text(body, body_size) };
    host_call("http_call", |vm, process| {
        if !vm.roots.contains(&vm.context) {
            return Err(Status::BadArgument);
        }
        let number = process.callouts.fetch_add(1, Ordering::SeqCst);
        vm.callouts.push(Callout {
            root: vm.context,
            token: number,
            cluster: cluster.to_owned(),
            headers: deserialized(headers),
            body: body.to_owned(),
            timeout_ms,
        });
        // SAFETY: the SDK hands over a place for it.
        unsafe { token.write(number) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_close_stream(_: StreamType) -> Status {
    host_call("close_stream", |vm, _| {
        vm.stream().ok_or(Status::BadArgument)?.is_reset = true;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_continue_stream(stream: StreamType) -> Status {
    host_call("continue_stream", |vm, _| match stream {
        StreamType::HttpRequest => vm.resume_request(),
        StreamType::HttpResponse => vm.resume_answer(),
        other => panic!("{other:?} is no half of a stream"),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_send_local_response(
    status: u32,
    _details: *const u8,
    _details_size: usize,
    body: *const u8,
    body_size: usize,
    headers: *const u8,
    headers_size: usize,
    _grpc_status: i32,
) -> Status {
    // SAFETY: the SDK hands over a body and headers.
    let (body, headers) = unsafe { (taken_text(body, body_size), taken(headers, headers_size)) };
    host_call("send_local_response", |vm, _| {
        let stream = vm.stream().ok_or(Status::BadArgument)?;
        assert!(stream.reply.is_none(), "two answers to one request");
        stream.reply = Some(LocalReply {
            status,
            headers: deserialized(headers),
            body: body.to_owned(),
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_set_effective_context(context: u32) -> Status {
    host_call("set_effective_context", |vm, _| {
        if !vm.streams.contains_key(&context) && !vm.roots.contains(&context) {
            return Err(Status::BadArgument);
        }
        vm.context = context;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_define_metric(
    kind: MetricType,
    name: *const u8,
    name_size: usize,
    id: *mut u32,
) -> Status {
    // SAFETY: the SDK hands over a name.
    let name = unsafe { taken_text(name, name_size) };
    host_call("define_metric", |_, process| {
        let defined = process.stats.lock().unwrap().define(kind, name);
        // SAFETY: the SDK hands over a place for it.
        unsafe { id.write(defined) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_get_metric(id: u32, value: *mut u64) -> Status {
    host_call("get_metric", |_, process| {
        let current = process.stats.lock().unwrap().get(id)?;
        // SAFETY: the SDK hands over a place for it.
        unsafe { value.write(current) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_record_metric(id: u32, value: u64) -> Status {
    host_call("record_metric", |_, process| {
        process.stats.lock().unwrap().record(id, value)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn proxy_increment_metric(id: u32, by: i64) -> Status {
    host_call("increment_metric", |_, process| {
        process.stats.lock().unwrap().increment(id, by)
    })
}
