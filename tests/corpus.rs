//! Runs every file of the fuzzers' corpus through the functions that the fuzzers call.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "the fuzz targets use these, too"
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

/// One test for each target.
macro_rules! targets {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                for (name, bytes) in corpus(stringify!($target)) {
                    println!("{name}");
                    fuzz::$target(&bytes);
                }
            }
        )*
    };
}

targets! { json_rpc config fleet heads sse table worlds }

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let read = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read(&path).unwrap());
    let files = std::fs::read_dir(folder).unwrap();
    let all: Vec<_> = files.map(|entry| read(entry.unwrap().path())).collect();
    assert!(!all.is_empty(), "{target} has no corpus");
    all
}
