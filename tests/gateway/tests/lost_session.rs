//! Servers that have lost a session and say so with another status than 404: which answers are read, and what becomes
//! of them.

use std::sync::Arc;

use gateway::client::BOTH;
use gateway::setup::yaml;
use gateway::stage::expect_refused;
use gateway::{Answer, Call, Http, OddServer, Reply, Request, Setup, everywhere};
use serde_json::{Value, json};

/// The list that ships.
fn shipped() -> Value {
    yaml("lost-sessions.yaml")
}

fn with_the_shipped_list(setup: Setup) -> Setup {
    setup.endpoint(shipped())
}

/// The texts of the list that ships, each with its status.
fn texts() -> Vec<(u16, String)> {
    let list = shipped()["lost_session"].take();
    let entries = list.as_array().expect("a list").iter();
    let entry = |entry: &Value| {
        let status = entry["status"].as_u64().expect("a status");
        let text = entry["contains"].as_str().expect("a text").to_owned();
        (u16::try_from(status).expect("a status"), text)
    };
    entries.map(entry).collect()
}

/// Answers with the text of the list that `x-lost` names by its number, else as told.
fn loses(request: &Request) -> Reply {
    let Some(number) = request.header("x-lost") else {
        return Reply::as_told(request);
    };
    let (status, text) = texts().swap_remove(number.parse().expect("a number"));
    let message = format!("Bad Request: {text} provided");
    let reply = Reply::json(
        status,
        &json!({"jsonrpc": "2.0", "error": {"code": -32000, "message": message}, "id": null}),
    );
    match request.header("x-mint") {
        Some(id) => reply.session(id),
        None => reply,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_text_of_the_file_that_ships_ends_the_session() {
    everywhere(with_the_shipped_list, loses, |stage| async move {
        for (turn, number) in (1..).zip(0..texts().len()) {
            let session = stage.client.open_session().await;
            let call = Call::tools_list()
                .session(&session)
                .header("x-lost", number.to_string());
            let answer = stage.client.send(call).await;
            expect_refused(&answer, 404, -32001, "Session not found", None);
            stage.expect("ended.reason.upstream_gone", turn).await;
            stage.expect("rejected.reason.session_not_found", turn).await;
            assert_eq!(stage.stat("active"), 0);
            // The gateway remembers nothing: under `adopt` the server is asked again.
            stage.expect_alive(&session).await;
            assert_eq!(stage.client.delete(&session).await.status, 200);
            stage.expect("active", 0).await;
        }
        let path = stage.path;
        let logged = move |entry: &Value| {
            entry["path"] == path && entry["status"] == 404 && entry["mcp.outcome"] == "session_not_found"
        };
        let entry = stage.gateway.access_log_entry(logged).await;
        assert_eq!(entry["mcp.method.name"], "tools/list");
        assert!(
            entry["mcp.session.id"].is_string() && entry["upstream"].is_string(),
            "{entry}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_method_a_listed_answer_ends_the_session() {
    everywhere(with_the_shipped_list, loses, |stage| async move {
        for (turn, method) in (1..).zip(["GET", "POST", "DELETE", "PUT", "OPTIONS"]) {
            let session = stage.client.open_session().await;
            let call = Call::method(method).session(&session).header("x-lost", "0");
            let answer = stage.client.send(call).await;
            expect_refused(&answer, 404, -32001, "Session not found", None);
            stage.expect("ended.reason.upstream_gone", turn).await;
        }
        let session = stage.client.open_session().await;
        let head = Call::method("HEAD").session(&session).header("x-lost", "0");
        assert_eq!(stage.client.send(head).await.status, 400);
        stage.expect_alive(&session).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_reject_a_lost_session_is_unknown_and_its_place_is_free() {
    let one = |setup: Setup| {
        with_the_shipped_list(setup).endpoint(json!({"max_sessions": 1, "unknown_session": "reject"}))
    };
    everywhere(one, loses, |stage| async move {
        let session = stage.client.open_session().await;
        let call = Call::tools_list().session(&session).header("x-lost", "0");
        assert_eq!(stage.client.send(call).await.status, 404);
        stage.expect_gone(&session).await;
        let newcomer = stage.client.open_session().await;
        stage.expect_alive(&newcomer).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_of_another_principal_stays_theirs() {
    let bound =
        |setup: Setup| with_the_shipped_list(setup).endpoint(json!({"principal": [{"header": "x-user"}]}));
    everywhere(bound, loses, |stage| async move {
        let opened = stage
            .client
            .send(Call::initialize().header("x-user", "alice"))
            .await;
        let session = opened.session().expect("an id").to_owned();
        let of = |user: &str| Call::tools_list().session(&session).header("x-user", user);
        let lost = stage.client.send(of("alice").header("x-lost", "0")).await;
        assert_eq!(lost.status, 404);
        stage.expect("ended.reason.upstream_gone", 1).await;
        let answer = stage.client.send(of("bob")).await;
        expect_refused(&answer, 404, -32001, "Session not found", None);
        assert_eq!(stage.client.send(of("alice")).await.status, 200);
        stage.expect("adopted", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_the_table_does_not_hold_is_not_adopted_by_an_answer_that_is_lost() {
    everywhere(with_the_shipped_list, loses, |stage| async move {
        for number in 0..texts().len() {
            let call = Call::tools_list()
                .session("unknown")
                .header("x-lost", number.to_string());
            let answer = stage.client.send(call).await;
            expect_refused(&answer, 404, -32001, "Session not found", None);
        }
        stage.expect("reserved", 0).await;
        let counts = ["active", "adopted", "ended.reason.upstream_gone", "untracked"];
        assert_eq!(counts.map(|name| stage.stat(name)), [0; 4]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_an_id_are_not_read() {
    everywhere(with_the_shipped_list, loses, |stage| async move {
        for call in [Call::initialize(), Call::get(), Call::method("PUT")] {
            let answer = stage.client.send(call.header("x-lost", "0")).await;
            assert_eq!(answer.status, 400);
            assert!(answer.text().contains("No valid session ID provided"));
        }
        let modern = Call::get()
            .session("s")
            .revision(gateway::message::STATELESS_REVISION)
            .header("x-lost", "0");
        assert_eq!(stage.client.send(modern).await.status, 400);
        stage.expect("reserved", 0).await;
        assert_eq!(stage.stat("rejected.reason.session_not_found"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_on_an_answer_that_is_read_needs_a_place_or_comes_off() {
    let three = |setup: Setup| with_the_shipped_list(setup).endpoint(json!({"max_sessions": 2}));
    everywhere(three, loses, |stage| async move {
        let session = stage.client.open_session().await;
        let mint = |id: &str| Call::method("PUT").session(&session).mint(id);
        // A 200 is listed, so each of these answers is held.
        let answer = stage.client.send(mint("second").reply("200")).await;
        assert_eq!((answer.status, answer.session()), (200, Some("second")));
        stage.expect("created", 2).await;
        let answer = stage.client.send(mint("third").reply("200")).await;
        assert_eq!((answer.status, answer.session()), (200, None));
        stage.expect("untracked", 1).await;
        let answer = stage.client.send(mint("fourth").reply("400")).await;
        assert_eq!((answer.status, answer.session()), (400, None));
        stage.expect("untracked", 2).await;
        let lost = stage.client.send(mint("fifth").header("x-lost", "6")).await;
        expect_refused(&lost, 404, -32001, "Session not found", None);
        stage.expect("untracked", 3).await;
        stage.expect("active", 1).await;
    })
    .await;
}

/// Deletes that reach the server from the filter itself.
fn deletes(server: &OddServer, path: &str) -> Vec<String> {
    let seen = server.seen(path).into_iter();
    let deletes = seen.filter(|request| request.method == "DELETE");
    deletes
        .filter_map(|request| request.session().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_told_of_a_lost_session_and_of_an_id_that_reached_nobody() {
    let told = |setup: Setup| {
        with_the_shipped_list(setup)
            .endpoint(json!({"terminate_upstream": {"cluster": "mcp", "authority": "server"}}))
    };
    everywhere(told, loses, |stage| async move {
        let session = stage.client.open_session().await;
        let call = Call::tools_list()
            .session(&session)
            .header("x-lost", "6")
            .mint("other");
        assert_eq!(stage.client.send(call).await.status, 404);
        gateway::poll::eventually(gateway::poll::SOON, "both are deleted", || {
            let mut deleted = deletes(&stage.server, stage.path);
            deleted.sort();
            let mut expected = vec!["other".to_owned(), session.clone()];
            expected.sort();
            deleted == expected
        })
        .await;
    })
    .await;
}

/// Answers that are not lost ones. The number in `x-answer` chooses one.
fn other_answers() -> Vec<fn() -> Reply> {
    const LOST: &str =
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"No valid session ID"},"id":null}"#;
    vec![
        || {
            Reply::json(
                400,
                &json!({"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}}),
            )
        },
        || Reply::status(400),
        || {
            Reply::status(400)
                .chunk(vec![0, 159, 146, 150])
                .header("x-up", "1")
                .header("x-up", "2")
        },
        || Reply::status(400).chunk("x".repeat(8192)),
        || {
            Reply::status(400)
                .chunk("x".repeat(9000))
                .chunk(LOST)
                .chunk("y".repeat(9000))
                .trailer("x-end", "1")
        },
        || Reply::status(400).chunk(format!("{}{LOST}", "x".repeat(8192))),
        || Reply::status(400).chunk(format!("{}{LOST}", "x".repeat(300_000))),
        || {
            Reply::status(400)
                .chunk("x".repeat(300_000))
                .chunk(LOST)
                .trailer("x-end", "yes")
        },
        || {
            Reply::status(400)
                .chunk("no")
                .chunk(" valid session id")
                .trailer("x-end", "yes")
        },
        || Reply::status(400).header("content-encoding", "gzip").chunk(LOST),
        || {
            Reply::status(400)
                .header("content-encoding", "identity, br")
                .chunk(LOST)
        },
        || {
            Reply::status(400)
                .header("content-type", "text/event-stream")
                .chunk(LOST)
        },
        || {
            Reply::status(403)
                .header("content-type", "application/json")
                .chunk(LOST)
        },
        || Reply::status(500).chunk(LOST),
        || {
            Reply::status(200)
                .header("content-type", "application/json")
                .chunk(LOST)
        },
        || {
            Reply::json(
                200,
                &json!({"jsonrpc": "2.0", "id": 2, "result": {"text": "Session not found"}}),
            )
        },
        || Reply::json(200, &json!({"error": {"message": "Session not found"}})),
        || {
            Reply::json(
                200,
                &json!([{"jsonrpc": "2.0", "id": 2, "error": {"code": 1, "message": "Session not found"}}]),
            )
        },
        || {
            Reply::json(
                200,
                &json!({"jsonrpc": "2.0", "id": 2, "error": {"code": 1, "message": "no", "data": "Session not found"}}),
            )
        },
        || {
            Reply::sse().event(
                &json!({"jsonrpc": "2.0", "id": 2, "error": {"code": 1, "message": "Session not found"}}),
            )
        },
    ]
}

fn answers_otherwise(request: &Request) -> Reply {
    match request.header("x-answer") {
        Some(number) => other_answers()[number.parse::<usize>().expect("a number")](),
        None => Reply::polite(request),
    }
}

/// The fields of an answer that do not depend on the moment.
fn lasting(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    const PASSING: [&str; 2] = ["date", "x-envoy-upstream-service-time"];
    let fields = answer.headers.iter();
    let fields = fields.filter(|(name, _)| !PASSING.contains(&name.as_str()));
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let mut fields: Vec<_> = fields.map(pair).collect();
    fields.sort();
    fields
}

/// Compares with a gateway that reads no answers.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_listed_is_the_same_byte_for_byte() {
    let server = Arc::new(OddServer::start(answers_otherwise).await);
    let setup = || Setup::new(server.address()).workers(2).upstream_http2();
    let (reading, blind) = tokio::join!(with_the_shipped_list(setup()).start(), setup().start());
    for http in BOTH {
        let session = reading.client(http).open_session().await;
        let other = blind.client(http).open_session().await;
        for number in 0..other_answers().len() {
            let call = |session: &str| {
                Call::tools_list()
                    .session(session)
                    .header("x-answer", number.to_string())
                    .header("te", "trailers")
            };
            let answer = reading.client(http).send(call(&session)).await;
            let expected = blind.client(http).send(call(&other)).await;
            assert_eq!(answer.status, expected.status, "{number}");
            assert_eq!(answer.body, expected.body, "{number} over {http:?}");
            assert_eq!(answer.trailers, expected.trailers, "{number} over {http:?}");
            assert_eq!(lasting(&answer), lasting(&expected), "{number} over {http:?}");
        }
        assert_eq!(reading.client(http).ping(&session).await.status, 200);
    }
    assert_eq!(reading.stat("endpoint.mcp.ended.reason.upstream_gone"), 0);
    assert_eq!(reading.stat("endpoint.mcp.active"), 2);
}

/// A listed answer in two pieces and with trailers.
fn in_pieces(request: &Request) -> Reply {
    match request.header("x-cut") {
        Some(at) => {
            let text = "No valid session ID";
            let (first, second) = text.split_at(at.parse().expect("an offset"));
            let reply = Reply::status(400)
                .chunk(first.to_owned())
                .chunk(second.to_owned());
            reply.trailer("x-end", "yes")
        }
        None => Reply::polite(request),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_answer_in_pieces_and_with_trailers_is_known() {
    let server = OddServer::start(in_pieces).await;
    let setup = Setup::new(server.address()).workers(2).upstream_http2();
    let gateway = with_the_shipped_list(setup).start().await;
    for http in BOTH {
        for at in 0..=19 {
            let client = gateway.client(http);
            let session = client.open_session().await;
            let call = Call::tools_list()
                .session(&session)
                .header("x-cut", at.to_string());
            let answer = client.send(call).await;
            expect_refused(&answer, 404, -32001, "Session not found", None);
            assert!(answer.trailers.is_empty());
        }
    }
    gateway.expect("endpoint.mcp.active", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_use_its_connection_after_an_answer_was_replaced() {
    let server = OddServer::start(loses).await;
    let gateway = with_the_shipped_list(Setup::new(server.address())).start().await;
    let session = gateway.client(Http::One).open_session().await;
    let mut connection = gateway.connect().await;
    let header = format!("mcp-session-id: {session}");
    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    connection
        .post("/mcp", &[header.as_bytes(), b"x-lost: 0"], ping)
        .await;
    connection.post("/mcp", &[header.as_bytes()], ping).await;
    assert_eq!(connection.answer().await.map(|answer| answer.status), Some(404));
    assert_eq!(connection.answer().await.map(|answer| answer.status), Some(200));
}
