//! The configuration's bytes: JSON text, or a Struct as Envoy hands it over.

use super::json::Json;
use super::protobuf::read_struct;

/// Reads JSON text or, where that fails, a serialised Struct. No bytes at all, as of an empty Struct, and white
/// space are an empty object. Both decoders bound the depth.
///
/// # Errors
/// What is wrong with the text, in one sentence.
pub(super) fn read(bytes: &[u8]) -> Result<Json, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Json::Object(Vec::new()));
    }
    serde_json::from_slice(bytes)
        .or_else(|mistake| read_struct(bytes).ok_or_else(|| format!("must be JSON or a Struct: {mistake}")))
}
