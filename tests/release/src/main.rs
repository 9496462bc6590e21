//! Packs what is released: `make image` and `make release` call it.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use release::image::{Image, Labels};
use release::{notes, sbom};

const USAGE: &str = "usage: release image MODULE VERSION REVISION FOLDER   (no revision: an empty word)
       release archive MODULE VERSION REVISION FILE
       release notes CHANGELOG VERSION FILE
       release sbom LIST FOLDER-OF-THE-REPOSITORY FILE";

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["image", module, version, revision, folder] => image(module, version, revision, folder),
        ["archive", module, version, revision, file] => archive(module, version, revision, file),
        ["notes", changelog, version, file] => write_notes(changelog, version, file),
        ["sbom", list, folder, file] => write_sbom(list, folder, file),
        _ => Err(USAGE.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The name of the image, by which the lines to paste call it.
const NAME: &str = "mcp-session-filter";

/// Writes the image, and prints its digest and how to use it.
fn image(module: &str, version: &str, revision: &str, folder: &str) -> Outcome {
    let image = packed(module, version, revision)?;
    image.write(Path::new(folder))?;
    let (digest, layer) = (&image.digest, image.layer_bytes);
    let hex = digest.trim_start_matches("sha256:");
    println!("image: {folder}, {layer} bytes to pull");
    println!("digest: {digest}");
    println!("push it:");
    println!("  skopeo copy oci:{folder}:{version} docker://registry.example.com/{NAME}:{version}");
    println!(
        "and beside `url: oci://registry.example.com/{NAME}:{version}` in Istio or Envoy Gateway write:"
    );
    println!("  sha256: {hex}");
    Ok(())
}

/// Writes the same image as one file.
fn archive(module: &str, version: &str, revision: &str, file: &str) -> Outcome {
    Ok(fs::write(file, packed(module, version, revision)?.archive()?)?)
}

fn packed(module: &str, version: &str, revision: &str) -> Result<Image, Box<dyn Error>> {
    let bytes = fs::read(module).map_err(|error| format!("{module}: {error}"))?;
    Ok(Image::new(&bytes, version, &labels(version, revision))?)
}

/// The labels of the OCI image specification ("Pre-Defined Annotation Keys").
fn labels(version: &str, revision: &str) -> Labels {
    let labels = [
        ("title", NAME),
        (
            "description",
            "An Envoy HTTP filter that tracks, caps and ends MCP sessions",
        ),
        ("licenses", "Apache-2.0"),
        ("version", version),
        ("revision", revision),
    ];
    let known = labels.iter().filter(|(_, value)| !value.is_empty());
    known
        .map(|(name, value)| (format!("org.opencontainers.image.{name}"), (*value).to_owned()))
        .collect()
}

fn write_notes(changelog: &str, version: &str, file: &str) -> Outcome {
    let notes = notes::of(&fs::read_to_string(changelog)?, version)?;
    Ok(fs::write(
        file,
        format!("# mcp-session-filter {version}\n\n{notes}\n"),
    )?)
}

fn write_sbom(list: &str, folder: &str, file: &str) -> Outcome {
    let list = fs::read_to_string(list)?;
    Ok(fs::write(file, sbom::without_folder(&list, folder))?)
}
