use super::abi;
use crate::header_map::HeaderMap;
use crate::principal::Caller;

/// The sender of the request in the current stream.
#[derive(Debug)]
pub(super) struct Sender<'a>(pub(super) &'a HeaderMap);

impl Caller for Sender<'_> {
    fn fields(&self) -> &HeaderMap {
        self.0
    }

    fn property(&self, path: &[&[u8]]) -> Vec<u8> {
        abi::property(path)
    }
}
