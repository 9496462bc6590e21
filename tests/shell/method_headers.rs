//! `method_headers`: what later filters and the server see of `Mcp-Method` and `Mcp-Name`.

use crate::envoy::{Envoy, Headers, Worker, goes_on};
use crate::requests::{CALL, head};

fn worker() -> Worker {
    Envoy::new().worker(
        r#"{"endpoints": [{"name": "mcp", "path": "/mcp", "admission": "body", "strict_json_rpc": true,
            "method_headers": true}]}"#,
    )
}

/// All fields that state a method or a name.
fn stated(fields: Headers) -> Vec<(String, String)> {
    let states = |name: &str| matches!(name, "mcp-method" | "mcp-name");
    fields
        .into_iter()
        .filter(|(name, _)| states(name))
        .map(|(name, value)| (name, String::from_utf8(value).unwrap()))
        .collect()
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const LIES: [(&str, &str); 4] = [
    ("mcp-name", "harmless"),
    ("mcp-method", "ping"),
    ("mcp-name", "=?base64?ZWNobw==?="),
    ("mcp-method", "tools/list"),
];

#[test]
fn one_line_each_is_left_and_it_is_the_filters() {
    let worker = worker();
    let stream = worker.stream();
    stream.request(head("POST", &LIES), false);
    assert!(goes_on(stream.body(CALL, true)));
    let expected = pairs(&[("mcp-method", "tools/call"), ("mcp-name", "echo")]);
    assert_eq!(stated(stream.heads().0), expected);
    stream.close();
}

#[test]
fn nothing_is_left_of_a_client_where_there_is_no_message() {
    let worker = worker();
    for method in ["GET", "DELETE", "HEAD", "OPTIONS", "PUT"] {
        let stream = worker.stream();
        assert!(goes_on(stream.request(head(method, &LIES), true)));
        assert_eq!(stated(stream.heads().0), [], "{method}");
        stream.close();
    }
    let stream = worker.stream();
    stream.request(head("POST", &LIES), false);
    assert!(goes_on(
        stream.body(br#"{"jsonrpc":"2.0","id":1,"result":{}}"#, true)
    ));
    assert_eq!(stated(stream.heads().0), [], "a response");
    stream.close();
}

#[test]
fn trailers_have_neither() {
    let worker = worker();
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    stream.body(CALL, false);
    let trailers = [("mcp-name", "harmless"), ("mcp-method", "ping"), ("x", "y")];
    let trailers = pairs(&trailers).into_iter();
    assert!(goes_on(stream.these_trailers(
        trailers.map(|(name, value)| (name, value.into_bytes())).collect()
    )));
    assert_eq!(stream.request_trailers(), [("x".to_owned(), b"y".to_vec())]);
    let expected = pairs(&[("mcp-method", "tools/call"), ("mcp-name", "echo")]);
    assert_eq!(stated(stream.heads().0), expected);
    stream.close();
}

/// The status of the refusal of a `tools/call` for a tool with a name of this length; else the name that the server
/// sees.
fn call_of(worker: &Worker, letter: &str, len: usize) -> Result<String, u32> {
    let name = letter.repeat(len);
    let body = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"{name}"}}}}"#);
    let stream = worker.stream();
    stream.request(head("POST", &[]), false);
    stream.body(body.as_bytes(), true);
    let (status, fields) = (stream.reply().map(|reply| reply.status), stated(stream.heads().0));
    stream.close();
    match status {
        Some(status) => Err(status),
        None => Ok(fields[1].1.clone()),
    }
}

#[test]
fn a_name_may_have_4096_bytes_however_it_is_encoded() {
    let worker = worker();
    assert_eq!(call_of(&worker, "a", 4096), Ok("a".repeat(4096)));
    assert_eq!(call_of(&worker, "a", 4097), Err(400));
    let encoded = call_of(&worker, "\u{fc}", 2048).unwrap();
    assert_eq!(encoded.len(), 4 * 4096_usize.div_ceil(3) + "=?base64??=".len());
    assert_eq!(call_of(&worker, "\u{fc}", 2049), Err(400));
}
