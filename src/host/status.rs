use super::shared::Shared;
use super::stream::send;
use crate::session::{Look, StoreError};
use crate::status::{Document, EndpointCounters, Response, View};

/// A look over the table takes this time at most, while requests wait. With the document, one view takes under 20 ms.
const LOOK_MS: u64 = 12;

impl Shared {
    /// Answers the request of the current stream with the status view.
    #[cold]
    #[inline(never)]
    pub(super) fn show_status(&self, view: View) {
        let response = match view {
            View::Page => Response::page(),
            View::MethodNotAllowed => Response::method_not_allowed(),
            View::Document => self.status_document().unwrap_or_else(|error| {
                self.failed("look", error);
                Response::unavailable()
            }),
        };
        send(response.status, &response.headers, &response.body);
    }

    fn status_document(&self) -> Result<Response, StoreError> {
        let now = Self::now();
        let is_time_up = || Self::now().as_millis() >= now.as_millis() + LOOK_MS;
        let look = self.table.look(now, &is_time_up)?;
        Ok(Response::document(&Document {
            counters: self.counters(&look),
            names: self.config.log_session_id,
            now,
            look: &look,
        }))
    }

    /// The counters of the look's endpoints. Those of other configurations are defined when they are first shown.
    fn counters(&self, look: &Look) -> Vec<EndpointCounters> {
        self.metrics.tell();
        let endpoints = look.counts.endpoints.iter();
        endpoints
            .map(|row| self.metrics.counters(&row.settings.name))
            .collect()
    }
}
