//! The official Rust SDK as a client: `rust-client URL`. The counterpart of `js/session.mjs`, with the same steps and the
//! same words.
#![expect(
    deprecated,
    reason = "sampling and logging, which the revisions with sessions have"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ElicitationAction, Implementation, LoggingMessageNotificationParam,
    ProgressNotificationParam, SamplingMessage,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, ErrorData, RoleClient, ServiceExt};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

const SAMPLED: &str = "sampled by the client";
const ELICITED: &str = "elicited from the user";
const TOOLS: [&str; 5] = [
    "echo",
    "trigger-long-running-operation",
    "trigger-sampling-request",
    "trigger-elicitation-request",
    "toggle-simulated-logging",
];

type Session = RunningService<RoleClient, User>;

/// The user: answers the server's questions, and hears its messages.
#[derive(Clone, Default)]
struct User {
    progress: Arc<AtomicU32>,
    log: Arc<Notify>,
}

impl ClientHandler for User {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder()
            .enable_sampling()
            .enable_elicitation()
            .build();
        ClientConfig::new(capabilities, Implementation::new("rust", "1"))
    }

    async fn create_message(
        &self,
        _params: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text(SAMPLED),
            "none".to_owned(),
        ))
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({"name": ELICITED})))
    }

    async fn on_progress(
        &self,
        _params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    async fn on_logging_message(
        &self,
        _params: LoggingMessageNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.log.notify_one();
    }
}

/// The result of each step.
struct Outcome {
    steps: Map<String, Value>,
    patience: Duration,
}

impl Outcome {
    async fn step<T>(
        &mut self,
        name: &str,
        detail: impl FnOnce(&T) -> String,
        action: impl Future<Output = Result<T, String>>,
    ) -> Option<T> {
        let came = tokio::time::timeout(self.patience, action).await;
        let came = came.unwrap_or_else(|_| {
            Err(format!(
                "HANGS: {name}: nothing in {} s",
                self.patience.as_secs_f64()
            ))
        });
        let (ok, text) = match &came {
            Ok(value) => (true, detail(value)),
            Err(error) => (false, error.clone()),
        };
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text: String = text.chars().take(200).collect();
        self.steps
            .insert(name.to_owned(), json!({"ok": ok, "detail": text}));
        came.ok()
    }

    async fn text(&mut self, name: &str, action: impl Future<Output = Result<String, String>>) {
        self.step(name, String::clone, action).await;
    }
}

fn headers() -> HashMap<http::HeaderName, http::HeaderValue> {
    let given = std::env::var("HEADERS").unwrap_or_default();
    let given: HashMap<String, String> = serde_json::from_str(&given).unwrap_or_default();
    let parsed = given
        .iter()
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
    parsed.collect()
}

async fn connect(url: &str, user: User) -> Result<Session, String> {
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    config.custom_headers = headers();
    let transport = StreamableHttpClientTransport::from_config(config);
    user.serve(transport).await.map_err(|error| error.to_string())
}

async fn call(session: &Session, tool: &'static str, arguments: Value, part: &str) -> Result<String, String> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let params = CallToolRequestParams::new(tool).with_arguments(arguments);
    let result = session
        .call_tool(params)
        .await
        .map_err(|error| error.to_string())?;
    let text = serde_json::to_string(&result).map_err(|error| error.to_string())?;
    match text.contains(part) {
        true => Ok(part.to_owned()),
        false => Err(format!("no \"{part}\" in: {text}")),
    }
}

async fn all_tools(session: &Session) -> Result<String, String> {
    let names = || async {
        let tools = session
            .list_all_tools()
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(tools.iter().map(|tool| tool.name.to_string()).collect::<Vec<_>>())
    };
    // The step bounds this loop.
    loop {
        let names = names().await?;
        if TOOLS.iter().all(|tool| names.iter().any(|name| name == tool)) {
            return Ok(format!("all {}", TOOLS.len()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn progress(session: &Session, user: &User) -> Result<String, String> {
    user.progress.store(0, Ordering::Relaxed);
    let arguments = json!({"duration": 0.4, "steps": 4});
    call(session, "trigger-long-running-operation", arguments, "completed").await?;
    // The last notification comes together with the result. This library hands each to a task of its own, so either
    // may be first. The step bounds this loop.
    while user.progress.load(Ordering::Relaxed) < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok("came".to_owned())
}

async fn notification(session: &Session, user: &User) -> Result<String, String> {
    call(session, "toggle-simulated-logging", json!({}), "").await?;
    user.log.notified().await;
    Ok("came".to_owned())
}

async fn whole(outcome: &mut Outcome, session: &Session, user: &User) {
    outcome.text("list", all_tools(session)).await;
    let echo = call(session, "echo", json!({"message": "hello"}), "hello");
    outcome.text("echo", echo).await;
    outcome.text("progress", progress(session, user)).await;
    let prompt = json!({"prompt": "p", "maxTokens": 10});
    let sampling = call(session, "trigger-sampling-request", prompt, SAMPLED);
    outcome.text("sampling", sampling).await;
    let elicitation = call(session, "trigger-elicitation-request", json!({}), ELICITED);
    outcome.text("elicitation", elicitation).await;
    outcome.text("notification", notification(session, user)).await;
}

async fn refused(outcome: &mut Outcome, session: &Session) {
    let list = async {
        let tools = session
            .list_all_tools()
            .await
            .map_err(|error| error.to_string())?;
        Ok((!tools.is_empty()).to_string())
    };
    outcome.text("list", list).await;
    for (step, message) in [("call", "one"), ("again", "two")] {
        let echo = call(session, "echo", json!({"message": message}), message);
        outcome.text(step, echo).await;
    }
}

/// A file in the folder `$RESTART` asks for another server in the place of this one, and a file there tells that it is
/// up.
async fn restarted() -> Result<String, String> {
    let folder = std::env::var("RESTART").map_err(|error| error.to_string())?;
    let folder = std::path::PathBuf::from(folder);
    std::fs::write(folder.join("wanted"), "").map_err(|error| error.to_string())?;
    // The step bounds this loop.
    while !folder.join("done").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok("another server".to_owned())
}

/// The server is replaced, and has lost the session. This library begins anew by itself, if it is told.
async fn lost(outcome: &mut Outcome, session: &Session) {
    let echo = |message: &'static str| call(session, "echo", json!({"message": message}), message);
    outcome.text("call", echo("one")).await;
    outcome.text("restart", restarted()).await;
    for (step, message) in [("again", "two"), ("served", "three")] {
        outcome.text(step, echo(message)).await;
    }
}

#[tokio::main]
async fn main() {
    let url = std::env::args().nth(1).unwrap_or_default();
    let patience = std::env::var("PATIENCE_MS").ok();
    let patience = Duration::from_millis(patience.and_then(|ms| ms.parse().ok()).unwrap_or(10_000));
    let mut outcome = Outcome {
        steps: Map::new(),
        patience,
    };
    let user = User::default();
    let server = |session: &Session| {
        let info = session.peer_info();
        let implementation = info.and_then(|info| info.server_info.clone());
        implementation.map_or_else(String::new, |server| server.name)
    };
    if let Some(session) = outcome.step("connect", server, connect(&url, user.clone())).await {
        match std::env::var("PLAY").as_deref() {
            Ok("refused") => refused(&mut outcome, &session).await,
            Ok("lost") => lost(&mut outcome, &session).await,
            Ok(_) | Err(_) => whole(&mut outcome, &session, &user).await,
        }
        let close = async { session.cancel().await.map_err(|error| error.to_string()) };
        outcome.step("close", |reason| format!("{reason:?}"), close).await;
    }
    println!("{}", Value::Object(outcome.steps));
}
