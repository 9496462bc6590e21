//! Sends the DELETEs of `terminate_upstream`. The root sends them, because Envoy gives the answers only to a root's
//! callbacks.

use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;

use super::abi::{self, Headers};
use super::clock;
use super::shared::Shared;
use crate::endpoint::TerminateUpstream;
use crate::exchange::{Site, parse_status};
use crate::session::{EndpointTag, PendingDelete, SessionKey, Timestamp};
use crate::telemetry::Delete;
use crate::worker::delete_queue::{DeleteInFlight, DeleteReply};

impl Shared {
    /// Queues a pending DELETE, if this configuration has a `terminate_upstream` for the endpoint.
    pub(super) fn queue_delete(&self, endpoint: EndpointTag, key: SessionKey) {
        let site = self.sites.iter().find(|site| site.tag == endpoint);
        if let Some(site) = site.filter(|site| site.rules.terminate_upstream.is_some()) {
            self.delete_queue.borrow_mut().add(site.index, key);
        }
    }

    /// Sends as many DELETEs as the pace allows.
    pub(super) fn send_deletes(&self, now: Timestamp) {
        for site in &self.sites {
            if let Some(upstream) = &site.rules.terminate_upstream {
                while self.send_next(site, upstream, now) {}
            }
        }
    }

    /// Sends the next DELETE. Returns false if there is nothing more to send now.
    fn send_next(&self, site: &Site, upstream: &TerminateUpstream, now: Timestamp) -> bool {
        let next = self.delete_queue.borrow_mut().next(site.index, now);
        let Some(key) = next else { return false };
        match self.table.take_pending_delete(key, upstream.timeout, now) {
            Ok(Some(pending)) => self.send(site, upstream, &pending, now),
            Ok(None) => self.delete_queue.borrow_mut().skipped(site.index),
            Err(error) => {
                self.failed("take_pending_delete", error);
                self.delete_queue.borrow_mut().skipped(site.index);
            }
        }
        true
    }

    fn send(&self, site: &Site, upstream: &TerminateUpstream, pending: &PendingDelete, now: Timestamp) {
        let key = pending.key;
        match dispatch(site, upstream, pending) {
            Ok(token) => {
                let site = site.index;
                if pending.is_first_attempt() {
                    self.metrics.delete(Delete::Sent, 1);
                }
                self.callouts
                    .borrow_mut()
                    .push(DeleteInFlight { token, site, key });
            }
            Err(status) => {
                log::warn!(
                    "event=upstream_delete_not_sent cluster={} status={status:?}",
                    upstream.cluster
                );
                self.settle(site.index, key, DeleteReply::Unsent, now);
            }
        }
    }

    /// Handles the answer to a DELETE, or its absence when Envoy has given up waiting.
    pub(super) fn answered(&self, token: u32, has_head: bool) {
        let mut callouts = self.callouts.borrow_mut();
        let Some(index) = callouts.iter().position(|callout| callout.token == token) else {
            return;
        };
        let DeleteInFlight { site, key, .. } = callouts.swap_remove(index);
        drop(callouts);
        let status = match has_head {
            true => parse_status(&abi::value(Headers::CallResponse, ":status")),
            false => 0,
        };
        let now = clock::now();
        self.settle(site, key, DeleteReply::of_status(status), now);
        self.send_deletes(now);
    }

    /// Writes the outcome of a DELETE into the table, and counts the DELETE once it is settled.
    fn settle(&self, site: usize, key: SessionKey, reply: DeleteReply, now: Timestamp) {
        self.delete_queue.borrow_mut().returned(site, reply, now);
        match self.table.settle_delete(key, reply.outcome(), now) {
            Ok(true) => self.count_reply(site, reply),
            Ok(false) => {}
            Err(error) => self.failed("settle_delete", error),
        }
    }

    fn count_reply(&self, site: usize, reply: DeleteReply) {
        let counted = match reply {
            DeleteReply::Ended => Delete::Ok,
            DeleteReply::Gone => Delete::Gone,
            DeleteReply::Unsupported => Delete::Unsupported,
            DeleteReply::Denied => Delete::Denied,
            DeleteReply::Refused | DeleteReply::Failed | DeleteReply::Unsent => Delete::Failed,
        };
        self.metrics.delete(counted, 1);
        if counted != Delete::Ok {
            let name = self.sites.get(site).map_or("-", |site| site.rules.name.as_str());
            log::debug!("event=upstream_delete_failed endpoint={name} reply={reply:?}");
        }
    }
}

fn dispatch(site: &Site, upstream: &TerminateUpstream, pending: &PendingDelete) -> Result<u32, Status> {
    let id = String::from_utf8_lossy(&pending.id);
    let path = match (&upstream.path, pending.delete_request.path()) {
        (Some(path), _) => path.as_str().into(),
        // When the session was opened, the configuration had one path for all DELETEs, so the record has none.
        (None, []) => site.rules.path.as_str().trim_end_matches("/*").into(),
        (None, path) => String::from_utf8_lossy(path),
    };
    let mut headers = vec![
        (":method", "DELETE"),
        (":path", &*path),
        (":authority", &*upstream.authority),
        ("mcp-session-id", &*id),
    ];
    let version = pending.delete_request.version();
    if let Some(version) = &version {
        headers.push(("mcp-protocol-version", version.as_str()));
    }
    let further = upstream.headers.iter();
    headers.extend(further.map(|(name, value)| (name.as_str(), value.as_str())));
    #[allow(
        clippy::disallowed_methods,
        reason = "the SDK hands an answer on only if it has sent the request; it panics at statuses other than \
                  BadArgument and InternalFailure, and Envoy's `Context::httpCall` has no others"
    )]
    hostcalls::dispatch_http_call(&upstream.cluster, headers, None, Vec::new(), upstream.timeout)
}
