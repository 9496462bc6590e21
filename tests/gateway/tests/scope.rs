//! Which requests the filter looks at, and which pass untouched.

use gateway::{Call, Http, OddServer, Reply, Setup, everywhere};
use serde_json::json;

fn rejecting(setup: Setup) -> Setup {
    setup.endpoint(json!({"unknown_session": "reject", "max_sessions": 1}))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_judged_whatever_the_method() {
    everywhere(rejecting, Reply::as_told, |stage| async move {
        for method in ["OPTIONS", "HEAD", "PUT", "PATCH", "PURGE", "GET", "DELETE"] {
            let call = || Call::method(method).reply("204").mint("m");
            let unknown = stage.client.send(call().session("nobody")).await;
            assert_eq!((unknown.status, unknown.session()), (404, None), "{method}");
            let strange = call().header("mcp-session-id", "nobody's id");
            assert_eq!(stage.client.send(strange).await.status, 404, "{method}");
        }
        assert_eq!(stage.server.count(stage.path), 0);
        assert_eq!((stage.stat("active"), stage.stat("adopted")), (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_method_an_id_in_an_answer_needs_a_place() {
    everywhere(rejecting, Reply::as_told, |stage| async move {
        let mut untracked = 0;
        for reply in ["400", "404", "405"] {
            for call in [Call::get(), Call::delete(), Call::method("OPTIONS")] {
                let answer = stage.client.send(call.reply(reply).mint("fresh")).await;
                assert_eq!(answer.status.to_string(), reply);
                assert_eq!(answer.session(), None);
                untracked += 1;
                stage.expect("untracked", untracked).await;
            }
        }
        let answer = stage.client.send(Call::get().reply("200").mint("one")).await;
        assert_eq!(answer.session(), Some("one"));
        stage.expect("active", 1).await;
        let answer = stage
            .client
            .send(Call::method("PUT").reply("200").mint("two"))
            .await;
        assert_eq!((answer.status, answer.session()), (200, None), "the cap is 1");
        stage.expect("untracked", untracked + 1).await;
        stage.expect("streams", 0).await;
        assert_eq!((stage.stat("active"), stage.stat("reserved")), (1, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_pass_untouched() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = rejecting(Setup::new(server.address())).start().await;
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        for path in [
            "/",
            "/mcp/x",
            "/mcpx",
            "/x/mcp",
            "/.well-known/oauth-protected-resource/mcp",
        ] {
            let call = Call::post_bytes("no JSON")
                .session("nobody")
                .path(path)
                .reply("202")
                .mint("m");
            let answer = client.send(call).await;
            assert_eq!((answer.status, answer.session()), (202, Some("m")), "{path}");
        }
    }
    assert_eq!((gateway.stat("vm.active"), gateway.stat("vm.reserved")), (0, 0));
    // Each request carried an id, over both versions of HTTP.
    gateway.expect("ungoverned", 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_the_path_goes_around_the_filter() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = rejecting(Setup::new(server.address())).start().await;
    for path in [
        "/mcp?x=1",
        "/mcp/",
        "/MCP",
        "/mcp;a=b",
        "//mcp",
        "/x/../mcp",
        "/./mcp",
        "/%6dcp",
        "/x/%2e%2e/mcp",
        "/mcp?/mcp/",
    ] {
        let mut connection = gateway.connect().await;
        connection.post(path, &[b"mcp-session-id: nobody"], b"{}").await;
        assert_eq!(
            connection.answer().await.expect("an answer").status,
            404,
            "{path}"
        );
    }
    // Envoy refuses escaped slashes itself.
    let mut connection = gateway.connect().await;
    connection
        .post("/x%2f..%2fmcp", &[b"mcp-session-id: nobody"], b"{}")
        .await;
    assert_eq!(connection.answer().await.expect("an answer").status, 400);
    assert_eq!(server.seen("/mcp").len(), 0);
    gateway
        .expect("endpoint.mcp.rejected.reason.session_not_found", 10)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_everything_below() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = rejecting(Setup::new(server.address()))
        .endpoint(json!({"path": "/mcp/*"}))
        .start()
        .await;
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        for path in ["/mcp/", "/mcp/a", "/mcp/a/b", "/mcp/?q"] {
            let call = Call::tools_list().session("nobody").path(path);
            assert_eq!(client.send(call).await.status, 404, "{path}");
        }
        for path in ["/mcp", "/mcp?x=/mcp/", "/mcpx/a"] {
            let call = Call::tools_list().session("nobody").path(path);
            assert_eq!(client.send(call).await.status, 200, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_of_a_host_goes_before_one_of_any() {
    let server = OddServer::start(Reply::as_told).await;
    let plugin = json!({"endpoints": [
        {"name": "any", "path": "/mcp", "unknown_session": "adopt", "admission": "body"},
        {"name": "one", "path": "/mcp", "authority": "one.example", "unknown_session": "reject", "admission": "body"},
    ]});
    let gateway = Setup::new(server.address()).plugin(plugin).start().await;
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        for (host, status) in [
            ("one.example", 404),
            ("ONE.example:8080", 404),
            ("two.example", 200),
            ("xone.example", 200),
        ] {
            let call = Call::tools_list().session("nobody").authority(host);
            assert_eq!(client.send(call).await.status, status, "{host}");
        }
    }
    gateway
        .expect("endpoint.one.rejected.reason.session_not_found", 4)
        .await;
    gateway.expect("endpoint.any.adopted", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_one_session_per_endpoint() {
    let server = OddServer::start(Reply::as_told).await;
    let gateway = Setup::new(server.address()).endpoints(&["a", "b"]).start().await;
    let [a, b] = ["/a", "/b"].map(|path| gateway.client(Http::One).at(path));
    for client in [&a, &b] {
        let answer = client.send(Call::initialize().reply("200").mint("same")).await;
        assert_eq!(answer.session(), Some("same"));
    }
    assert_eq!(a.delete("same").await.status, 200);
    assert_eq!(a.ping("same").await.status, 404);
    assert_eq!(b.ping("same").await.status, 200);
    gateway.expect("vm.active", 1).await;
}
