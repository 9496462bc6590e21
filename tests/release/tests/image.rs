//! Reads the image back as a client would: every digest, every size, every media type.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use release::image::{Image, Labels, digest};
use serde_json::Value;

const MODULE: &[u8] = b"\0asm\x01\0\0\0 and what follows";

fn labels() -> Labels {
    let label = |(name, value): (&str, &str)| (format!("org.opencontainers.image.{name}"), value.to_owned());
    [
        ("version", "1.2.3"),
        ("licenses", "Apache-2.0"),
        ("revision", "abc"),
    ]
    .map(label)
    .into()
}

fn image() -> Image {
    Image::new(MODULE, "1.2.3", &labels()).unwrap()
}

/// The blob that a descriptor refers to, if its size and its digest are right.
fn blob(image: &Image, descriptor: &Value, media_type: &str) -> Vec<u8> {
    assert_eq!(descriptor["mediaType"], media_type);
    let named = descriptor["digest"].as_str().unwrap();
    let bytes = &image.files[&format!("blobs/{}", named.replace(':', "/"))];
    assert_eq!(digest(bytes), named);
    assert_eq!(descriptor["size"], bytes.len());
    bytes.clone()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The image specification's "OCI Image Layout", "Image Index", "Image Manifest" and "Image Configuration".
#[test]
fn a_client_finds_the_module_from_the_index_on() {
    let image = image();
    assert_eq!(json(&image.files["oci-layout"])["imageLayoutVersion"], "1.0.0");
    let index = json(&image.files["index.json"]);
    assert_eq!(index["schemaVersion"], 2);
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
    assert_eq!(entry["digest"], image.digest.as_str());
    let manifest = json(&blob(&image, entry, "application/vnd.oci.image.manifest.v1+json"));
    assert_eq!(manifest["schemaVersion"], 2);
    let config = json(&blob(
        &image,
        &manifest["config"],
        "application/vnd.oci.image.config.v1+json",
    ));
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    let layer = blob(&image, &layers[0], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(layer.len(), image.layer_bytes);
    let mut files = Vec::new();
    GzDecoder::new(layer.as_slice()).read_to_end(&mut files).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], digest(&files));
    assert_eq!(contents(&files), [("plugin.wasm".to_owned(), MODULE.to_vec())]);
}

fn contents(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(archive);
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        found.push((path, bytes));
    }
    found
}

#[test]
fn nothing_but_what_the_index_leads_to_is_in_the_layout() {
    let image = image();
    let index = json(&image.files["index.json"]);
    let manifest = &index["manifests"][0];
    let named = json(&blob(
        &image,
        manifest,
        "application/vnd.oci.image.manifest.v1+json",
    ));
    let descriptors = [manifest, &named["config"], &named["layers"][0]];
    let path = |of: &Value| format!("blobs/{}", of["digest"].as_str().unwrap().replace(':', "/"));
    let mut wanted: BTreeSet<String> = descriptors.map(path).into();
    wanted.extend(["index.json".to_owned(), "oci-layout".to_owned()]);
    assert_eq!(image.files.keys().cloned().collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn the_labels_are_on_the_image_and_on_its_manifest() {
    let image = image();
    let index = json(&image.files["index.json"]);
    let manifest = json(&blob(
        &image,
        &index["manifests"][0],
        "application/vnd.oci.image.manifest.v1+json",
    ));
    let config = json(&blob(
        &image,
        &manifest["config"],
        "application/vnd.oci.image.config.v1+json",
    ));
    for found in [&manifest["annotations"], &config["config"]["Labels"]] {
        let found: Labels = serde_json::from_value(found.clone()).unwrap();
        assert_eq!(found, labels());
    }
}

#[test]
fn two_folders_get_the_same_bytes() {
    let (one, other) = (folder("one"), folder("deeper/other"));
    image().write(&one).unwrap();
    // What was there before goes.
    fs::create_dir_all(other.join("blobs")).unwrap();
    fs::write(other.join("blobs/old"), "old").unwrap();
    image().write(&other).unwrap();
    assert_eq!(read(&one), read(&other));
    assert_eq!(read(&one), image().files);
}

#[test]
fn the_archive_is_the_layout_as_one_file() {
    let files: BTreeMap<String, Vec<u8>> = contents(&image().archive().unwrap()).into_iter().collect();
    assert_eq!(files, image().files);
    assert_eq!(image().archive().unwrap(), image().archive().unwrap());
}

#[test]
fn another_module_or_label_is_another_digest() {
    let mut other = labels();
    other.insert(
        "org.opencontainers.image.revision".to_owned(),
        "another".to_owned(),
    );
    assert_ne!(
        Image::new(b"another", "1.2.3", &labels()).unwrap().digest,
        image().digest
    );
    assert_ne!(
        Image::new(MODULE, "1.2.3", &other).unwrap().digest,
        image().digest
    );
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// All files below a folder by their paths in it.
fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(
                read(&path)
                    .into_iter()
                    .map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            );
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}
