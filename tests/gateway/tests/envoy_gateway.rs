//! The files of `envoy/envoy-gateway`, wrapped as Envoy Gateway wraps them, in a real Envoy.

use gateway::message::tools_call;
use gateway::setup::{connection_manager, wasm, yaml};
use gateway::{Call, Gateway, Http, OddServer, Setup};
use serde_json::{Value, json};

use crate::yaml::drive;

/// A file of one of the folders.
fn file(name: &str) -> Value {
    yaml(&format!("envoy-gateway/{name}.yaml"))
}

/// The name of the filter in the chain, and of its VM, as `make test-envoy-gateway` sees them in Envoy
/// (`internal/xds/translator/wasm.go`).
const NAME: &str = "envoy.filters.http.wasm//mcp/mcp-session-filter/wasm/0";
const VM: &str = "/mcp/mcp-session-filter/wasm/0";

/// Changes a configuration as Envoy Gateway does from an EnvoyExtensionPolicy: a StringValue, a `vm_id` of the policy's
/// name, and a filter that is disabled in the chain and enabled on the route.
fn as_envoy_gateway_would(setup: Setup, policy: &Value) -> Setup {
    let fields = policy["spec"]["wasm"][0].clone();
    setup.patch(move |config| {
        let module = wasm(config)["vm_config"]["code"].take();
        *wasm(config) = json!({
            "name": fields["name"],
            "root_id": fields["rootID"],
            "fail_open": fields["failOpen"],
            "vm_config": {"vm_id": VM, "runtime": "envoy.wasm.runtime.v8", "code": module},
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": fields["config"].to_string(),
            },
        });
        let filter = &mut connection_manager(config)["http_filters"][0];
        filter["name"] = json!(NAME);
        filter["disabled"] = json!(true);
        let enabled =
            json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}});
        route(config)["typed_per_filter_config"][NAME] = enabled;
    })
}

fn route(config: &mut Value) -> &mut Value {
    &mut connection_manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]
}

/// Sets what the patches of `envoypatchpolicy.yaml` set. Envoy Gateway finds the filter by the name in the path.
fn patched(setup: Setup) -> Setup {
    let policy = file("body/envoypatchpolicy");
    let name = file("body/envoyextensionpolicy")["spec"]["wasm"][0]["name"].take();
    let name = name.as_str().expect("a name");
    let path = format!("..http_filters[?(@.typed_config.config.name=='{name}')].typed_config.config");
    let patches = policy["spec"]["jsonPatches"].as_array().expect("patches");
    patches.iter().fold(setup, |setup, patch| {
        let operation = &patch["operation"];
        assert_eq!(
            (operation["op"].as_str(), operation["jsonPath"].as_str()),
            (Some("add"), Some(path.as_str()))
        );
        let field = operation["path"].as_str().expect("a field");
        setup.filter(json!({field: operation["value"]}))
    })
}

/// The gateway that a folder makes, in front of a server.
async fn gateway(folder: &str, server: &OddServer) -> Gateway {
    let policy = file(&format!("{folder}/envoyextensionpolicy"));
    let setup = as_envoy_gateway_would(Setup::new(server.address()).workers(2), &policy);
    let setup = if folder == "headers" {
        setup
    } else {
        patched(setup)
    };
    let security = file(if folder == "tools" {
        "tools/securitypolicy"
    } else {
        "headers/securitypolicy"
    });
    with_security(setup, &security).start().await
}

/// Puts `cors` before the filter and `rbac` behind it, with what a SecurityPolicy says.
fn with_security(setup: Setup, policy: &Value) -> Setup {
    let (cors, rbac) = (
        cors(&policy["spec"]["cors"]),
        rbac(&policy["spec"]["authorization"]),
    );
    setup.patch(move |config| {
        let filters = connection_manager(config)["http_filters"]
            .as_array_mut()
            .expect("filters");
        filters.insert(1, rbac.clone());
        let kind = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors";
        filters.insert(
            0,
            json!({"name": "envoy.filters.http.cors", "typed_config": {"@type": kind}}),
        );
        route(config)["typed_per_filter_config"]["envoy.filters.http.cors"] = cors.clone();
    })
}

fn cors(policy: &Value) -> Value {
    let list = |field: &str| {
        let values = policy[field].as_array().expect(field).iter();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        values.join(", ")
    };
    let origins = policy["allowOrigins"].as_array().expect("origins").iter();
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": origins.map(|origin| json!({"exact": origin})).collect::<Vec<_>>(),
        "allow_methods": list("allowMethods"),
        "allow_headers": list("allowHeaders"),
        "expose_headers": list("exposeHeaders"),
    })
}

/// The rules of an `authorization` that name headers only; without any, everything is allowed.
fn rbac(authorization: &Value) -> Value {
    let rules = authorization["rules"].as_array().into_iter().flatten();
    let policies = rules.map(|rule| {
        let headers = rule["principal"]["headers"].as_array().expect("headers").iter();
        let headers = headers.map(|header| {
            json!({"header": {"name": header["name"], "string_match": {"exact": header["values"][0]}}})
        });
        let ids: Vec<Value> = headers.collect();
        let policy = json!({"permissions": [{"any": true}], "principals": [{"and_ids": {"ids": ids}}]});
        (rule["name"].as_str().expect("a name").to_owned(), policy)
    });
    let policies: serde_json::Map<String, Value> = policies.collect();
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": "DENY", "policies": policies},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_folder_works() {
    let server = OddServer::polite().await;
    for folder in ["headers", "body", "tools"] {
        drive(&gateway(folder, &server).await).await;
    }
}

/// What distinguishes the folder: `headers` lets the server judge the message.
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_held_with_the_patch_policy() {
    let server = OddServer::polite().await;
    for (folder, status) in [("headers", 202), ("body", 400)] {
        let gateway = gateway(folder, &server).await;
        let answer = gateway.client(Http::One).send(Call::post_bytes("{")).await;
        assert_eq!(answer.status, status, "{folder}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_denies_its_tool_and_a_page_can_read_what_the_filter_says() {
    let policy = file("tools/securitypolicy");
    let rule = &policy["spec"]["authorization"]["rules"][0];
    let denied = rule["principal"]["headers"][1]["values"][0]
        .as_str()
        .expect("a tool");
    let page = policy["spec"]["cors"]["allowOrigins"][0]
        .as_str()
        .expect("an origin");
    let server = OddServer::polite().await;
    let gateway = gateway("tools", &server).await;
    let client = gateway.client(Http::One);
    let session = client.open_session().await;
    for (tool, status) in [(denied, 403), ("list_everything", 200)] {
        let call = Call::post(&tools_call(1, tool, json!({}))).session(&session);
        let answer = client.send(call.header("mcp-name", "list_everything")).await;
        assert_eq!(answer.status, status, "{tool}");
    }
    client.delete(&session).await;
    let gone = client
        .send(Call::tools_list().session(&session).header("origin", page))
        .await;
    assert_eq!(
        (gone.status, gone.header("access-control-allow-origin")),
        (404, Some(page))
    );
}

/// Envoy Gateway's own words for what the standalone file says in Envoy's.
#[test]
fn limits_and_times_are_the_standalone_file_s() {
    let mut standalone = yaml("envoy.yaml");
    let listener = standalone["static_resources"]["listeners"][0].clone();
    let cluster = standalone["static_resources"]["clusters"][0].clone();
    let manager = connection_manager(&mut standalone).clone();
    let clients = file("headers/clienttrafficpolicy")["spec"].take();
    let servers = file("headers/backendtrafficpolicy")["spec"].take();
    assert_eq!(clients["connection"]["bufferLimit"], "1Mi");
    assert_eq!(listener["per_connection_buffer_limit_bytes"], 1 << 20);
    let times = &clients["timeout"]["http"];
    assert_eq!(
        times["requestHeadersReceivedTimeout"],
        manager["request_headers_timeout"]
    );
    assert_eq!(times["requestReceivedTimeout"], manager["request_timeout"]);
    assert_eq!(
        (
            &servers["timeout"]["http"]["streamIdleTimeout"],
            &manager["stream_idle_timeout"]
        ),
        (&json!("1h"), &json!("3600s"))
    );
    assert_eq!(
        servers["timeout"]["http"]["requestTimeout"],
        route(&mut standalone)["route"]["timeout"]
    );
    let breakers = &cluster["circuit_breakers"]["thresholds"][0];
    for (ours, envoy_s) in [
        ("maxConnections", "max_connections"),
        ("maxPendingRequests", "max_pending_requests"),
        ("maxParallelRequests", "max_requests"),
    ] {
        assert_eq!(servers["circuitBreaker"][ours], breakers[envoy_s], "{ours}");
    }
}
