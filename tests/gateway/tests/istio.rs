//! The files of `envoy/istio`, wrapped as Istio wraps them, in a real Envoy.

use gateway::message::tools_call;
use gateway::setup::{connection_manager, documents, merge, set_module, wasm, yaml};
use gateway::{Call, Http, OddServer, Setup};
use serde_json::{Value, json};

use crate::yaml::drive;

const FOLDERS: [&str; 2] = ["ingress", "gateway-api"];

/// The value of the only patch of this kind in an EnvoyFilter.
fn patch(resource: &Value, kind: &str) -> Value {
    let patches = resource["spec"]["configPatches"].as_array().expect("patches");
    let of_kind: Vec<_> = patches.iter().filter(|patch| patch["applyTo"] == kind).collect();
    assert_eq!(of_kind.len(), 1, "{kind}");
    of_kind[0]["patch"]["value"].clone()
}

/// Puts the filter of an EnvoyFilter in place of the standalone file's, with the module of the tests.
fn with_filter(setup: Setup, resource: &Value) -> Setup {
    let filter = patch(resource, "HTTP_FILTER");
    setup.patch(move |config| {
        connection_manager(config)["http_filters"][0] = filter.clone();
        set_module(wasm(config), &gateway::setup::module());
    })
}

/// Puts in what `proxy-settings.yaml` says of the connection manager.
fn with_settings(setup: Setup, folder: &str) -> Setup {
    let settings = patch(
        &yaml(&format!("istio/{folder}/proxy-settings.yaml")),
        "NETWORK_FILTER",
    );
    setup.connection_manager(settings["typed_config"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envoyfilter_works() {
    let server = OddServer::polite().await;
    for folder in FOLDERS {
        let resource = yaml(&format!("istio/{folder}/envoyfilter.yaml"));
        let setup = with_settings(Setup::new(server.address()).workers(2), folder);
        drive(&with_filter(setup, &resource).start().await).await;
    }
}

#[test]
fn the_settings_of_the_proxy_are_the_standalone_file_s() {
    for folder in FOLDERS {
        let resource = yaml(&format!("istio/{folder}/proxy-settings.yaml"));
        let manager = patch(&resource, "NETWORK_FILTER")["typed_config"].take();
        let mut standalone = yaml("envoy.yaml");
        for (field, value) in manager.as_object().expect("fields") {
            assert_eq!(*value, connection_manager(&mut standalone)[field], "{field}");
        }
        let stats = yaml(&format!("istio/{folder}/stats.yaml"));
        let bootstrap = stats["data"]["custom_bootstrap.json"]
            .as_str()
            .expect("a bootstrap");
        let bootstrap = gateway::yaml::read(bootstrap).expect("YAML");
        assert_eq!(bootstrap["stats_config"], standalone["stats_config"]);
    }
}

/// Istio reads no annotation for volumes in the pods that it makes for a Gateway, and so a patch of them does it all.
#[test]
fn the_pods_of_a_gateway_have_the_files_where_the_others_look_for_them() {
    let pods = yaml("istio/gateway-api/gateway-pods.yaml");
    let patch = pods["data"]["deployment"].as_str().expect("a patch");
    let pod = gateway::yaml::read(patch).expect("YAML")["spec"]["template"]["spec"].take();
    let container = &pod["containers"][0];
    let volumes = pod["volumes"].as_array().expect("volumes");
    let mounted = |file: &str| {
        let mut mounts = container["volumeMounts"].as_array().expect("mounts").iter();
        let mount = mounts.find(|mount| file.starts_with(mount["mountPath"].as_str().expect("a path")));
        let mount = mount.unwrap_or_else(|| panic!("{file} is not mounted"));
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        volume.expect("its volume")["configMap"]["name"].clone()
    };
    let mut filter = patch_of("envoyfilter.yaml");
    let module = filter["typed_config"]["config"]["vm_config"]["code"]["local"]["filename"].take();
    assert_eq!(mounted(module.as_str().expect("a file")), "mcp-session-filter");
    let bootstrap = container["env"][0]["value"].as_str().expect("a file");
    assert!(bootstrap.ends_with("/custom_bootstrap.json"), "{bootstrap}");
    let stats = yaml("istio/gateway-api/stats.yaml");
    assert_eq!(mounted(bootstrap), stats["metadata"]["name"]);
}

fn patch_of(file: &str) -> Value {
    patch(&yaml(&format!("istio/gateway-api/{file}")), "HTTP_FILTER")
}

/// Changes a configuration as Istio does from the fields of a WasmPlugin, or of a TrafficExtension's `wasm`: a
/// StringValue, an empty `vm_id`, no `allow_on_headers_stop_iteration`.
fn as_istio_would(fields: &Value, config: &mut Value) {
    let module = wasm(config)["vm_config"]["code"].take();
    *wasm(config) = json!({
        "name": "mcp.mcp-session-filter",
        "root_id": fields["pluginName"].as_str().unwrap_or_default(),
        "failure_policy": fields["failStrategy"],
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": module},
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": fields["pluginConfig"].to_string(),
        },
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_short_forms_work() {
    let server = OddServer::polite().await;
    for folder in FOLDERS {
        let extension = yaml(&format!("istio/{folder}/trafficextension.yaml"));
        let plugin = yaml(&format!("istio/{folder}/wasmplugin.yaml"));
        for fields in [extension["spec"]["wasm"].clone(), plugin["spec"].clone()] {
            let setup = with_settings(Setup::new(server.address()).workers(2), folder);
            let setup = setup.patch(move |config| as_istio_would(&fields, config));
            drive(&setup.start().await).await;
        }
    }
}

/// The RBAC filter that Istio makes of an AuthorizationPolicy whose rules name headers only.
fn rbac(policy: &Value) -> Value {
    let conditions = policy["spec"]["rules"][0]["when"].as_array().expect("conditions");
    let header = |condition: &Value| {
        let key = condition["key"].as_str().expect("a key");
        let name = key.trim_start_matches("request.headers[").trim_end_matches(']');
        json!({"header": {"name": name, "string_match": {"exact": condition["values"][0]}}})
    };
    let rules: Vec<Value> = conditions.iter().map(header).collect();
    json!({
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"action": policy["spec"]["action"], "policies": {"ns[mcp]-policy[mcp-tools]-rule[0]": {
                "permissions": [{"any": true}],
                "principals": [{"and_ids": {"ids": rules}}],
            }}},
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_denies_its_tool_and_no_other() {
    let server = OddServer::polite().await;
    for folder in FOLDERS {
        let [filter, policy] = &documents(&format!("istio/{folder}/policy-by-tool.yaml"))[..] else {
            panic!("two documents");
        };
        let denied = policy["spec"]["rules"][0]["when"][1]["values"][0]
            .as_str()
            .expect("a tool");
        let rbac = rbac(policy);
        let setup = with_filter(Setup::new(server.address()), filter);
        let setup = setup.patch(move |config| {
            let filters = connection_manager(config)["http_filters"].as_array_mut();
            filters.expect("filters").insert(1, rbac.clone());
        });
        let gateway = setup.start().await;
        let client = gateway.client(Http::One);
        let session = client.open_session().await;
        for (tool, status) in [(denied, 403), ("list_everything", 200)] {
            let call = Call::post(&tools_call(1, tool, json!({}))).session(&session);
            let call = call.header("mcp-name", "list_everything");
            assert_eq!(client.send(call).await.status, status, "{tool}");
        }
        assert_eq!(client.delete(&session).await.status, 200);
        drive(&gateway).await;
    }
}

/// It is the full form and no more, but where it stands and what it needs for the policy.
#[test]
fn the_filter_for_the_policy_is_the_full_form_with_the_headers() {
    for folder in FOLDERS {
        let mut full = yaml(&format!("istio/{folder}/envoyfilter.yaml"));
        let for_policy = documents(&format!("istio/{folder}/policy-by-tool.yaml"))[0].take();
        let patch = &mut full["spec"]["configPatches"][0];
        patch["match"]["listener"]["filterChain"]["filter"]["subFilter"]["name"] =
            json!("envoy.filters.http.rbac");
        let plugin = &mut patch["patch"]["value"]["typed_config"]["config"]["configuration"]["value"];
        let headers = json!({"strict_json_rpc": true, "method_headers": true});
        merge(&mut plugin["endpoints"][0], headers);
        assert_eq!(for_policy, full);
    }
}

#[test]
fn only_the_governed_path_is_routed() {
    let governed =
        yaml("istio/ingress/wasmplugin.yaml")["spec"]["pluginConfig"]["endpoints"][0]["path"].take();
    let rule = yaml("istio/ingress/virtualservice.yaml")["spec"]["http"].take();
    assert_eq!(rule.as_array().map(Vec::len), Some(1));
    assert_eq!(rule[0]["match"], json!([{"uri": {"exact": governed}}]));
    assert_eq!(rule[0]["timeout"], Value::Null, "none, so that streams live");
    for file in [
        "istio/gateway-api/httproute.yaml",
        "envoy-gateway/headers/httproute.yaml",
    ] {
        let rules = yaml(file)["spec"]["rules"].take();
        assert_eq!(rules.as_array().map(Vec::len), Some(1));
        assert_eq!(
            rules[0]["matches"],
            json!([{"path": {"type": "Exact", "value": governed}}])
        );
        assert_eq!(rules[0]["timeouts"], Value::Null, "none, so that streams live");
    }
}
