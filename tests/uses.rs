//! Holds the folders of `envoy/` against the published models of Kubernetes resources, and each README against its folder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod markdown;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use markdown::{code, files, prose, read};
use serde_json::Value;

/// What stands in the files for the digest that `make image` prints.
const PLACEHOLDER: &str = "IMAGE_DIGEST";

/// The files of YAML below this folder of `envoy/`.
fn yaml_below(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("envoy").join(folder);
    let found: Vec<PathBuf> = files("yaml")
        .into_iter()
        .filter(|path| path.starts_with(&folder))
        .collect();
    assert!(!found.is_empty(), "{}", folder.display());
    found
}

fn documents(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folders for a control plane.
const PLANES: [&str; 4] = ["istio", "envoy-gateway", "fleet/istio", "fleet/envoy-gateway"];

/// All resources that ship for a control plane, each with its file.
fn resources() -> impl Iterator<Item = (PathBuf, Value)> {
    let files = PLANES.into_iter().flat_map(yaml_below);
    let files = files.filter(|path| !path.ends_with("kustomization.yaml"));
    files.flat_map(|path| {
        let documents = documents(&path).into_iter();
        documents
            .map(move |document| (path.clone(), document))
            .collect::<Vec<_>>()
    })
}

#[test]
fn every_resource_has_the_fields_of_its_published_model_and_no_others() {
    let mut wrong = Vec::new();
    for (path, resource) in resources() {
        let kind = resource["kind"].as_str().expect("a kind");
        if kind == "ConfigMap" {
            continue;
        }
        let model = serde_json::from_str(&read(format!("tests/models/{kind}.json"))).unwrap();
        let digest = "0".repeat(64);
        let text = resource.to_string().replace(PLACEHOLDER, &digest);
        let resource = serde_json::from_str(&text).unwrap();
        let model = jsonschema::validator_for(&model).unwrap();
        let name = path.display();
        wrong.extend(
            model
                .iter_errors(&resource)
                .map(|error| format!("{name}: {}: {error}", error.instance_path())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A ConfigMap has no fields but its data, each of which is a file of YAML.
#[test]
fn every_config_map_holds_files_of_yaml() {
    let maps = resources().filter(|(_, resource)| resource["kind"] == "ConfigMap");
    let mut found = 0;
    for (path, map) in maps {
        for (name, file) in map["data"].as_object().expect("data") {
            let file: Value = serde_saphyr::from_str(file.as_str().expect("a file")).unwrap();
            assert!(file.is_object(), "{}: {name}", path.display());
            found += 1;
        }
    }
    assert_eq!(found, 3, "the bootstrap twice, and what a gateway's pods need");
}

#[test]
fn a_field_that_the_model_does_not_have_is_found() {
    let model = serde_json::from_str(&read("tests/models/TrafficExtension.json")).unwrap();
    let model = jsonschema::validator_for(&model).unwrap();
    let mut resource = documents(Path::new("envoy/istio/ingress/trafficextension.yaml"))[0].take();
    resource["spec"]["wasm"]["sha256"] = "0".repeat(64).into();
    assert!(model.is_valid(&resource));
    resource["spec"]["wasm"]["vmId"] = "mcp".into();
    assert!(!model.is_valid(&resource));
}

/// An image is pinned by a placeholder that no registry and no control plane takes, and has the version of the module.
#[test]
fn every_image_is_pinned_and_of_this_version() {
    let image = format!(
        "oci://registry.example.com/mcp-session-filter:{}",
        env!("CARGO_PKG_VERSION")
    );
    let mut pinned = 0;
    for (path, resource) in resources() {
        let mut objects = vec![&resource];
        while let Some(object) = objects.pop() {
            let is_image = |url: &str| url.starts_with("oci://");
            if object["url"].as_str().is_some_and(is_image) {
                assert_eq!(object["url"], image.as_str(), "{}", path.display());
                assert_eq!(object["sha256"], PLACEHOLDER, "{}", path.display());
                pinned += 1;
            }
            objects.extend(object.as_object().into_iter().flat_map(|object| object.values()));
            objects.extend(object.as_array().into_iter().flatten());
        }
    }
    assert_eq!(
        pinned, 8,
        "two forms twice in Istio, three folders of Envoy Gateway, and that of a fleet"
    );
}

/// The two folders of Istio differ in what the resources are for, in the route, and in how pods are changed.
#[test]
fn istio_s_two_folders_say_the_same_of_different_gateways() {
    for path in yaml_below("istio/gateway-api") {
        let name = path.file_name().unwrap();
        if ["kustomization.yaml", "httproute.yaml", "gateway-pods.yaml"]
            .map(Path::new)
            .contains(&Path::new(name))
        {
            continue;
        }
        let one = documents(&path);
        let other = documents(&Path::new("envoy/istio/ingress").join(name));
        assert_eq!(
            one.into_iter().map(untargeted).collect::<Vec<_>>(),
            other.into_iter().map(untargeted).collect::<Vec<_>>(),
            "{}",
            path.display()
        );
    }
}

/// A resource without what says where it applies; it must have said so.
fn untargeted(mut resource: Value) -> Value {
    resource["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("namespace")
        .expect("a namespace");
    let Some(spec) = resource["spec"].as_object_mut() else {
        assert_eq!(
            resource["kind"], "ConfigMap",
            "all other resources say where they apply"
        );
        return resource;
    };
    let target = ["targetRefs", "selector", "workloadSelector"]
        .iter()
        .filter_map(|field| spec.remove(*field));
    assert_eq!(target.count(), 1);
    resource
}

/// A file that differs from its template in the configuration's `fleet` and in nothing else. The fleet is returned.
fn fleet_beside(template: &str, file: &str, configuration: &str) -> Value {
    let mut with = documents(&Path::new("envoy").join(file))[0].take();
    let template = documents(&Path::new("envoy").join(template))[0].take();
    let plugin = with.pointer_mut(configuration).and_then(Value::as_object_mut);
    let fleet = plugin.expect(file).remove("fleet").expect("a fleet");
    assert_eq!(with, template, "{file}");
    fleet
}

#[test]
fn the_files_of_a_fleet_add_the_fleet_and_nothing_else() {
    let istio = fleet_beside(
        "istio/gateway-api/envoyfilter.yaml",
        "fleet/istio/envoyfilter.yaml",
        "/spec/configPatches/0/patch/value/typed_config/config/configuration/value",
    );
    let entry = documents(Path::new("envoy/fleet/istio/serviceentry.yaml"))[0]["spec"].take();
    let (host, port) = (entry["hosts"][0].as_str().unwrap(), &entry["ports"][0]["number"]);
    assert_eq!(istio["cluster"], format!("outbound|{port}||{host}"));
    let envoy_gateway = fleet_beside(
        "envoy-gateway/body/envoyextensionpolicy.yaml",
        "fleet/envoy-gateway/envoyextensionpolicy.yaml",
        "/spec/wasm/0/config",
    );
    let patch = documents(Path::new("envoy/fleet/envoy-gateway/envoypatchpolicy.yaml"))[0].take();
    let cluster = &patch["spec"]["jsonPatches"][0]["operation"]["value"];
    assert_eq!(envoy_gateway["cluster"], cluster["name"]);
    let mut standalone = documents(Path::new("envoy/fleet/one.yaml"))[0].take();
    let etcd = &standalone.pointer_mut("/static_resources/clusters").unwrap()[1];
    assert_eq!(cluster["health_checks"], etcd["health_checks"]);
}

#[test]
fn the_two_gateways_of_the_fleet_differ_in_ports_only() {
    let without_ports = |name: &str| {
        let text = read(Path::new("envoy/fleet").join(name));
        let lines = text
            .lines()
            .map(|line| line.split("port_value: 10").next().unwrap());
        let lines = lines.map(|line| line.split("port_value: 99").next().unwrap());
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_ports("one.yaml"), without_ports("two.yaml"));
    assert_ne!(read("envoy/fleet/one.yaml"), read("envoy/fleet/two.yaml"));
}

/// `kubectl apply -k` finds all that it is told to, and each file is an alternative or applied.
#[test]
fn every_kustomization_leads_to_the_files_of_its_folder() {
    let kustomizations: Vec<PathBuf> = PLANES
        .into_iter()
        .flat_map(yaml_below)
        .filter(|path| path.ends_with("kustomization.yaml"))
        .collect();
    assert_eq!(kustomizations.len(), 7);
    for path in kustomizations {
        let folder = path.parent().unwrap();
        let text = read(&path);
        let items = text
            .lines()
            .filter_map(|line| line.trim_start_matches([' ', '#']).strip_prefix("- "));
        let named: BTreeSet<&str> = items.map(|item| item.trim_start_matches("path: ")).collect();
        for name in &named {
            assert!(folder.join(name).exists(), "{}: {name}", path.display());
        }
        for file in yaml_below(folder.strip_prefix("envoy").unwrap().to_str().unwrap()) {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(
                name == "kustomization.yaml" || named.contains(name),
                "{}: {name}",
                path.display()
            );
        }
    }
}

/// Each folder of `envoy/` with a README, and the folders that should have one.
fn folders() -> BTreeSet<PathBuf> {
    let uses = yaml_below("").into_iter().filter_map(|path| {
        let below = path.strip_prefix("envoy").unwrap();
        (below.components().count() > 1).then(|| Path::new("envoy").join(below.components().next().unwrap()))
    });
    uses.collect()
}

/// The most lines of a README of a use.
const LINES: usize = 20;

#[test]
fn every_use_has_a_short_readme_that_names_its_files() {
    for folder in folders() {
        let readme = read(folder.join("README.md"));
        assert!(readme.lines().count() <= LINES, "{}", folder.display());
        let below = folder.strip_prefix("envoy").unwrap().to_str().unwrap();
        for file in yaml_below(below) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let is_named = readme.contains(name) || name == "kustomization.yaml";
            assert!(is_named, "{}: {name}", folder.display());
        }
    }
}

/// A table says what each is for.
#[test]
fn every_use_is_in_the_readme_of_all() {
    let readme = read("envoy/README.md");
    for entry in std::fs::read_dir("envoy").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || readme.contains(&format!("[{name}](")),
            "{name}"
        );
    }
}

/// What a README marks as code is in a file of its folder, in the schema of the configuration, or is a command or a file.
#[test]
fn every_field_that_a_readme_names_is_in_its_files() {
    let schema = read("envoy/config.schema.json");
    let mut unknown = Vec::new();
    for folder in folders() {
        let below = folder.strip_prefix("envoy").unwrap().to_str().unwrap();
        let known: String = yaml_below(below).iter().map(read).collect::<String>() + &schema;
        let readme = read(folder.join("README.md"));
        for word in prose(&readme).flat_map(code) {
            let stands_for_itself = word.contains([' ', '/']) || word.ends_with(".md");
            if !stands_for_itself && !known.contains(word) && !folder.join(word).exists() {
                unknown.push(format!("{}: {word}", folder.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}
