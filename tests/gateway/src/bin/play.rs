//! `make run` and `make demo`: play one whole session through a real Envoy with the filter to a real MCP server.
//! `play run` leaves the gateway up until Ctrl-C, `play demo` ends; both fail if a step goes wrong.

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use gateway::{Answer, Client, Gateway, Http, McpServer, Setup, message, poll};
use serde_json::{Value, json};

const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 10000);
const STATUS: ([u8; 4], u16) = ([127, 0, 0, 1], 10001);
const ADMIN: ([u8; 4], u16) = ([127, 0, 0, 1], 9901);

#[tokio::main]
async fn main() -> ExitCode {
    let stays = match std::env::args().nth(1).as_deref() {
        Some("run") => true,
        Some("demo") => false,
        _ => return fail("usage: play run|demo"),
    };
    match play(stays).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => fail(&reason),
    }
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("\n{reason}");
    ExitCode::FAILURE
}

async fn play(stays: bool) -> Result<(), String> {
    let address = SocketAddr::from(ADDRESS);
    TcpListener::bind(address).map_err(|error| format!("{address} is not free for the gateway: {error}"))?;
    let server = McpServer::start(0)
        .await
        .map_err(|error| format!("the MCP server does not start: {error}"))?;
    let setup = Setup::new(server.address())
        .routes_as_shipped()
        .listen(address, free_or_chosen(ADMIN.into()))
        .status_view_at(free_or_chosen(STATUS.into()));
    let gateway = setup
        .try_start()
        .await
        .map_err(|log| format!("Envoy does not start:\n{log}"))?;

    println!("\nMCP server  http://{}/mcp", server.address());
    println!("Gateway     http://{}/mcp", gateway.address());
    println!("Sessions    {}", status_view(&gateway)?);
    println!(
        "Numbers     http://{}/stats/prometheus\n",
        gateway.envoy().admin_address()
    );
    let mut session = Play::new(&gateway, &server);
    session.whole().await?;
    if stays {
        leave_up(&gateway).await?;
    }
    Ok(())
}

/// This address if it is free, else one that the system chooses.
fn free_or_chosen(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}

/// The address of the status view.
fn status_view(gateway: &Gateway) -> Result<String, String> {
    let address = gateway.envoy().listener("status");
    let address = address.ok_or("the listener of the status view is missing")?;
    Ok(format!("http://{address}/mcp-sessions"))
}

async fn leave_up(gateway: &Gateway) -> Result<(), String> {
    let (address, admin) = (gateway.address(), gateway.envoy().admin_address());
    let sessions = status_view(gateway)?;
    println!(
        r#"
The gateway stays up, and {sessions} in a browser shows its sessions. Point your own client at
http://{address}/mcp, or try:

  curl -i http://{address}/mcp -H 'content-type: application/json' -H 'accept: application/json, text/event-stream' \
    -d '{initialize}'
  curl -i http://{address}/mcp -H 'mcp-session-id: <the id>' -H 'accept: text/event-stream'
  curl -i http://{address}/mcp -H 'mcp-session-id: <the id>' -X DELETE
  curl -s {sessions}
  curl -s http://{admin}/stats/prometheus | grep ^mcp_sessions

Ctrl-C ends it."#,
        initialize = message::initialize(1),
    );
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(|error| error.to_string()),
        () = envoy_gone(gateway) => Err(format!("Envoy has ended:\n{}", gateway.envoy().log())),
    }
}

async fn envoy_gone(gateway: &Gateway) {
    while gateway.envoy().try_admin("GET", "/ready").is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Ctrl-C reaches Envoy too, and this process must see it first.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// The expected content of the table at a point of the play.
struct Expected {
    active: u64,
    ended: u64,
}

/// One session through the gateway, step by step.
struct Play<'a> {
    gateway: &'a Gateway,
    server: &'a McpServer,
    client: Client,
}

impl<'a> Play<'a> {
    fn new(gateway: &'a Gateway, server: &'a McpServer) -> Self {
        Self {
            gateway,
            server,
            client: gateway.client(Http::One),
        }
    }

    async fn whole(&mut self) -> Result<(), String> {
        self.heading();
        self.line("before", "", Expected { active: 0, ended: 0 }).await?;
        let session = self.initialize().await?;
        let live = || Expected { active: 1, ended: 0 };
        let dead = || Expected { active: 0, ended: 1 };

        let answer = self.client.post(&session, &message::initialized()).await;
        self.step("POST notifications/initialized", &answer, 202, "", live())
            .await?;

        let answer = self.client.post(&session, &message::tools_list(2)).await;
        let tools = tool_names(&answer);
        self.step("POST tools/list", &answer, 200, &tools, live()).await?;

        let answer = self
            .client
            .post(&session, &message::tools_call(3, "add", json!({"a": 2, "b": 40})))
            .await;
        let sum = tool_text(&answer)?;
        self.step("POST tools/call add 2 40", &answer, 200, &sum, live())
            .await?;

        let mut slow = message::tools_call(4, "slow", json!({"steps": 3, "step_ms": 50}));
        slow["params"]["_meta"] = json!({"progressToken": "p"});
        let answer = self.client.post(&session, &slow).await;
        let events = format!("{} events: {}", answer.messages().len(), tool_text(&answer)?);
        self.step("POST tools/call slow, by SSE", &answer, 200, &events, live())
            .await?;

        let answer = self.client.delete(&session).await;
        self.step("DELETE", &answer, 202, "the session has ended", dead())
            .await?;

        let answer = self.client.post(&session, &message::tools_list(5)).await;
        let error = answer.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.step("POST tools/list, with the dead id", &answer, 404, &error, dead())
            .await?;
        self.line("after", "", dead()).await
    }

    async fn initialize(&self) -> Result<String, String> {
        let answer = self.client.initialize().await;
        let session = answer.session().unwrap_or_default().to_owned();
        let shown = format!("session {session}");
        self.step(
            "POST initialize",
            &answer,
            200,
            &shown,
            Expected { active: 1, ended: 0 },
        )
        .await?;
        if session.is_empty() {
            Err("no Mcp-Session-Id came back".to_owned())
        } else {
            Ok(session)
        }
    }

    fn heading(&self) {
        println!(
            "{:<34} {:<50} {:>6} {:>8} {:>7} {:>5}   {:>11}",
            "sent", "answer", "active", "reserved", "created", "ended", "server holds"
        );
    }

    async fn step(
        &self,
        sent: &str,
        answer: &Answer,
        status: u16,
        shown: &str,
        expected: Expected,
    ) -> Result<(), String> {
        if answer.status != status {
            return Err(format!(
                "{sent}: got {}, expected {status}: {}",
                answer.status,
                answer.text()
            ));
        }
        self.line(sent, &format!("{status} {shown}"), expected).await
    }

    /// Prints a line with the content of the table, and checks it.
    async fn line(&self, sent: &str, answer: &str, expected: Expected) -> Result<(), String> {
        let stat = |name: &str| self.gateway.stat(&format!("endpoint.mcp.{name}"));
        let ended = || stat("ended.reason.client_delete");
        let right = || (stat("active"), stat("reserved"), ended()) == (expected.active, 0, expected.ended);
        let came = poll::until(poll::SOON, || right().then_some(())).await;
        println!(
            "{sent:<34} {answer:<50} {:>6} {:>8} {:>7} {:>5}   {:>11}",
            stat("active"),
            stat("reserved"),
            stat("created"),
            ended(),
            self.server.sessions().await
        );
        came.ok_or_else(|| {
            format!(
                "the table should say active {}, ended {}",
                expected.active, expected.ended
            )
        })
    }
}

fn tool_names(answer: &Answer) -> String {
    let messages = answer.messages();
    let tools = messages
        .iter()
        .filter_map(|message| message["result"]["tools"].as_array())
        .flatten();
    let names: Vec<&str> = tools.filter_map(|tool| tool["name"].as_str()).collect();
    names.join(", ")
}

fn tool_text(answer: &Answer) -> Result<String, String> {
    let messages = answer.messages();
    let text = |message: &Value| {
        message["result"]["content"][0]["text"]
            .as_str()
            .map(str::to_owned)
    };
    messages
        .iter()
        .find_map(text)
        .ok_or_else(|| format!("no result of the tool: {}", answer.text()))
}
