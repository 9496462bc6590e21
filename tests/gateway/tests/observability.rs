//! What operators see: metrics, access logs, the line at start-up.

use std::collections::BTreeMap;

use gateway::stats::Sample;
use gateway::{Call, Gateway, Http, OddServer, Reply, Setup, everywhere, message};
use serde_json::{Value, json};

fn find<'a>(samples: &'a [Sample], name: &str, labels: &[(&str, &str)]) -> Option<&'a Sample> {
    let labels: BTreeMap<String, String> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    samples
        .iter()
        .find(|sample| sample.name == name && sample.labels == labels)
}

#[track_caller]
fn shows(samples: &[Sample], name: &str, labels: &[(&str, &str)], value: f64) {
    let sample =
        find(samples, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {samples:#?}"));
    assert!(
        (sample.value - value).abs() < f64::EPSILON,
        "{sample:?} is not {value}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_gets_labels() {
    for workers in [1, 2] {
        let server = OddServer::polite().await;
        let setup = Setup::new(server.address())
            .workers(workers)
            .top(json!({"max_sessions": 2}));
        let gateway = setup.start().await;
        let client = gateway.client(Http::One);
        let session = client.open_session().await;
        client.open_session().await;
        client.initialize().await;
        client
            .post(&session, &message::tools_call(1, "echo", json!({})))
            .await;
        client
            .post(&session, &message::request(2, "my/own", json!({})))
            .await;
        client.post(&session, &message::response(3)).await;
        client.delete(&session).await;
        gateway.expect("vm.active", 1).await;

        let samples = gateway.prometheus();
        let mcp = ("mcp_endpoint", "mcp");
        for (name, value) in [
            ("mcp_sessions_active", 1.0),
            ("mcp_sessions_reserved", 0.0),
            ("mcp_sessions_limit", 2.0),
            ("mcp_sessions_streams", 0.0),
            ("mcp_sessions_created", 2.0),
            ("mcp_sessions_adopted", 0.0),
            ("mcp_sessions_untracked", 0.0),
        ] {
            shows(&samples, name, &[mcp], value);
        }
        for (name, value) in [
            ("mcp_sessions_vm_active", 1.0),
            ("mcp_sessions_vm_reserved", 0.0),
            ("mcp_sessions_vm_limit", 2.0),
        ] {
            shows(&samples, name, &[], value);
        }
        shows(
            &samples,
            "mcp_sessions_ended",
            &[mcp, ("mcp_reason", "client_delete")],
            1.0,
        );
        for reason in ["upstream_gone", "idle", "lifetime"] {
            shows(
                &samples,
                "mcp_sessions_ended",
                &[mcp, ("mcp_reason", reason)],
                0.0,
            );
        }
        shows(
            &samples,
            "mcp_sessions_rejected",
            &[mcp, ("mcp_reason", "capacity")],
            1.0,
        );
        for reason in [
            "session_not_found",
            "invalid_session_id",
            "invalid_message",
            "too_large",
        ] {
            shows(
                &samples,
                "mcp_sessions_rejected",
                &[mcp, ("mcp_reason", reason)],
                0.0,
            );
        }
        shows(&samples, "mcp_sessions_repaired", &[], 0.0);
        // A worker tells them on its next tick.
        let initializes = gateway::poll::until(gateway::poll::SOON, || {
            let (samples, of) = (gateway.prometheus(), [mcp, ("mcp_method", "initialize")]);
            let sample = find(&samples, "mcp_sessions_requests", &of)?;
            (sample.value >= 3.0).then_some(sample.value)
        });
        assert_eq!(initializes.await, Some(3.0), "POSTs are counted by method");
        gateway::poll::eventually(gateway::poll::SOON, "POSTs are counted by revision", || {
            let (samples, none) = (gateway.prometheus(), [mcp, ("mcp_revision", "none")]);
            find(&samples, "mcp_sessions_requests_revision", &none).is_some_and(|sample| sample.value >= 3.0)
        })
        .await;
        // The sweep writes it.
        gateway::poll::eventually(gateway::poll::SOON, "the table's size is shown", || {
            let samples = gateway.prometheus();
            find(&samples, "mcp_sessions_table_bytes", &[]).is_some_and(|sample| sample.value > 0.0)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_are_counted_by_method() {
    everywhere(
        |setup| setup,
        Reply::polite,
        |stage| async move {
            stage.client.open_session().await;
            stage.client.send(Call::tools_list()).await;
            stage
                .client
                .send(Call::post(&message::tools_call(1, "echo", json!({}))))
                .await;
            stage.client.send(Call::post(&message::initialized())).await;
            stage
                .client
                .send(Call::post(&message::request(1, "made/up", json!({}))))
                .await;
            stage.client.send(Call::post(&message::response(1))).await;
            stage.expect("requests.method.initialize", 1).await;
            stage.expect("requests.method.tools/list", 1).await;
            stage.expect("requests.method.tools/call", 1).await;
            stage.expect("requests.method.notifications/initialized", 1).await;
            stage.expect("requests.method.other", 1).await;
            assert_eq!(stage.stat("requests.method.made/up"), 0);
        },
    )
    .await;
}

/// Sends a request with a query of its own. Returns its entry in the access log.
async fn logged(gateway: &Gateway, call: Call, mark: &str) -> Value {
    let client = gateway.client(Http::One);
    let _ = client.try_send(call.header("user-agent", mark)).await;
    gateway.access_log_entry(|entry| entry["mark"] == mark).await
}

/// The keys of an access-log entry for which the filter has left a value. Envoy before 1.40 writes a key without a
/// value as null.
fn left_by_the_filter(entry: &Value) -> Vec<&String> {
    let fields = entry.as_object().expect("an entry").iter();
    let without_value = gateway::envoy::version() < (1, 40);
    let ours = fields.filter(|(key, value)| key.starts_with("mcp.") && !(without_value && value.is_null()));
    ours.map(|(key, _)| key).collect()
}

async fn marking(setup: Setup) -> Gateway {
    let marked = json!({"mark": "%REQ(USER-AGENT)%"});
    let patch = move |config: &mut Value| {
        let log = &mut gateway::setup::connection_manager(config)["access_log"][0]["typed_config"];
        gateway::setup::merge(&mut log["log_format"]["json_format"], marked.clone());
    };
    setup.patch(patch).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_log_names_session_method_tool_and_outcome() {
    let server = OddServer::start(Reply::as_told).await;
    let fields = json!({"log_session_id": "plain", "max_sessions": 1});
    let gateway = marking(Setup::new(server.address()).top(fields)).await;

    let entry = logged(
        &gateway,
        Call::initialize().reply("200").mint("the-session"),
        "opens",
    )
    .await;
    assert_eq!(entry["mcp.session.id"], "the-session");
    assert_eq!(entry["mcp.method.name"], "initialize");
    assert_eq!(
        (&entry["mcp.endpoint"], &entry["mcp.outcome"]),
        (&json!("mcp"), &json!("forwarded"))
    );

    let entry = logged(&gateway, Call::initialize(), "refused").await;
    assert_eq!(
        (&entry["status"], &entry["mcp.outcome"]),
        (&json!(429), &json!("capacity"))
    );
    assert_eq!(entry["mcp.method.name"], "initialize");

    let get = Call::get()
        .session("the-session")
        .revision(message::REVISION)
        .reply("sse");
    let entry = logged(&gateway, get, "streams").await;
    assert_eq!(entry["mcp.session.id"], "the-session");
    assert_eq!(entry["mcp.protocol.version"], message::REVISION);
    assert_eq!(entry["mcp.outcome"], "forwarded");

    let call = message::tools_call(1, "echo", json!({"message": "hello"}));
    let call = Call::post(&call).session("the-session").reply("400");
    let entry = logged(&gateway, call, "calls").await;
    assert_eq!(entry["mcp.outcome"], "forwarded");
    assert_eq!(
        (&entry["mcp.method.name"], &entry["gen_ai.tool.name"]),
        (&json!("tools/call"), &json!("echo"))
    );

    let entry = logged(&gateway, Call::delete().session("the-session"), "ends").await;
    assert_eq!(
        (&entry["mcp.session.id"], &entry["status"]),
        (&json!("the-session"), &json!(200))
    );

    let entry = logged(&gateway, Call::get().session("the-session"), "is gone").await;
    assert_eq!(entry["mcp.session.id"], "the-session");
    assert_eq!(
        (&entry["status"], &entry["mcp.outcome"]),
        (&json!(404), &json!("session_not_found"))
    );

    let entry = logged(&gateway, Call::get().session("a b"), "malformed").await;
    assert_eq!(
        (&entry["status"], &entry["mcp.outcome"]),
        (&json!(404), &json!("invalid_session_id"))
    );

    let entry = logged(&gateway, Call::get().path("/elsewhere"), "elsewhere").await;
    let ours = left_by_the_filter(&entry);
    assert_eq!(ours, Vec::<&String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_id_is_hashed_plain_or_left_out() {
    // printf %s the-session | sha256sum | cut -c1-16
    for (how, shown) in [
        ("hash", json!("39635262d609b07f")),
        ("plain", json!("the-session")),
        ("off", Value::Null),
    ] {
        let server = OddServer::start(Reply::as_told).await;
        let gateway = marking(Setup::new(server.address()).top(json!({"log_session_id": how}))).await;
        let entry = logged(&gateway, Call::tools_list().session("the-session"), "one").await;
        assert_eq!(entry["mcp.session.id"], shown, "{how}");
        let log = gateway.envoy().log();
        assert!(!log.contains("the-session"), "{log}");
    }
}

/// Whatever happens to a session, by default no log entry gives its id away, and no line is long.
#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_shows_an_id_or_is_long() {
    const MARK: &str = "give-me-away";
    let server = OddServer::start(Reply::as_told).await;
    let long = "t".repeat(4_000);
    let gateway = Setup::new(server.address())
        .endpoint(json!({"max_sessions": 2, "idle_timeout": "1s"}))
        .start()
        .await;
    let client = gateway.client(gateway::Http::One);
    let id = |number: usize| format!("{MARK}-{number}-{}", "i".repeat(900));
    for number in 0..4 {
        let initialize = Call::initialize().reply("200").mint(&id(number));
        client.send(initialize).await;
        let call = message::tools_call(1, &long, json!({}));
        client.send(Call::post(&call).session(&id(number))).await;
        client
            .send(Call::tools_list().session(&id(number)).reply("404"))
            .await;
        client.send(Call::tools_list().session(&id(number))).await;
        client.send(Call::delete().session(&id(10 + number))).await;
        client
            .send(Call::tools_list().session(&format!("{MARK}\u{e9}")))
            .await;
    }
    gateway.expect("vm.active", 0).await;
    client.open_session().await;
    gateway.expect("vm.active", 0).await;
    let lines: Vec<String> = gateway
        .envoy()
        .access_log()
        .iter()
        .map(Value::to_string)
        .collect();
    assert!(lines.len() >= 24, "{} lines", lines.len());
    let log = gateway.envoy().log();
    for line in lines.iter().map(String::as_str).chain(log.lines()) {
        assert!(!line.contains(MARK), "{line}");
        assert!(line.len() < 2_048, "{} bytes: {line}", line.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_wanted_filter_state_is_left() {
    let server = OddServer::start(Reply::as_told).await;
    let fields = json!({"filter_state": ["mcp.outcome"]});
    let gateway = marking(Setup::new(server.address()).top(fields)).await;
    let entry = logged(&gateway, Call::tools_list().session("x"), "one").await;
    let ours = left_by_the_filter(&entry);
    assert_eq!(ours, ["mcp.outcome"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_name_of_a_tool_leaves_the_new_one_and_one_warning() {
    let server = OddServer::start(Reply::as_told).await;
    let fields = json!({"filter_state": ["wasm.mcp.tool.name"]});
    let gateway = marking(Setup::new(server.address()).workers(2).top(fields)).await;
    let call = message::tools_call(1, "echo", json!({}));
    for mark in ["one", "two", "three", "four"] {
        let entry = logged(&gateway, Call::post(&call).session("x"), mark).await;
        assert_eq!(entry["gen_ai.tool.name"], "echo");
    }
    let log = gateway.envoy().log();
    let warnings = log
        .lines()
        .filter(|line| line.contains("event=configuration_warning"));
    let [warning] = warnings.collect::<Vec<_>>()[..] else {
        panic!("{log}")
    };
    assert!(
        warning.contains("filter_state[0]: \"mcp.tool.name\" is the old name of \"gen_ai.tool.name\""),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_says_version_and_configuration_once_it_serves() {
    let server = OddServer::polite().await;
    let gateway = Setup::new(server.address()).start().await;
    gateway.client(gateway::Http::One).open_session().await;
    let log = gateway.envoy().log();
    let line = log
        .lines()
        .find(|line| line.contains("event=configured"))
        .unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("version="), "{line}");
    assert!(line.contains("max_sessions=10000"), "{line}");
}
