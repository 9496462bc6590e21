//! The module itself: it needs nothing that a host may lack.

use std::collections::BTreeSet;

use wasmparser::{Parser, Payload};

/// Every function that the module may import, one `module.name` a line.
const ALLOWED: &str = include_str!("imports.allow");

fn imports(module: &[u8]) -> BTreeSet<String> {
    let mut imports = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ImportSection(section) = payload.expect("a module") {
            for import in section.into_imports() {
                let import = import.expect("an import");
                imports.insert(format!("{}.{}", import.module, import.name));
            }
        }
    }
    imports
}

/// The module's imports, and the callbacks it exports. Envoy can restrict the module to these names.
pub fn capabilities(module: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let names = imports(module);
    let imports = names.iter().filter_map(|name| name.split_once('.'));
    let mut callbacks = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::ExportSection(section) = payload.expect("a module") {
            let names = section
                .into_iter()
                .map(|export| export.expect("an export").name.to_owned());
            callbacks.extend(names.filter(|name| name.starts_with("proxy_on_")));
        }
    }
    // Envoy calls this one regardless of any restriction.
    callbacks.remove("proxy_on_memory_allocate");
    (imports.map(|(_, name)| name.to_owned()).collect(), callbacks)
}

#[test]
fn imports_only_what_every_supported_host_has() {
    let path = gateway::setup::module();
    let module = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let allowed: BTreeSet<String> = ALLOWED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.trim().to_owned())
        .collect();
    let unknown: Vec<String> = imports(&module).difference(&allowed).cloned().collect();
    assert!(
        unknown.is_empty(),
        "imports that tests/imports.allow does not name: {unknown:?}"
    );
    println!("{} bytes, {} imports", module.len(), imports(&module).len());
}
