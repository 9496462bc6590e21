//! A gateway of a fleet whose etcd does not answer.

use gateway::{Gateway, Http, OddServer, Setup};
use serde_json::{Value, json};

/// The cap over all gateways.
const CAP: usize = 5;

/// The gateway is lost, and so its own cap decides alone: it has more sessions than the fleet may have.
pub struct Fleet {
    pub gateway: Gateway,
    _server: OddServer,
}

impl Fleet {
    /// Starts it, and opens its sessions.
    ///
    /// # Errors
    /// With Envoy's log, if it does not start.
    pub async fn start() -> Result<Self, String> {
        let server = OddServer::polite().await;
        let fleet = json!({"cluster": "etcd", "name": "watch", "max_sessions": CAP, "lease": "3s"});
        let gateway = Setup::new(server.address())
            .top(json!({"fleet": fleet}))
            .patch(add_etcd)
            .try_start()
            .await?;
        gateway.expect("fleet.lost", 1).await;
        for _ in 0..=CAP {
            gateway.client(Http::One).open_session().await;
        }
        Ok(Self {
            gateway,
            _server: server,
        })
    }
}

/// The cluster of an etcd that is away: nothing listens on the first port.
fn add_etcd(config: &mut Value) {
    let address = json!({"socket_address": {"address": "127.0.0.1", "port_value": 1}});
    let hosts = json!([{"lb_endpoints": [{"endpoint": {"address": address}}]}]);
    let clusters = config["static_resources"]["clusters"].as_array_mut();
    clusters.expect("clusters").push(json!({
        "name": "etcd", "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "etcd", "endpoints": hosts},
    }));
}
