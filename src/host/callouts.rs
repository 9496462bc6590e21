//! The DELETEs of `terminate_upstream`: sent by the root, whose callbacks alone get the answers.

use proxy_wasm::hostcalls;
use proxy_wasm::types::Status;

use super::abi::{self, Headers};
use super::clock;
use super::shared::Shared;
use crate::endpoint::TerminateUpstream;
use crate::exchange::{ResponseHead, Site};
use crate::session::{EndpointTag, PendingDelete, SessionKey, Timestamp};
use crate::telemetry::Delete;
use crate::worker::delete_queue::DeleteReply;

/// A DELETE that Envoy has sent.
#[derive(Debug)]
pub(super) struct Callout {
    token: u32,
    site: usize,
    key: SessionKey,
}

impl Shared {
    /// Notes a pending DELETE that can be sent, if this configuration says where to.
    pub(super) fn queue_delete(&self, endpoint: EndpointTag, key: SessionKey) {
        let site = self.sites.iter().find(|site| site.tag == endpoint);
        if let Some(site) = site.filter(|site| site.rules.terminate_upstream.is_some()) {
            self.delete_queue.borrow_mut().add(site.index, key);
        }
    }

    /// Sends what the pace allows.
    pub(super) fn send_deletes(&self, now: Timestamp) {
        for site in &self.sites {
            if let Some(upstream) = &site.rules.terminate_upstream {
                while self.send_next(site, upstream, now) {}
            }
        }
    }

    /// False if there is nothing more to send now.
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
                self.metrics.delete(Delete::Sent, 1);
                self.callouts.borrow_mut().push(Callout { token, site, key });
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

    /// An answer has come, or Envoy has given up waiting for one.
    pub(super) fn answered(&self, token: u32, has_head: bool) {
        let mut callouts = self.callouts.borrow_mut();
        let Some(index) = callouts.iter().position(|callout| callout.token == token) else {
            return;
        };
        let Callout { site, key, .. } = callouts.swap_remove(index);
        drop(callouts);
        let status = match has_head {
            true => ResponseHead::of_status(&abi::value(Headers::CallResponse, ":status")).status,
            false => 0,
        };
        let now = clock::now();
        self.count_reply(site, status);
        self.settle(site, key, DeleteReply::of_status(status), now);
        self.send_deletes(now);
    }

    fn count_reply(&self, site: usize, status: u16) {
        let reply = DeleteReply::of_status(status);
        if reply == DeleteReply::Gone {
            return self.metrics.delete(Delete::Ok, 1);
        }
        self.metrics.delete(Delete::Failed, 1);
        if reply == DeleteReply::Denied {
            self.metrics.delete(Delete::Denied, 1);
        }
        let name = self.sites.get(site).map_or("-", |site| site.rules.name.as_str());
        log::debug!(
            "event=upstream_delete_failed endpoint={name} status={}",
            u32::from(status)
        );
    }

    fn settle(&self, site: usize, key: SessionKey, reply: DeleteReply, now: Timestamp) {
        self.delete_queue.borrow_mut().returned(site, reply, now);
        if let Err(error) = self.table.settle_delete(key, reply.outcome(), now) {
            self.failed("settle_delete", error);
        }
    }
}

fn dispatch(site: &Site, upstream: &TerminateUpstream, pending: &PendingDelete) -> Result<u32, Status> {
    let id = String::from_utf8_lossy(&pending.id);
    let path = match pending.delete_request.path() {
        [] => site.rules.path.as_str().into(),
        path => String::from_utf8_lossy(path),
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
