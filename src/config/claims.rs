//! What the endpoints and the status view lay claim to: no name and no request may belong to two of them.

use crate::endpoint::{Authority, EndpointName, PathPattern};

use super::located::Located;

/// The names and requests claimed so far, each with the place of its claim.
#[derive(Default)]
pub(super) struct Claims {
    names: Vec<(EndpointName, String)>,
    requests: Vec<(Requests, String)>,
}

/// The requests for some paths of one host, or of every host that has no claim of its own on them.
pub(super) struct Requests {
    pub(super) authority: Option<Authority>,
    pub(super) path: PathPattern,
}

impl Requests {
    /// Only within one authority: one that is named goes before all others, so there is never a doubt between the two.
    fn overlap(&self, other: &Self) -> bool {
        self.authority == other.authority && self.path.overlaps(&other.path)
    }
}

impl Claims {
    /// Notes a mistake if an earlier endpoint has the name.
    pub(super) fn name(&mut self, at: &Located<'_>, name: &EndpointName) {
        if let Some((_, earlier)) = self.names.iter().find(|(claimed, _)| claimed == name) {
            at.refuse_value(format_args!("must differ from {earlier}"));
        }
        self.names.push((name.clone(), at.path().to_owned()));
    }

    /// Notes a mistake if some request would belong here and to an earlier claim as well.
    pub(super) fn requests(&mut self, at: &Located<'_>, requests: Requests) {
        if let Some((_, earlier)) = self
            .requests
            .iter()
            .find(|(claimed, _)| claimed.overlap(&requests))
        {
            at.refuse(format!("overlaps {earlier}"));
        }
        self.requests.push((requests, at.path().to_owned()));
    }

    /// The claim of the endpoint that nobody wrote.
    pub(super) fn default_endpoint(&mut self, path: PathPattern) {
        let requests = Requests {
            authority: None,
            path,
        };
        self.requests
            .push((requests, "the path of the default endpoint".to_owned()));
    }
}
