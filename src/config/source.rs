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
    read_text(bytes)
        .or_else(|mistake| read_struct(bytes).ok_or_else(|| format!("must be JSON or a Struct: {mistake}")))
}

/// Messages are text, too, and one reader of text in the module is enough.
fn read_text(bytes: &[u8]) -> Result<Json, String> {
    let text = str::from_utf8(bytes).map_err(|mistake| mistake.to_string())?;
    serde_json::from_str(text).map_err(|mistake| mistake.to_string())
}
