//! The cost of reading the body of a POST, by its size and its content.

#![allow(missing_docs, reason = "a bench")]

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use mcp_session_filter::mcp::json_rpc::{self, Strictness};

/// How many bytes of a streaming body the filter looks at.
const GLIMPSE_BYTES: usize = 4096;

const BODIES: [Body; 6] = [
    Body::Initialize,
    Body::Structured(1_000),
    Body::Text(1_000),
    Body::Structured(500_000),
    Body::Text(500_000),
    Body::Escapes(500_000),
];

fn main() {
    divan::main();
}

/// A kind of body; the number is its approximate size in bytes.
#[derive(Clone, Copy, Debug)]
enum Body {
    Initialize,
    /// Small objects in a list.
    Structured(usize),
    /// One string without escapes.
    Text(usize),
    /// One string made of escapes alone.
    Escapes(usize),
}

impl Body {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Initialize => {
                let client = r#"{"name":"bench-client","title":"A client","version":"1.2.3"}"#;
                let capabilities = r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{}}"#;
                let params = format!(
                    r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{client}}}"#
                );
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#)
            }
            Self::Structured(len) => {
                let entry = r#"{"path":"src/a.rs","line":12,"flags":[true,null],"text":"let x = 1;"}"#;
                call(&format!("[{}{entry}]", format!("{entry},").repeat(len / entry.len() - 2)))
            }
            Self::Text(len) => call(&format!("\"{}\"", "a word of text ".repeat(len / 15))),
            Self::Escapes(len) => call(&format!("\"{}\"", r#"\n\"\\\u00e9"#.repeat(len / 12))),
        }
        .into_bytes()
    }
}

fn call(value: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"write","arguments":{{"value":{value}}}}}}}"#
    )
}

/// A held body, which the filter reads whole.
#[divan::bench(args = BODIES)]
fn read(bencher: Bencher<'_, '_>, body: Body) {
    let bytes = body.bytes();
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .bench_local(|| drop(black_box(json_rpc::read(black_box(&bytes), Strictness::Lenient))));
}

/// The beginning of a body that streams by.
#[divan::bench(args = BODIES)]
fn glimpse(bencher: Bencher<'_, '_>, body: Body) {
    let mut bytes = body.bytes();
    bytes.truncate(GLIMPSE_BYTES);
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .bench_local(|| json_rpc::glimpse(black_box(&bytes)));
}
