//! Reads what every request of the filter's own needs: where it goes, and its headers.

use super::header_name;
use crate::config::located::Located;

/// The name of a cluster of Envoy's.
pub(super) fn cluster(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("must be the name of a cluster")
    } else {
        Ok(text.to_owned())
    }
}

/// A host, with or without a port.
pub(super) fn authority(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'@' | b'?' | b'#');
    if !text.is_empty() && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("must be a host or host:port")
    }
}

/// Further headers of a request; those in `reserved` are set by the filter or by Envoy.
pub(super) fn headers(at: &Located<'_>, reserved: &[&str]) -> Option<Vec<(String, String)>> {
    let read: Vec<_> = at
        .entries()?
        .iter()
        .map(|(name, at)| header(name, at, reserved))
        .collect();
    read.into_iter().collect()
}

/// The mistakes here quote no value, since a value may be a credential.
fn header(name: &str, at: &Located<'_>, reserved: &[&str]) -> Option<(String, String)> {
    let name = header_name(name).map_err(|wanted| at.refuse(wanted)).ok()?;
    if reserved.contains(&name.as_str()) {
        at.refuse("set by the filter itself");
    }
    let value = at.as_text().filter(|text| text.bytes().all(is_value_byte));
    if value.is_none() {
        at.refuse("must be a string of visible ASCII characters, spaces and tabs");
    }
    Some((name, value?.to_owned()))
}

/// RFC 9110, section 5.5, without its obsolete bytes above ASCII.
fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}
