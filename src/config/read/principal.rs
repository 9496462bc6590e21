//! Reads `principal`: where the caller's identity comes from.

use crate::config::located::Located;
use crate::config::object::Object;
use crate::endpoint::PrincipalSource;

use super::header_name;

/// A list of sources; it may be empty.
pub(super) fn sources(at: &Located<'_>) -> Option<Vec<PrincipalSource>> {
    let read: Vec<_> = at.items()?.iter().map(source).collect();
    read.into_iter().collect()
}

/// An object with one field. The field's name is the kind of source.
fn source(at: &Located<'_>) -> Option<PrincipalSource> {
    let object = Object::of(at)?;
    let read = [
        object
            .get("header")
            .map(|at| at.parsed(header_name).map(PrincipalSource::Header)),
        object
            .get("jwt_claims")
            .map(|at| jwt_claims(at).map(PrincipalSource::JwtClaims)),
        object
            .get("mtls_peer")
            .map(|at| only_true(at).map(|()| PrincipalSource::MtlsPeer)),
        object
            .get("source_address")
            .map(|at| only_true(at).map(|()| PrincipalSource::SourceAddress)),
    ];
    if object.len() != 1 {
        at.refuse("must have one field: \"header\", \"jwt_claims\", \"mtls_peer\" or \"source_address\"");
    }
    object.finish();
    read.into_iter().flatten().next().flatten()
}

fn jwt_claims(at: &Located<'_>) -> Option<Vec<String>> {
    let items = at.items()?;
    if items.is_empty() {
        at.refuse("must name at least one claim");
    }
    let claims: Vec<_> = items.iter().map(|item| item.parsed(claim)).collect();
    claims.into_iter().collect()
}

fn claim(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("must be the name of a claim")
    } else {
        Ok(text.to_owned())
    }
}

fn only_true(at: &Located<'_>) -> Option<()> {
    let flag = at.flag()?;
    if !flag {
        at.refuse_value("must be true");
    }
    flag.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{endpoint_with, mistakes_with};

    #[test]
    fn reads_every_source_in_order() {
        let endpoint = endpoint_with(
            r#""principal": [{"header": "X-User-Id"}, {"jwt_claims": ["iss", "sub"]}, {"mtls_peer": true},
                             {"source_address": true}]"#,
        );
        let expected = [
            PrincipalSource::Header("x-user-id".to_owned()),
            PrincipalSource::JwtClaims(vec!["iss".to_owned(), "sub".to_owned()]),
            PrincipalSource::MtlsPeer,
            PrincipalSource::SourceAddress,
        ];
        assert_eq!(endpoint.principal, expected);
    }

    #[test]
    fn says_what_is_wrong_with_a_source() {
        let one = "must have one field: \"header\", \"jwt_claims\", \"mtls_peer\" or \"source_address\"";
        let cases = [
            ("{}", format!(": {one}")),
            (r#"{"header": "a", "mtls_peer": true}"#, format!(": {one}")),
            (
                r#"{"heder": "a"}"#,
                ".heder: unknown field, did you mean \"header\"?".to_owned(),
            ),
            (
                r#"{"header": ":path"}"#,
                ".header: must be the name of a header, got \":path\"".to_owned(),
            ),
            (
                r#"{"jwt_claims": []}"#,
                ".jwt_claims: must name at least one claim".to_owned(),
            ),
            (
                r#"{"jwt_claims": ["iss", ""]}"#,
                ".jwt_claims[1]: must be the name of a claim, got \"\"".to_owned(),
            ),
            (
                r#"{"mtls_peer": false}"#,
                ".mtls_peer: must be true, got false".to_owned(),
            ),
            (
                r#"{"source_address": 1}"#,
                ".source_address: must be true or false, got 1".to_owned(),
            ),
            (r#""mtls_peer""#, ": must be an object, got a string".to_owned()),
        ];
        for (source, mistake) in cases {
            let fields = format!(r#""principal": [{source}]"#);
            assert_eq!(
                mistakes_with(&fields),
                [format!("endpoints[0].principal[0]{mistake}")]
            );
        }
    }
}
