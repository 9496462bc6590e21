//! The files of `envoy/`, and configurations that Envoy must refuse.

use std::collections::BTreeSet;

use gateway::envoy::{root, validate};
use gateway::setup::{wasm, yaml};
use gateway::{Encoding, Gateway, Http, OddServer, Setup};
use serde_json::{Value, json};

/// One session through the gateway.
pub(crate) async fn drive(gateway: &Gateway) {
    for http in gateway::client::BOTH {
        let client = gateway.client(http);
        let session = client.open_session().await;
        gateway.expect("endpoint.mcp.active", 1).await;
        assert_eq!(client.ping(&session).await.status, 200);
        assert_eq!(client.delete(&session).await.status, 200);
        gateway.expect("endpoint.mcp.active", 0).await;
        assert_eq!(client.ping(&session).await.status, 404);
    }
}

#[test]
fn the_standalone_file_is_valid_as_it_is() {
    let said = validate(&root().join("envoy/envoy.yaml"));
    assert_eq!(said, Ok(()));
}

/// Without callbacks for bodies, and with everything else that the module asks for.
#[tokio::test(flavor = "multi_thread")]
async fn the_lean_file_works_and_leaves_out_bodies_only() {
    const BODIES: [&str; 4] = [
        "proxy_on_request_body",
        "proxy_on_request_trailers",
        "proxy_on_response_body",
        "proxy_on_response_trailers",
    ];
    let lean = yaml("lean/capabilities.yaml");
    let allowed = lean["capability_restriction_config"]["allowed_capabilities"].as_object();
    let allowed: BTreeSet<&str> = allowed.expect("names").keys().map(String::as_str).collect();
    let module = std::fs::read(gateway::setup::module()).expect("the module is built");
    let (mut asked, callbacks) = crate::module::capabilities(&module);
    asked.extend(
        callbacks
            .into_iter()
            .filter(|name| !BODIES.contains(&name.as_str())),
    );
    assert_eq!(allowed, asked.iter().map(String::as_str).collect());

    let server = OddServer::polite().await;
    let by_head = json!({"admission": "headers"});
    let setup = Setup::new(server.address()).workers(2).endpoint(by_head);
    let gateway = setup.patch(move |config| gateway::setup::merge(wasm(config), lean.clone()));
    drive(&gateway.start().await).await;
}

/// What each text of the list does is tested in `lost_session`.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_lost_sessions_works_as_a_struct_and_as_a_string() {
    let server = OddServer::polite().await;
    for encoding in [Encoding::Struct, Encoding::String] {
        let setup = Setup::new(server.address()).endpoint(yaml("lost-sessions.yaml"));
        drive(&setup.encoding(encoding).start().await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_lost_sessions_is_refused_without_admission_by_body() {
    let mut plugin = wasm(&mut yaml("envoy.yaml"))["configuration"]["value"].take();
    let endpoint = &mut plugin["endpoints"][0];
    gateway::setup::merge(endpoint, yaml("lost-sessions.yaml"));
    endpoint["admission"] = json!("headers");
    let log = refusal(plugin, Encoding::Struct).await;
    assert!(
        log.contains("endpoints[0].lost_session: needs admission \"body\""),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_may_be_empty_a_string_or_a_struct() {
    let server = OddServer::polite().await;
    for encoding in [Encoding::Struct, Encoding::String] {
        // Without a configured `admission`, the filter judges by headers.
        for plugin in [json!({}), json!({"max_sessions": 100})] {
            drive(
                &Setup::new(server.address())
                    .plugin(plugin)
                    .encoding(encoding)
                    .start()
                    .await,
            )
            .await;
        }
    }
    let nothing = |config: &mut Value| {
        drop(
            wasm(config)
                .as_object_mut()
                .expect("an object")
                .remove("configuration"),
        )
    };
    drive(&Setup::new(server.address()).patch(nothing).start().await).await;
}

/// Envoy's words at a configuration that it must refuse.
async fn refusal(plugin: Value, encoding: Encoding) -> String {
    let setup = Setup::new(([127, 0, 0, 1], 1).into())
        .plugin(plugin)
        .encoding(encoding);
    setup
        .try_start()
        .await
        .err()
        .expect("Envoy refuses the configuration")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_come_in_one_message() {
    let plugin = json!({
        "max_sesions": 5,
        "max_sessions": 0,
        "endpoints": [
            {"name": "One", "path": "mcp", "idle_timeout": "0.5s"},
            {"name": "two", "path": "/two", "capacity_status": 500},
        ],
    });
    for encoding in [Encoding::Struct, Encoding::String] {
        let log = refusal(plugin.clone(), encoding).await;
        let (_, message) = log
            .split_once("invalid configuration")
            .unwrap_or_else(|| panic!("{log}"));
        // Envoy begins its next line with the time.
        let message = message.split("\n[").next().unwrap_or_default();
        for part in [
            "max_sesions",
            "max_sessions",
            "endpoints[0].name",
            "endpoints[0].path",
            "endpoints[0].idle_timeout",
            "endpoints[1].capacity_status",
        ] {
            assert!(message.contains(part), "{part} is not in\n{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_configuration_are_refused() {
    for value in ["nonsense", "[1]", "{\"max_sessions\":", "null", "\u{0}"] {
        let setup = Setup::new(([127, 0, 0, 1], 1).into()).patch(move |config| {
            let kind = "type.googleapis.com/google.protobuf.StringValue";
            wasm(config)["configuration"] = json!({"@type": kind, "value": value});
        });
        assert!(setup.try_start().await.is_err(), "{value:?} was taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_through_http1_and_http2_alike() {
    let server = OddServer::polite().await;
    let gateway = Setup::new(server.address()).workers(2).start().await;
    let session = gateway.client(Http::One).open_session().await;
    assert_eq!(gateway.client(Http::Two).ping(&session).await.status, 200);
    assert_eq!(gateway.client(Http::Two).delete(&session).await.status, 200);
    assert_eq!(gateway.client(Http::One).ping(&session).await.status, 404);
}
