//! Finds out who a caller is: the first of an endpoint's sources that yields a value.
//!
//! A source with no value, an empty one, or more than one yields nothing. If no source names the caller, its owner is
//! [`Owner::NOBODY`]; no name maps to it.

use crate::endpoint::PrincipalSource;
use crate::header_map::HeaderMap;
use crate::session::{Owner, Store, Table};

/// Dynamic metadata of Envoy's `jwt_authn` filter: one map of claims for each `payload_in_metadata`, whose name the
/// operator chooses. One call reads all of them. Envoy gives none if a claim in any of them is null.
const JWT_PAYLOADS: [&[u8]; 3] = [b"metadata", b"filter_metadata", b"envoy.filters.http.jwt_authn"];

/// Names in a client's certificate, the most specific kind first. Envoy gives the first name of each kind.
const PEER_NAMES: [&[u8]; 3] = [
    b"uri_san_peer_certificate",
    b"dns_san_peer_certificate",
    b"subject_peer_certificate",
];

/// What the host knows about the sender of a request. The filter asks only where an endpoint has sources.
pub trait Caller: core::fmt::Debug {
    /// The fields of the request's head, names in lower case.
    fn fields(&self) -> &HeaderMap;
    /// A property of the request or its connection; empty if there is none. A map has the bytes of a [`HeaderMap`],
    /// and so have the maps inside it (`serializeValue` in Envoy's `source/extensions/common/wasm/context.cc`).
    fn property(&self, path: &[&[u8]]) -> Vec<u8>;
}

/// The principal of a caller by these sources.
pub fn identify<S: Store>(
    sources: &[PrincipalSource],
    caller: Option<&dyn Caller>,
    table: &Table<S>,
) -> Owner {
    let name = caller.and_then(|caller| sources.iter().find_map(|source| name_from(source, caller)));
    name.map_or(Owner::NOBODY, |name| Owner::of_hash(table.digest(&name.0)))
}

/// The kind of a source and its value. Two different sources or values never give the same bytes.
#[derive(Debug, PartialEq, Eq)]
struct Name(Vec<u8>);

impl Name {
    fn new(kind: &[u8]) -> Self {
        Self(kind.to_vec())
    }

    /// The name with one more part; `None` if the part is empty.
    fn with(mut self, part: &[u8]) -> Option<Self> {
        self.0.extend_from_slice(&part.len().to_le_bytes());
        self.0.extend_from_slice(part);
        (!part.is_empty()).then_some(self)
    }
}

fn name_from(source: &PrincipalSource, caller: &dyn Caller) -> Option<Name> {
    match source {
        PrincipalSource::Header(name) => from_header(name.as_bytes(), caller),
        PrincipalSource::JwtClaims(claims) => from_claims(claims, caller),
        PrincipalSource::MtlsPeer => from_certificate(caller),
        PrincipalSource::SourceAddress => {
            let address = caller.property(&[b"source", b"address"]);
            Name::new(b"address").with(without_port(&address))
        }
    }
}

fn from_header(name: &[u8], caller: &dyn Caller) -> Option<Name> {
    let mut named = None;
    for (field, value) in caller.fields().iter() {
        if field != name {
            continue;
        }
        if named.is_some() {
            return None;
        }
        named = Some(value);
    }
    Name::new(b"header").with(name)?.with(named?)
}

/// The claims of the one payload that has them all.
fn from_claims(claims: &[String], caller: &dyn Caller) -> Option<Name> {
    let mut named = None;
    for (_, payload) in HeaderMap::new(caller.property(&JWT_PAYLOADS)).iter() {
        if let Some(name) = name_of_claims(claims, &HeaderMap::new(payload.to_vec())) {
            if named.is_some() {
                return None;
            }
            named = Some(name);
        }
    }
    named
}

fn name_of_claims(claims: &[String], payload: &HeaderMap) -> Option<Name> {
    let mut name = Name::new(b"jwt");
    for claim in claims {
        let (_, value) = payload.iter().find(|(name, _)| *name == claim.as_bytes())?;
        name = name.with(claim.as_bytes())?.with(text(value)?)?;
    }
    Some(name)
}

/// The value of a claim, if it is text. Numbers, booleans and lists have bytes that are not text.
fn text(value: &[u8]) -> Option<&[u8]> {
    let is_text = core::str::from_utf8(value).is_ok() && !value.iter().any(u8::is_ascii_control);
    is_text.then_some(value)
}

/// The first name in the client's certificate, if Envoy has verified it. Envoy says so from 1.39 on; older versions
/// need `require_client_certificate`.
fn from_certificate(caller: &dyn Caller) -> Option<Name> {
    let says = |property: &[u8]| caller.property(&[b"connection", property]);
    if says(b"mtls") != [1] || says(b"peer_certificate_valid") == [0] {
        return None;
    }
    PEER_NAMES
        .iter()
        .find_map(|kind| Name::new(b"mtls").with(kind)?.with(&says(kind)))
}

/// `192.0.2.1` of `192.0.2.1:80`, `[2001:db8::1]` of `[2001:db8::1]:80`. Empty for an address without a port.
fn without_port(address: &[u8]) -> &[u8] {
    let colon = address.iter().rposition(|byte| *byte == b':').unwrap_or(0);
    address.get(..colon).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller with these headers and properties. A property's name joins the parts of its path with `/`.
    #[derive(Debug)]
    struct Told {
        fields: HeaderMap,
        properties: Vec<(&'static str, Vec<u8>)>,
    }

    impl Caller for Told {
        fn fields(&self) -> &HeaderMap {
            &self.fields
        }

        fn property(&self, path: &[&[u8]]) -> Vec<u8> {
            let path = path.join(&b'/');
            let known = self.properties.iter().find(|(name, _)| name.as_bytes() == path);
            known.map(|(_, value)| value.clone()).unwrap_or_default()
        }
    }

    fn map(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let length = |len: usize| u32::try_from(len).unwrap().to_le_bytes();
        let mut bytes = length(entries.len()).to_vec();
        for (name, value) in entries {
            bytes.extend([length(name.len()), length(value.len())].concat());
        }
        for (name, value) in entries {
            bytes.extend([name.as_bytes(), &[0], value, &[0]].concat());
        }
        bytes
    }

    fn name(
        source: PrincipalSource,
        headers: &[(&str, &[u8])],
        told: &[(&'static str, &[u8])],
    ) -> Option<Name> {
        let properties = told.iter().map(|(name, value)| (*name, value.to_vec()));
        let caller = Told {
            fields: HeaderMap::new(map(headers)),
            properties: properties.collect(),
        };
        name_from(&source, &caller)
    }

    fn of_header(headers: &[(&str, &[u8])]) -> Option<Name> {
        name(PrincipalSource::Header("x-user".to_owned()), headers, &[])
    }

    #[test]
    fn a_header_has_to_be_there_once_and_not_empty() {
        let alice = of_header(&[("x-user", b"alice"), ("x-user-2", b"bob")]);
        assert!(alice.is_some());
        assert_eq!(of_header(&[("x-user", b"alice")]), alice);
        assert_ne!(of_header(&[("x-user", b"bob")]), alice);
        let once: (&str, &[u8]) = ("x-user", b"alice");
        let empty: (&str, &[u8]) = ("x-user", b"");
        for odd in [&[][..], &[empty], &[once, once]] {
            assert_eq!(of_header(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn an_address_goes_without_its_port() {
        let of = |address| {
            name(
                PrincipalSource::SourceAddress,
                &[],
                &[("source/address", address)],
            )
        };
        assert_eq!(of(b"192.0.2.1:80"), of(b"192.0.2.1:0"));
        assert_eq!(of(b"[2001:db8::1]:80"), of(b"[2001:db8::1]:81"));
        assert_ne!(of(b"[2001:db8::1]:80"), of(b"[2001:db8::2]:80"));
        for odd in [&b""[..], b":80", b"@pipe"] {
            assert_eq!(of(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn claims_are_taken_from_the_one_payload_that_has_them_all() {
        const PATH: &str = "metadata/filter_metadata/envoy.filters.http.jwt_authn";
        let claims = || PrincipalSource::JwtClaims(vec!["iss".to_owned(), "sub".to_owned()]);
        let of = |payloads: &[(&str, &[u8])]| name(claims(), &[], &[(PATH, &map(payloads))]);
        let payload = |iss: &[u8], sub: &[u8]| map(&[("exp", &[1, 2]), ("sub", sub), ("iss", iss)]);
        let alice = of(&[("any", &payload(b"idp", b"alice"))]);
        assert!(alice.is_some());
        let status = map(&[("code", b"x")]);
        assert_eq!(
            of(&[("status", &status), ("other", &payload(b"idp", b"alice"))]),
            alice
        );
        assert_ne!(of(&[("any", &payload(b"idpa", b"lice"))]), alice);
        let both = [
            ("a", &*payload(b"idp", b"alice")),
            ("b", &*payload(b"idp", b"alice")),
        ];
        assert_eq!(of(&both), None, "two payloads");
        for odd in [&b""[..], &5_f64.to_le_bytes(), &[1], &map(&[("x", b"")]), b"\xff"] {
            assert_eq!(of(&[("any", &payload(b"idp", odd))]), None, "{odd:?}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("any", b"\xff\xff\xff\xff")]), None);
    }

    #[test]
    fn a_certificate_counts_only_where_envoy_does_not_say_it_is_unverified() {
        const VALID: &str = "connection/peer_certificate_valid";
        let of = |told: &[(&'static str, &[u8])]| name(PrincipalSource::MtlsPeer, &[], told);
        let uri: (&str, &[u8]) = ("connection/uri_san_peer_certificate", b"x");
        let dns: (&str, &[u8]) = ("connection/dns_san_peer_certificate", b"x");
        let mtls: (&str, &[u8]) = ("connection/mtls", &[1]);
        let alice = of(&[mtls, (VALID, &[1]), uri]);
        assert!(alice.is_some());
        assert_eq!(of(&[mtls, uri, dns]), alice, "an Envoy that does not tell");
        assert_ne!(of(&[mtls, dns]), alice);
        for odd in [
            &[mtls, (VALID, &[0]), uri][..],
            &[uri],
            &[("connection/mtls", &[0]), uri],
            &[mtls],
        ] {
            assert_eq!(of(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn no_name_is_nobody_or_unknown() {
        for hash in [0, 1, u64::MAX] {
            let owner = Owner::of_hash(hash);
            assert!(owner != Owner::NOBODY && owner != Owner::UNKNOWN);
        }
    }
}
