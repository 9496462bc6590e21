//! What a release is made of, the same bytes from the same commit: [`image`], [`archive`], [`sbom`], [`notes`].

pub mod archive;
pub mod image;
pub mod notes;
pub mod sbom;
