//! An answer, whole or still coming.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use serde_json::Value;

use crate::client::PATIENCE;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

/// An answer whose head has come and whose body is coming. Dropping it is the client leaving.
pub struct Stream {
    pub status: u16,
    pub headers: HeaderMap,
    pub(crate) body: Incoming,
}

impl Answer {
    /// The body, `null` where it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The value of a header, where there is one and it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `Mcp-Session-Id` of the answer.
    pub fn session(&self) -> Option<&str> {
        self.header("mcp-session-id")
    }

    /// The messages of the answer, whether it is JSON or an event stream.
    pub fn messages(&self) -> Vec<Value> {
        if self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
        {
            let text = self.text();
            let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
            return data.filter_map(|json| serde_json::from_str(json).ok()).collect();
        }
        serde_json::from_slice(&self.body).into_iter().collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Stream {
    /// The next piece, `None` at a clean end, `Err` if the stream was cut.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("the stream was silent for {PATIENCE:?}"))?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(causes(&error))),
            }
        }
    }

    /// Reads until the stream ends, cleanly (`true`) or cut (`false`).
    pub async fn ended(mut self) -> bool {
        loop {
            match self.next().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
                None => return true,
            }
        }
    }

    /// The whole answer.
    pub async fn whole(self) -> Result<Answer, String> {
        let collected = tokio::time::timeout(PATIENCE, self.body.collect()).await;
        let collected = collected.map_err(|_| format!("no end of the answer in {PATIENCE:?}"))?;
        let collected = collected.map_err(|error| causes(&error))?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Ok(Answer {
            status: self.status,
            headers: self.headers,
            body: collected.to_bytes(),
            trailers,
        })
    }
}

pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
