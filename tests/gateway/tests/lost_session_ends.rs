//! Answers that are held and do not come to an end as they should: slow, endless, broken off, untrue about their
//! length, and held by a worker that fails.

use std::time::{Duration, Instant};

use gateway::client::BOTH;
use gateway::{
    Call, Gateway, Http, OddServer, RawServer, Reply, Request, Setup, Step, everywhere, poll, setup,
};
use serde_json::{Value, json};

/// How long an answer is held: a second, and a tick of the tests' `sweep_interval`.
const HELD: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);
/// Two busy cores may be late by this.
const SLACK: Duration = Duration::from_secs(2);

fn list() -> Value {
    json!({"lost_session": [{"status": 400, "contains": "lost"}, {"status": 200, "contains": "lost"}]})
}

fn reading(setup: Setup) -> Setup {
    setup.endpoint(list())
}

/// Checks that an answer that began at `start` was held for a second, and not for long after.
#[track_caller]
fn expect_held_in_time(start: Instant) {
    let held = start.elapsed();
    assert!(held >= HELD && held < HELD + TICK + SLACK, "held for {held:?}");
}

/// `x-reply: open` is a listed status, and a body that never ends.
fn hangs(request: &Request) -> Reply {
    match request.header("x-reply") {
        Some("open") => Reply::status(400).chunk("los").left_open(),
        Some("head") => Reply::status(400).left_open(),
        Some("broken") => Reply::status(400).chunk("los").broken_off(),
        Some("adopted") => Reply::status(200).chunk("{").left_open(),
        _ => Reply::as_told(request),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_ends_is_let_go_after_a_second() {
    everywhere(reading, hangs, |stage| async move {
        let session = stage.client.open_session().await;
        for (reply, begins) in [("open", Some("los")), ("head", None)] {
            let start = Instant::now();
            let call = Call::tools_list().session(&session).reply(reply);
            let mut stream = stage.client.open(call).await;
            expect_held_in_time(start);
            println!("{reply} over {:?}: held for {:?}", stage.http, start.elapsed());
            assert_eq!(stream.status, 400);
            if let Some(text) = begins {
                assert_eq!(stream.next().await.expect("a piece").expect("whole"), text);
            }
        }
        stage.expect_alive(&session).await;
        assert_eq!(stage.stat("ended.reason.upstream_gone"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_is_adopted_when_its_answer_is_let_go() {
    everywhere(reading, hangs, |stage| async move {
        let start = Instant::now();
        let call = Call::tools_list().session("unknown").reply("adopted");
        let stream = stage.client.open(call).await;
        expect_held_in_time(start);
        assert_eq!(stream.status, 200);
        stage.expect("adopted", 1).await;
        stage.expect("active", 1).await;
        assert_eq!(stage.stat("reserved"), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_while_it_is_held_is_a_502_and_ends_nothing() {
    everywhere(reading, hangs, |stage| async move {
        let session = stage.client.open_session().await;
        let call = Call::tools_list().session(&session).reply("broken");
        let answer = stage.client.send(call).await;
        assert_eq!(answer.status, 502, "{answer:?}");
        stage.expect_alive(&session).await;
        let call = Call::tools_list().session("unknown").reply("broken");
        assert_eq!(stage.client.send(call).await.status, 502);
        stage.expect("reserved", 0).await;
        assert_eq!(stage.stat("active"), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_its_answer_is_held_leaves_nothing() {
    everywhere(reading, hangs, |stage| async move {
        let mut waiting = Vec::new();
        for number in 0..20 {
            let call = Call::tools_list()
                .session(&format!("unknown-{number}"))
                .reply("adopted");
            let client = stage.client.clone();
            waiting.push(tokio::spawn(async move { client.try_open(call).await }));
        }
        poll::eventually(poll::SOON, "all arrive", || stage.seen().len() == 20).await;
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        stage.expect("reserved", 0).await;
        let session = stage.client.open_session().await;
        stage.expect_alive(&session).await;
    })
    .await;
}

/// Each listed answer, and how the test's request asks for it.
fn raw(request: &str) -> Vec<Step> {
    let ask = |name: &str| request.contains(&format!("x-reply: {name}\r\n"));
    let send = |text: &str| Step::Send(text.as_bytes().to_vec());
    let begin = |fields: &str| send(&format!("HTTP/1.1 400 Bad Request\r\n{fields}\r\n\r\n"));
    let chunked = begin("transfer-encoding: chunked");
    if ask("too-short") {
        vec![begin("content-length: 100"), send("lost"), Step::Close]
    } else if ask("too-short-hangs") {
        vec![begin("content-length: 100"), send("lost"), Step::Hang]
    } else if ask("too-long") {
        vec![begin("content-length: 2"), send("lost"), Step::Close]
    } else if ask("says-long") {
        vec![begin("content-length: 8193"), send("lost"), Step::Hang]
    } else if ask("until-close") {
        vec![begin("connection: close"), send("lo"), send("st"), Step::Close]
    } else if ask("cut-chunk") {
        vec![chunked, send("5\r\nlos"), Step::Close]
    } else if ask("trickle") {
        vec![chunked, Step::Trickle("1\r\nx\r\n", Duration::from_millis(50))]
    } else if ask("flood") {
        vec![chunked, Step::Trickle("400\r\n", Duration::from_millis(5))]
    } else if ask("endless") {
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
        vec![chunked, Step::Send(chunk.repeat(3).into_bytes()), Step::Hang]
    } else {
        let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        let length = body.len();
        vec![send(&format!(
            "HTTP/1.1 200 OK\r\nmcp-session-id: s\r\ncontent-length: {length}\r\n\r\n{body}"
        ))]
    }
}

/// A gateway before the raw server, with the live session `s`.
async fn before_a_raw_server(server: &RawServer) -> Gateway {
    let gateway = reading(Setup::new(server.address()).workers(2)).start().await;
    assert_eq!(gateway.client(Http::One).open_session().await, "s");
    gateway
}

fn asks(reply: &str) -> Call {
    Call::method("PUT").session("s").reply(reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_are_not_true_give_no_changed_byte_and_no_hang() {
    let server = RawServer::start(raw).await;
    let gateway = before_a_raw_server(&server).await;
    for http in BOTH {
        let client = gateway.client(http);
        for broken in ["too-short", "cut-chunk"] {
            assert_eq!(client.send(asks(broken)).await.status, 502, "{broken}");
        }
        let start = Instant::now();
        let mut stream = client.open(asks("too-short-hangs")).await;
        expect_held_in_time(start);
        assert_eq!(stream.status, 400);
        assert_eq!(stream.next().await.expect("a piece").expect("whole"), "lost");
        drop(stream);
        let answer = client.send(asks("too-long")).await;
        assert_eq!((answer.status, answer.text().as_str()), (400, "lo"));
        let start = Instant::now();
        let stream = client.open(asks("says-long")).await;
        assert_eq!(stream.status, 400);
        assert!(
            start.elapsed() < HELD,
            "an answer that says it is long is not held"
        );
        drop(stream);
        assert_eq!(gateway.stat("endpoint.mcp.active"), 1);
        assert_eq!(client.send(asks("until-close")).await.status, 404);
        gateway.expect("endpoint.mcp.active", 0).await;
        assert_eq!(client.ping("s").await.status, 200);
        gateway.expect("endpoint.mcp.active", 1).await;
    }
}

/// The first bytes of an answer's body that is still coming.
async fn beginning(stream: &mut gateway::Stream, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend(stream.next().await.expect("more").expect("whole"));
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickle_is_let_go_after_a_second_and_no_byte_of_it_is_lost() {
    let server = RawServer::start(raw).await;
    let gateway = before_a_raw_server(&server).await;
    for http in BOTH {
        let start = Instant::now();
        let mut stream = gateway.client(http).open(asks("trickle")).await;
        expect_held_in_time(start);
        let bytes = beginning(&mut stream, 60).await;
        assert!(bytes.iter().all(|byte| *byte == b'x'), "{bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_grows_over_8_kib_is_let_go_at_once() {
    let server = RawServer::start(raw).await;
    let gateway = before_a_raw_server(&server).await;
    for http in BOTH {
        let start = Instant::now();
        let mut stream = gateway.client(http).open(asks("endless")).await;
        assert!(start.elapsed() < HELD, "held for {:?}", start.elapsed());
        let bytes = beginning(&mut stream, 3 * 4096).await;
        assert!(bytes.iter().all(|byte| *byte == b'x') && bytes.len() == 3 * 4096);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_answers_are_let_go_at_once() {
    const MANY: usize = 2000;
    let server = OddServer::start(hangs).await;
    let gateway = reading(Setup::new(server.address()).workers(2)).start().await;
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    let mut waiting = tokio::task::JoinSet::new();
    let start = Instant::now();
    // A connection for each hundred, so that both workers have some.
    let clients: Vec<_> = (0..MANY / 100).map(|_| gateway.client(Http::Two)).collect();
    for number in 0..MANY {
        let client = clients[number % clients.len()].clone();
        let call = Call::method("PUT").session(&session).reply("open");
        waiting.spawn(async move {
            let began = Instant::now();
            let stream = client.open(call).await;
            (began.elapsed(), stream)
        });
    }
    let mut open = Vec::new();
    while let Some(answer) = waiting.join_next().await {
        let (held, stream) = answer.expect("an answer");
        assert_eq!(stream.status, 400, "{:?}", stream.headers);
        assert!(held >= HELD, "held for {held:?}");
        open.push((held, stream));
    }
    let longest = open.iter().map(|(held, _)| *held).max().expect("answers");
    println!(
        "{MANY} answers, the last after {:?}; none was held for over {longest:?}",
        start.elapsed()
    );
    assert_eq!(open.len(), MANY);
    // Each worker lets 1,600 go in a second.
    assert!(longest < HELD * 3 + SLACK, "held for {longest:?}");
    assert_eq!(client.ping(&session).await.status, 200);
}

/// Without the flag of `admission: body`, Envoy calls no body callback for an answer that is held.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_flag_an_answer_is_let_go_after_a_second() {
    let server = OddServer::start(hangs).await;
    let without = |config: &mut Value| {
        let filter = setup::wasm(config).as_object_mut().expect("an object");
        filter.remove("allow_on_headers_stop_iteration");
    };
    let gateway = reading(Setup::new(server.address()).workers(2))
        .endpoint(json!({"unknown_session": "adopt"}))
        .patch(without)
        .start()
        .await;
    for http in BOTH {
        let call = Call::method("PUT").session("s").reply("400");
        assert_eq!(gateway.client(http).send(call).await.status, 400);
        let start = Instant::now();
        let call = Call::method("PUT").session("s").reply("open");
        let mut stream = gateway.client(http).open(call).await;
        expect_held_in_time(start);
        assert_eq!(stream.next().await.expect("a piece").expect("whole"), "los");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_fails_while_an_answer_is_held_leaves_no_client_waiting() {
    let gate = gateway::Gate::closed();
    let held = gate.clone();
    let server = OddServer::start(move |request| match request.header("x-reply") {
        Some("gate") => Reply::status(400).chunk("los").ended_by(&held),
        _ => Reply::as_told(request),
    })
    .await;
    let gateway = reading(Setup::new(server.address()))
        .filter(json!({"vm_config": {"code": {"local": {"filename": setup::trap_module()}}}}))
        .faults_expected()
        .start()
        .await;
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    let waiting = tokio::spawn({
        let call = Call::method("PUT").session(&session).reply("gate");
        let client = client.clone();
        async move { client.try_send(call).await }
    });
    poll::eventually(poll::SOON, "it arrives", || server.count("/mcp") == 2).await;
    let trapped = gateway
        .client(Http::One)
        .send(Call::get().header("x-trap-vm", "1"))
        .await;
    assert_eq!(trapped.status, 503);
    gate.open();
    let answer = waiting.await.expect("no panic");
    assert!(
        answer.as_ref().map_or(true, |answer| answer.status >= 500),
        "{answer:?}"
    );
    poll::eventually(poll::SOON, "the VM is back", || gateway.stat("vm.active") == 1).await;
}
