//! Two endpoints must not have one name. A request must not belong to two endpoints, nor to an endpoint and the
//! status view.

use crate::endpoint::{Authority, EndpointName, PathPattern};

use super::located::Located;

/// The names and requests read so far, each with the path of its field.
#[derive(Default)]
pub(super) struct Overlaps {
    names: Vec<(EndpointName, String)>,
    requests: Vec<(Requests, String)>,
}

/// The requests for some paths: of one host, or of every host that no other endpoint names.
pub(super) struct Requests {
    pub(super) authority: Option<Authority>,
    pub(super) path: PathPattern,
}

impl Requests {
    /// Two overlap only with the same authority, since an endpoint that names a host goes before one that names none.
    fn overlap(&self, other: &Self) -> bool {
        self.authority == other.authority && self.path.overlaps(&other.path)
    }
}

impl Overlaps {
    /// Notes a mistake if an earlier endpoint has the same name.
    pub(super) fn name(&mut self, at: &Located<'_>, name: &EndpointName) {
        if let Some((_, earlier)) = self.names.iter().find(|(taken, _)| taken == name) {
            at.refuse_value(format_args!("must differ from {earlier}"));
        }
        self.names.push((name.clone(), at.path().to_owned()));
    }

    /// Notes a mistake if a request can belong both here and to an earlier field.
    pub(super) fn requests(&mut self, at: &Located<'_>, requests: Requests) {
        if let Some((_, earlier)) = self.requests.iter().find(|(taken, _)| taken.overlap(&requests)) {
            at.refuse(format!("overlaps {earlier}"));
        }
        self.requests.push((requests, at.path().to_owned()));
    }
}
