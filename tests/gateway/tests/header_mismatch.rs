//! `verify_headers`: the headers of 2026-07-28 must agree with a held message.

use gateway::message::STATELESS_REVISION;
use gateway::stage::expect_refused;
use gateway::{Call, Reply, Setup, everywhere};
use serde_json::{Value, json};

fn call(name: &str, meta: Value) -> Call {
    Call::post(&json!({"jsonrpc": "2.0", "id": "x", "method": "tools/call",
        "params": {"name": name, "_meta": meta}}))
}

fn claims(revision: &str) -> Value {
    json!({"io.modelcontextprotocol/protocolVersion": revision})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_headers_disagree_with_it_does_not_reach_the_server() {
    everywhere(
        |setup| setup,
        Reply::as_told,
        |stage| async move {
            let modern = |name| call(name, claims(STATELESS_REVISION)).revision(STATELESS_REVISION);
            let mismatches = [
                modern("echo"),
                modern("echo").header("mcp-method", "tools/call"),
                modern("echo").header("mcp-name", "echo"),
                modern("echo")
                    .header("mcp-method", "tools/list")
                    .header("mcp-name", "echo"),
                modern("echo")
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", "harmless"),
                modern("echo")
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", "echo")
                    .header("mcp-name", "x"),
                modern("über")
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", "=?base64?dWJlcg==?="),
                call("echo", claims("2027-01-01"))
                    .revision(STATELESS_REVISION)
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", "echo"),
                call("echo", claims(STATELESS_REVISION)).revision("2025-11-25"),
                call("echo", claims(STATELESS_REVISION)),
            ];
            let count = mismatches.len() as u64;
            for call in mismatches {
                let answer = stage.client.send(call.cut_at(&[30])).await;
                expect_refused(&answer, 400, -32020, "Header mismatch", Some(json!("x")));
            }
            assert_eq!(stage.seen().len(), 0);
            assert_eq!(stage.stat("rejected.reason.header_mismatch"), count);
            assert_eq!(stage.stat("reserved"), 0);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_headers_agree_passes_unchanged() {
    everywhere(
        |setup| setup,
        Reply::as_told,
        |stage| async move {
            for (name, value) in [("echo", "echo"), ("über", "=?base64?w7xiZXI=?="), ("=?", "=?")] {
                let call = call(name, claims(STATELESS_REVISION))
                    .revision(STATELESS_REVISION)
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", value)
                    .header("mcp-param-x", "y");
                assert_eq!(stage.client.send(call.cut_at(&[50])).await.status, 200, "{name}");
                let seen = stage.last_seen();
                assert_eq!(seen.json()["params"]["name"], name);
                assert_eq!(
                    (seen.header("mcp-name"), seen.header("mcp-param-x")),
                    (Some(value), Some("y"))
                );
            }
            assert_eq!(stage.stat("rejected.reason.header_mismatch"), 0);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_revisions_are_not_compared_and_neither_is_anything_where_it_is_off() {
    let earlier = |setup: Setup| setup;
    everywhere(earlier, Reply::as_told, |stage| async move {
        let strange = || {
            call("echo", claims("2025-06-18"))
                .header("mcp-method", "x")
                .header("mcp-name", "y")
        };
        assert_eq!(stage.client.send(strange()).await.status, 200);
        assert_eq!(
            stage.client.send(strange().revision("2025-11-25")).await.status,
            200
        );
    })
    .await;
    let off = |setup: Setup| setup.endpoint(json!({"verify_headers": false}));
    everywhere(off, Reply::as_told, |stage| async move {
        let strange = call("echo", claims("2025-06-18")).revision(STATELESS_REVISION);
        assert_eq!(stage.client.send(strange).await.status, 200);
    })
    .await;
}
