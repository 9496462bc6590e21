//! JSON-RPC messages as MCP clients send them.

use serde_json::{Value, json};

/// The revision these clients speak unless a test says otherwise.
pub const REVISION: &str = "2025-11-25";
/// The first revision without sessions.
pub const STATELESS_REVISION: &str = "2026-07-28";

/// A request.
pub fn request(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

/// A notification.
pub fn notification(method: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": method})
}

/// A client's response to a request of the server's.
pub fn response(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "result": {}})
}

/// `initialize`.
pub fn initialize(id: impl Into<Value>) -> Value {
    let params = json!({
        "protocolVersion": REVISION,
        "capabilities": {},
        "clientInfo": {"name": "gateway-tests", "version": "0.1.0"},
    });
    request(id, "initialize", params)
}

/// `notifications/initialized`.
pub fn initialized() -> Value {
    notification("notifications/initialized")
}

/// `tools/list`.
pub fn tools_list(id: impl Into<Value>) -> Value {
    request(id, "tools/list", json!({}))
}

/// `tools/call`.
pub fn tools_call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    request(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}
