//! A server on the official Rust SDK with the tools that the sessions of the matrix call. It listens on a loopback port
//! that the system chooses and writes that port into the file `$READY`.
#![expect(
    deprecated,
    reason = "sampling and logging, which the revisions with sessions have"
)]

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{
    CreateMessageRequestParams, ElicitRequestParams, LoggingLevel, LoggingMessageNotificationParam,
    ProgressNotificationParam, ProtocolVersion, RequestMetaObject, SamplingMessage, ServerCapabilities,
    ServerConfig, SetLevelRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, Peer, RoleServer, ServerHandler, schemars, tool, tool_handler, tool_router};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
struct Tools;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Echo {
    message: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Operation {
    /// Seconds.
    duration: f64,
    steps: u32,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Prompt {
    prompt: String,
    max_tokens: u32,
}

fn failed(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

#[tool_router]
impl Tools {
    #[tool]
    async fn echo(&self, Parameters(Echo { message }): Parameters<Echo>) -> String {
        format!("Echo: {message}")
    }

    #[tool(name = "trigger-long-running-operation")]
    async fn operate(
        &self,
        Parameters(Operation { duration, steps }): Parameters<Operation>,
        meta: RequestMetaObject,
        client: Peer<RoleServer>,
    ) -> String {
        for step in 1..=steps {
            tokio::time::sleep(Duration::from_secs_f64(duration / f64::from(steps))).await;
            if let Some(token) = meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, f64::from(step));
                let _ = client
                    .notify_progress(progress.with_total(f64::from(steps)))
                    .await;
            }
        }
        "completed".to_owned()
    }

    #[tool(name = "trigger-sampling-request")]
    async fn sample(
        &self,
        Parameters(Prompt { prompt, max_tokens }): Parameters<Prompt>,
        client: Peer<RoleServer>,
    ) -> Result<String, ErrorData> {
        let params = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], max_tokens);
        let result = client.create_message(params).await.map_err(failed)?;
        serde_json::to_string(&result).map_err(failed)
    }

    #[tool(name = "trigger-elicitation-request")]
    async fn elicit(&self, client: Peer<RoleServer>) -> Result<String, ErrorData> {
        let schema =
            json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
        let form = ElicitRequestParams::FormElicitationParams {
            meta: None,
            message: "Who?".to_owned(),
            requested_schema: serde_json::from_value(schema).map_err(failed)?,
        };
        let result = client.create_elicitation(form).await.map_err(failed)?;
        serde_json::to_string(&result).map_err(failed)
    }

    #[tool(name = "toggle-simulated-logging")]
    async fn log(&self, client: Peer<RoleServer>) -> Result<String, ErrorData> {
        // Belongs to no request: it takes the GET stream.
        let line = LoggingMessageNotificationParam::new(LoggingLevel::Error, json!("a line"));
        client.notify_logging_message(line).await.map_err(failed)?;
        Ok("logged".to_owned())
    }
}

#[tool_handler]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_logging()
                .build(),
        )
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    /// A server that supports only revisions with sessions. Clients that ask for the later revision first must fall
    /// back.
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(&[ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2025_06_18])
    }
}

type Mcp = StreamableHttpService<Tools, LocalSessionManager>;

async fn serve(socket: TcpStream, mcp: Mcp) {
    let answer = service_fn(move |request| {
        let mcp = mcp.clone();
        async move { Ok::<_, Infallible>(mcp.handle(request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

fn tell(port: u16) -> std::io::Result<()> {
    let ready = std::env::var("READY").map_err(std::io::Error::other)?;
    std::fs::write(format!("{ready}.part"), port.to_string())?;
    std::fs::rename(format!("{ready}.part"), ready)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    tell(listener.local_addr()?.port())?;
    let mcp = Mcp::new(
        || Ok(Tools),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(serve(socket, mcp.clone()));
    }
}
