//! A session belongs to a principal: where a caller's identity comes from, and that no client can choose it.

use gateway::client::BOTH;
use gateway::stage::expect_refused;
use gateway::tls::{Authority, Identity, tunnel};
use gateway::token::Issuer;
use gateway::{Call, Client, Gateway, Http, OddServer, Setup, message, setup};
use serde_json::{Value, json};

/// A part of `envoy/principals/parts.yaml`.
fn part(name: &str) -> Value {
    setup::yaml("principals/parts.yaml")[name].take()
}

fn add_filter(config: &mut Value, filter: &Value) {
    let filters = &mut setup::connection_manager(config)["http_filters"];
    filters.as_array_mut().expect("filters").insert(0, filter.clone());
}

async fn two_workers(
    server: &OddServer,
    principal: Value,
    patch: impl Fn(&mut Value) + Send + Sync + 'static,
) -> Gateway {
    Setup::new(server.address())
        .workers(2)
        .endpoint(
            json!({"principal": principal, "max_sessions_per_principal": 2, "unknown_session": "reject"}),
        )
        .patch(patch)
        .start()
        .await
}

/// Requests of one caller: what it adds to each.
#[derive(Clone)]
struct Tenant {
    client: Client,
    headers: Vec<(&'static str, String)>,
}

impl Tenant {
    fn new(client: Client, headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Self {
            client,
            headers: headers.collect(),
        }
    }

    async fn send(&self, call: Call) -> gateway::Answer {
        let with = |call: Call, (name, value): &(&'static str, String)| call.header(name, value);
        self.client.send(self.headers.iter().fold(call, with)).await
    }

    async fn open(&self) -> String {
        let answer = self.send(Call::initialize()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.session().expect("an id").to_owned()
    }

    async fn ping(&self, session: &str) -> u16 {
        self.send(Call::tools_list().session(session)).await.status
    }
}

/// Every use of a session's id.
fn uses(session: &str) -> Vec<Call> {
    let calls = vec![
        Call::tools_list(),
        Call::initialize(),
        Call::post(&message::initialized()),
        Call::post(&message::response(9)),
        Call::post_bytes("not JSON"),
        Call::get(),
        Call::delete(),
    ];
    calls.into_iter().map(|call| call.session(session)).collect()
}

/// `thief` is another principal than `owner`. No use of the owner's session succeeds, the thief's quota is its own,
/// and the owner notices nothing.
async fn cannot_take_over(server: &OddServer, thief: &Tenant, owner: &Tenant) {
    let session = owner.open().await;
    let (mut bodies, mut heads) = (Vec::new(), Vec::new());
    for id in [session.as_str(), "never-heard-of"] {
        for call in uses(id) {
            let before = server.count("/mcp");
            let answer = thief.send(call).await;
            expect_refused(&answer, 404, -32001, "Session not found", None);
            assert_eq!(server.count("/mcp"), before, "the server heard of it");
            let mut names: Vec<_> = answer
                .headers
                .keys()
                .map(|name| name.as_str().to_owned())
                .collect();
            names.sort();
            bodies.push(answer.body);
            heads.push(names);
        }
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    // Envoy decides whether it keeps the connection. It must decide the same for both ids.
    let (foreign, unknown) = heads.split_at(heads.len() / 2);
    assert_eq!(foreign, unknown);
    assert_eq!(owner.ping(&session).await, 200, "the owner's session is gone");

    let second = owner.open().await;
    let third = owner.send(Call::post(&message::initialize("3rd"))).await;
    expect_refused(
        &third,
        429,
        -32603,
        "Too many open sessions for this client",
        Some(json!("3rd")),
    );
    assert_eq!(third.header("retry-after"), Some("5"));
    let other = thief.open().await;
    for (tenant, session) in [(owner, session), (owner, second), (thief, other)] {
        let answer = tenant.send(Call::delete().session(&session)).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(owner.ping("never-heard-of").await, 404);
}

fn token(issuer: &Issuer, subject: &str, more: Value) -> String {
    let mut claims =
        json!({"iss": "https://idp.example", "sub": subject, "aud": "mcp", "exp": 4_000_000_000_u64});
    setup::merge(&mut claims, more);
    format!("Bearer {}", issuer.token(&claims))
}

fn jwt_authn(issuer: &Issuer, fields: Value) -> Value {
    let mut filter = part("jwt_authn");
    let config = &mut filter["typed_config"];
    config["providers"]["idp"]["local_jwks"]["inline_string"] = json!(issuer.jwks());
    setup::merge(config, fields);
    filter
}

#[tokio::test(flavor = "multi_thread")]
async fn verified_claims_name_the_caller_whatever_its_token() {
    let issuer = Issuer::new();
    for key in ["payload", "any.other name"] {
        let server = OddServer::polite().await;
        let name = json!({"providers": {"idp": {"payload_in_metadata": key}}});
        let filter = jwt_authn(&issuer, name);
        let gateway = two_workers(&server, json!([{"jwt_claims": ["iss", "sub"]}]), move |config| {
            add_filter(config, &filter);
        })
        .await;
        for http in BOTH {
            let tenant = |token: &str| Tenant::new(gateway.client(http), &[("authorization", token)]);
            let alice = tenant(&token(&issuer, "alice", json!({})));
            let bob = tenant(&token(&issuer, "bob", json!({})));
            cannot_take_over(&server, &bob, &alice).await;

            // The same caller's sessions accept a fresh token, and one with other claims.
            let session = alice.open().await;
            let refreshed = tenant(&token(&issuer, "alice", json!({"jti": "2", "scope": "more"})));
            assert_eq!(refreshed.ping(&session).await, 200);
            let forged = tenant(&token(&Issuer::new(), "alice", json!({})));
            assert_eq!(forged.ping(&session).await, 401);
            assert_eq!(refreshed.send(Call::delete().session(&session)).await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_lacks_a_claim_or_has_it_twice_is_nobody() {
    let issuer = Issuer::new();
    let server = OddServer::polite().await;
    let lenient = json!({"rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
        {"provider_name": "idp"}, {"allow_missing": {}}]}}}]});
    let filter = jwt_authn(&issuer, lenient);
    let gateway = two_workers(
        &server,
        json!([{"jwt_claims": ["sub", "tenant"]}]),
        move |config| {
            add_filter(config, &filter);
        },
    )
    .await;
    let tenant = |headers: &[(&'static str, &str)]| Tenant::new(gateway.client(Http::One), headers);
    let with = |more: Value| tenant(&[("authorization", &token(&issuer, "alice", more))]);
    let somebody = with(json!({"tenant": "x"}));
    let nobody = tenant(&[]);
    let session = nobody.open().await;
    for claims in [
        json!({}),
        json!({"tenant": ""}),
        json!({"tenant": ["x"]}),
        json!({"tenant": {"x": "x"}}),
        json!({"tenant": 5}),
        json!({"tenant": null}),
    ] {
        assert_eq!(with(claims.clone()).ping(&session).await, 200, "{claims}");
    }
    cannot_take_over(&server, &nobody, &somebody).await;
    // Different claims that give the same text when they are joined.
    let one = tenant(&[("authorization", &token(&issuer, "ab", json!({"tenant": "c"})))]);
    let other = tenant(&[("authorization", &token(&issuer, "a", json!({"tenant": "bc"})))]);
    cannot_take_over(&server, &one, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_names_the_caller_and_never_where_the_client_sent_it() {
    let issuer = Issuer::new();
    let server = OddServer::polite().await;
    let filter = jwt_authn(&issuer, json!({}));
    let gateway = two_workers(&server, json!([{"header": "X-User-Id"}]), move |config| {
        add_filter(config, &filter);
        setup::connection_manager(config)["early_header_mutation_extensions"] =
            part("early_header_mutation_extensions");
    })
    .await;
    for http in BOTH {
        let (alice, bob) = (
            token(&issuer, "alice", json!({})),
            token(&issuer, "bob", json!({})),
        );
        let owner = Tenant::new(gateway.client(http), &[("authorization", &alice)]);
        for forged in [
            vec![("authorization", bob.as_str()), ("x-user-id", "alice")],
            vec![
                ("authorization", bob.as_str()),
                ("X-USER-ID", "alice"),
                ("x-user-id", "alice"),
            ],
        ] {
            cannot_take_over(&server, &Tenant::new(gateway.client(http), &forged), &owner).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_from_a_trusted_proxy_counts_only_once_and_not_empty() {
    let server = OddServer::polite().await;
    let gateway = two_workers(&server, json!([{"header": "x-user-id"}]), |_| ()).await;
    for http in BOTH {
        let tenant = |headers: &[(&'static str, &str)]| Tenant::new(gateway.client(http), headers);
        let (alice, nobody) = (tenant(&[("x-user-id", "alice")]), tenant(&[]));
        cannot_take_over(&server, &tenant(&[("x-user-id", "bob")]), &alice).await;
        cannot_take_over(&server, &nobody, &alice).await;
        // A claim that is no text names nobody.
        cannot_take_over(&server, &nobody, &tenant(&[("x-user-id", "anonymous")])).await;
        let session = nobody.open().await;
        let twice = tenant(&[("x-user-id", "alice"), ("x-user-id", "alice")]);
        for odd in [twice, tenant(&[("x-user-id", "")])] {
            assert_eq!(odd.ping(&session).await, 200);
        }
        assert_eq!(nobody.send(Call::delete().session(&session)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_the_one_that_envoy_trusts() {
    let server = OddServer::polite().await;
    for hops in [0, 1] {
        let gateway = two_workers(&server, json!([{"source_address": true}]), move |config| {
            let mut trust = part("connection_manager");
            trust["xff_num_trusted_hops"] = json!(hops);
            setup::merge(setup::connection_manager(config), trust);
        })
        .await;
        for http in BOTH {
            let at = |chain: &str| Tenant::new(gateway.client(http), &[("x-forwarded-for", chain)]);
            let here = at("203.0.113.1, 192.0.2.1");
            if hops == 0 {
                // The identity does not contain the port, nor anything that a client writes.
                let session = here.open().await;
                let elsewhere = Tenant::new(gateway.client(http), &[("x-forwarded-for", "192.0.2.2")]);
                assert_eq!(elsewhere.ping(&session).await, 200);
                assert_eq!(here.send(Call::delete().session(&session)).await.status, 200);
                continue;
            }
            cannot_take_over(&server, &at("192.0.2.2"), &here).await;
            // The client can write whatever comes before the trusted proxy's entry.
            cannot_take_over(&server, &at("203.0.113.1, 192.0.2.1, 192.0.2.2"), &here).await;
            let v6 = at("2001:db8::1");
            cannot_take_over(&server, &at("2001:db8::2"), &v6).await;
            let session = here.open().await;
            assert_eq!(at("192.0.2.1").ping(&session).await, 200);
            assert_eq!(here.send(Call::delete().session(&session)).await.status, 200);
        }
    }
}

fn tls(
    servers: &Authority,
    clients: &Authority,
    fields: Value,
) -> impl Fn(&mut Value) + Send + Sync + 'static {
    let server = servers.issue("gateway", &["gateway.test"]);
    let mut socket = part("transport_socket");
    let common = &mut socket["typed_config"]["common_tls_context"];
    common["tls_certificates"] = json!([{"certificate_chain": {"inline_string": server.certificate},
        "private_key": {"inline_string": server.key}}]);
    common["validation_context"] = json!({"trusted_ca": {"inline_string": clients.pem()}});
    setup::merge(&mut socket["typed_config"], fields);
    move |config| {
        config["static_resources"]["listeners"][0]["filter_chains"][0]["transport_socket"] = socket.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verified_certificate_names_the_caller() {
    let (server, ca) = (OddServer::polite().await, Authority::new());
    let gateway = two_workers(&server, json!([{"mtls_peer": true}]), tls(&ca, &ca, json!({}))).await;
    let connect = async |identity: Identity, http: Http| {
        let address = tunnel(gateway.address(), &ca, identity).await;
        Tenant::new(Client::new(address, http), &[])
    };
    for http in BOTH {
        let uri = |name: &str| ca.issue("same", &[&format!("spiffe://test/{name}"), "same.test"]);
        let (alice, bob) = (connect(uri("alice"), http).await, connect(uri("bob"), http).await);
        cannot_take_over(&server, &bob, &alice).await;
        let dns = |name: &str| ca.issue("same", &[name]);
        let (alice, bob) = (
            connect(dns("a.test"), http).await,
            connect(dns("b.test"), http).await,
        );
        cannot_take_over(&server, &bob, &alice).await;
        let (alice, bob) = (
            connect(ca.issue("a", &[]), http).await,
            connect(ca.issue("b", &[]), http).await,
        );
        cannot_take_over(&server, &bob, &alice).await;
        // The same text as another kind of name is another principal.
        cannot_take_over(&server, &connect(dns("CN=a"), http).await, &alice).await;

        // A renewed certificate is the same caller.
        let session = connect(uri("carol"), http).await.open().await;
        let renewed = connect(uri("carol"), http).await;
        assert_eq!(renewed.ping(&session).await, 200);
    }
}

/// `connection.peer_certificate_valid` is there from Envoy 1.39 on.
fn tells_what_is_verified(gateway: &Gateway) -> bool {
    let info: Value = serde_json::from_str(&gateway.envoy().admin("/server_info")).expect("JSON");
    let version = info["version"].as_str().expect("a version").split('/').nth(1);
    let numbers = version.expect("a number").split('.').map(str::parse::<u32>);
    let numbers: Vec<_> = numbers.map_while(Result::ok).collect();
    numbers >= vec![1, 39]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_certificate_names_nobody() {
    let (server, ca, stranger) = (OddServer::polite().await, Authority::new(), Authority::new());
    let lenient = json!({"common_tls_context": {"validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"}}});
    let gateway = two_workers(&server, json!([{"mtls_peer": true}]), tls(&ca, &ca, lenient)).await;
    if !tells_what_is_verified(&gateway) {
        return eprintln!("skipped: before 1.39 Envoy does not tell whether a certificate was verified");
    }
    let name = ["spiffe://test/alice"];
    let alice = tunnel(gateway.address(), &ca, ca.issue("a", &name)).await;
    let forger = tunnel(gateway.address(), &ca, stranger.issue("a", &name)).await;
    let [alice, forger] = [alice, forger].map(|address| Tenant::new(Client::new(address, Http::One), &[]));
    cannot_take_over(&server, &forger, &alice).await;
}
