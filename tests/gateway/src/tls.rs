//! Certificates that a test makes itself, and TLS with one of them in front of a plain client.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Identity {
    pub certificate: String,
    pub key: String,
    chain: Vec<CertificateDer<'static>>,
    private: PrivateKeyDer<'static>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "the tests' CA");
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate, as `trusted_ca` takes it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate with this subject and these names, `spiffe://…` or a host's.
    pub fn issue(&self, subject: &str, names: &[&str]) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, subject);
        for name in names {
            let text = (*name).try_into().expect("ASCII");
            params.subject_alt_names.push(match name.contains("://") {
                true => SanType::URI(text),
                false => SanType::DnsName(text),
            });
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            chain: vec![certificate.der().clone()],
            private: PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// Listens for plain connections and passes each on to `gateway` over TLS, as the client with this identity.
pub async fn tunnel(gateway: SocketAddr, servers: &Authority, client: Identity) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    roots.add(servers.0.der().clone()).expect("a root");
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(client.chain, client.private)
        .expect("an identity");
    let connector = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((plain, _)) = listener.accept().await {
            tokio::spawn(pass_on(plain, gateway, connector.clone()));
        }
    });
    address
}

async fn pass_on(mut plain: TcpStream, gateway: SocketAddr, connector: TlsConnector) {
    let Ok(socket) = TcpStream::connect(gateway).await else {
        return;
    };
    let name = ServerName::try_from("gateway.test").expect("a name");
    if let Ok(mut secure) = connector.connect(name, socket).await {
        // Either side may leave whenever it likes.
        let _ = tokio::io::copy_bidirectional(&mut plain, &mut secure).await;
    }
}
