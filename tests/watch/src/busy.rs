//! A gateway where everything happens that the filter counts, again and again.

use std::time::Duration;

use gateway::{Call, Client, Gateway, Http, OddServer, Reply, Request, Setup, Stream, message, setup};
use serde_json::{Value, json};

/// The endpoints whose sessions the filter ends after a second, and what the server says to its DELETE.
const TOLD: [(&str, u16); 5] = [
    ("ok", 200),
    ("gone", 404),
    ("unsupported", 405),
    ("denied", 401),
    ("failed", 400),
];

/// What there is at `/<name>`.
fn endpoints() -> Value {
    let endpoint = |name: &str, fields: Value| {
        let mut endpoint = json!({"name": name, "path": format!("/{name}"), "admission": "body"});
        setup::merge(&mut endpoint, fields);
        endpoint
    };
    let told = TOLD.map(|(name, _)| {
        let upstream = json!({"cluster": "mcp", "authority": "mcp", "timeout": "1s"});
        endpoint(
            name,
            json!({"idle_timeout": "1s", "terminate_upstream": upstream}),
        )
    });
    let others = [
        endpoint("full", json!({"max_sessions": 5})),
        endpoint("evicts", json!({"max_sessions": 1, "on_full": "evict_idle"})),
        endpoint("lives", json!({"idle_timeout": "1s", "max_lifetime": "1s"})),
        endpoint("streams", json!({"max_streams": 5})),
        endpoint(
            "quota",
            json!({
                "principal": [{"header": "x-user-id"}], "max_sessions_per_principal": 1, "max_streams_per_principal": 1,
            }),
        ),
        endpoint(
            "sse",
            json!({"transport": "http_sse", "message_path": "/sse/message"}),
        ),
    ];
    told.into_iter().chain(others).collect()
}

/// The answer of a good server; but the one at `/gone`, say, has its own to DELETE.
fn answer(request: &Request) -> Reply {
    let told = TOLD.iter().find(|(name, _)| request.path == format!("/{name}"));
    match (told, request.method.as_str()) {
        (Some((_, status)), "DELETE") => Reply::status(*status),
        _ if request.path.starts_with("/sse") => Reply::http_sse(request),
        _ => Reply::as_told(request),
    }
}

/// A fleet whose etcd does not answer. Its gateway is lost, and so its own caps decide alone, and it has more sessions than
/// the fleet may have.
fn fleet() -> Value {
    json!({"cluster": "etcd", "name": "watch", "max_sessions": 5, "lease": "3s"})
}

/// Nothing listens on the first port.
fn etcd_that_is_away(config: &mut Value) {
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 1}});
    let hosts = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    let clusters = config["static_resources"]["clusters"]
        .as_array_mut()
        .expect("clusters");
    clusters.push(json!({
        "name": "etcd", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "etcd", "endpoints": hosts},
    }));
}

/// The gateway, with what holds its streams and sessions open.
pub struct Busy {
    pub gateway: Gateway,
    _server: OddServer,
    client: Client,
    held: Vec<Stream>,
    round: u64,
}

impl Busy {
    /// Starts it with two workers and the module whose VM a request can crash.
    ///
    /// # Errors
    /// With Envoy's log, if it does not start.
    pub async fn start() -> Result<Self, String> {
        let server = OddServer::start(answer).await;
        let gateway = Setup::new(server.address())
            .workers(2)
            .plugin(json!({
                "sweep_interval": "100ms", "max_sessions": 1000, "fleet": fleet(), "endpoints": endpoints(),
            }))
            .patch(etcd_that_is_away)
            .filter(json!({"vm_config": {"code": {"local": {"filename": setup::trap_module()}}}}))
            .patch(flush_each_second)
            .faults_expected()
            .try_start()
            .await?;
        Ok(Self {
            client: gateway.client(Http::One),
            gateway,
            _server: server,
            held: Vec::new(),
            round: 0,
        })
    }

    /// Crashes the VM of a worker, and waits until all requests are answered again.
    pub async fn trap(&self) {
        let trap = Call::get().header("x-trap-vm", "1").path("/full");
        let _ = self.client.try_send(trap).await;
        let end = std::time::Instant::now() + gateway::poll::SOON;
        let mut served = 0;
        // Connections are spread over the workers.
        while served < 8 && std::time::Instant::now() < end {
            let ping = Call::tools_list().path("/full");
            let answer = self.gateway.client(Http::One).try_send(ping).await;
            served = if answer.is_ok_and(|answer| answer.status != 503) {
                served + 1
            } else {
                0
            };
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Everything once. What the answers are is no matter here; the numbers are asked later.
    pub async fn round(&mut self) {
        self.round += 1;
        for (name, _) in TOLD {
            self.open(name).await;
        }
        for name in ["full", "full", "evicts", "evicts", "lives"] {
            self.open(name).await;
        }
        self.unknown_ids().await;
        self.caller().await;
        self.streams().await;
        self.refusals().await;
        self.past_every_endpoint().await;
    }

    async fn send(&self, call: Call) -> Option<gateway::Answer> {
        self.client.try_send(call).await.ok()
    }

    async fn open(&self, name: &str) -> Option<String> {
        let answer = self.send(Call::initialize().path(&format!("/{name}"))).await?;
        answer.session().map(str::to_owned)
    }

    /// Ids from before a restart: one is adopted, those at the full endpoint hold no place. Now and then the server loses a
    /// session.
    async fn unknown_ids(&self) {
        for name in ["full", "full", "full", "streams"] {
            let id = format!("from-before-{name}-{}", self.round);
            self.send(Call::tools_list().session(&id).path(&format!("/{name}")))
                .await;
        }
        if let Some(id) = self.open("streams").await {
            let revisions = ["2025-03-26", "2025-06-18", message::REVISION];
            for revision in revisions {
                let call = Call::post(&message::tools_call(3, "echo", json!({})));
                self.send(call.session(&id).revision(revision).path("/streams"))
                    .await;
            }
            self.send(Call::delete().session(&id).path("/streams")).await;
        }
        if self.round % 4 == 1
            && let Some(id) = self.open("streams").await
        {
            self.send(Call::tools_list().session(&id).reply("404").path("/streams"))
                .await;
        }
    }

    /// One caller who asks for a second session, and for a second stream.
    async fn caller(&mut self) {
        let as_caller = |call: Call| call.header("x-user-id", "caller").path("/quota");
        self.send(as_caller(Call::initialize())).await;
        self.send(as_caller(Call::initialize())).await;
        self.hold(as_caller(Call::get())).await;
        self.hold(as_caller(Call::get())).await;
    }

    /// Streams up to the cap and beyond, one that closes, and one of HTTP+SSE, whose session ends with it.
    async fn streams(&mut self) {
        for _ in 0..2 {
            self.hold(Call::get().path("/streams")).await;
        }
        let closes = self.client.try_open(Call::get().path("/sse")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(closes);
        if self.round.is_multiple_of(4) {
            self.held.pop();
        }
    }

    async fn hold(&mut self, call: Call) {
        let stream = self.client.try_open(call).await;
        self.held
            .extend(stream.ok().filter(|stream| stream.status == 200));
    }

    async fn refusals(&self) {
        let twice = Call::get().session("a b").path("/full");
        let no_json = Call::post_bytes("nonsense").path("/full");
        let unknown = Call::get().session("ended").path("/quota");
        for call in [twice, no_json, unknown] {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.send(call)).await;
        }
    }

    async fn past_every_endpoint(&self) {
        for _ in 0..2 {
            let call = Call::tools_list().session("x").path("/elsewhere");
            self.send(call).await;
        }
    }
}

/// Envoy merges histograms when it flushes, each five seconds unless it is told otherwise.
fn flush_each_second(config: &mut Value) {
    config["stats_flush_interval"] = json!("1s");
}
