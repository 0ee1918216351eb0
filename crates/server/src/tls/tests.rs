//! Devices and hostile callers at the TLS port, and hostile servers before the client.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeward_api::access::{AuthoritySwitch, CertificateRequest, DeviceCertificate, DeviceRevocation};
use edgeward_api::client::{ClientCertificate, FileAnswer, Roots, Tls};
use edgeward_api::device::EnrolRequest;
use edgeward_api::operator::JoinTokenRequest;
use edgeward_api::{Client, ClientError, JoinPin};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConnection, StreamOwned};

use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::tests::support::Plant;

const DAY: Duration = Duration::from_secs(24 * 3600);
const UNUSED: Duration = Duration::from_secs(60);

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

fn plant() -> Plant {
    Plant::serving_from(now().0, |config| config.tls.always = true)
}

fn name(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

fn join_token(plant: &Plant, uses: u32, device: Option<&str>) -> String {
    let request = JoinTokenRequest { uses, ttl_ms: 3_600_000, device: device.map(name) };
    plant.operator().make_join_token(&request).unwrap().join_token
}

/// A device as a test sees it.
struct Device {
    id: DeviceId,
    key: KeyPair,
    given: DeviceCertificate,
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn public(key: &KeyPair) -> Base64 {
    Base64(key.public_key_raw().to_vec())
}

fn pinned(token: &str) -> Tls {
    let pin = JoinPin::of(token).expect("the token pins an authority");
    Tls { roots: Roots::Pinned(pin.authority), floor: Some(pin.made_at), certificate: None }
}

fn enrol(plant: &Plant, token: &str, wish: &str, key: KeyPair, again: bool) -> Result<Device, ClientError> {
    let request = EnrolRequest {
        join_token: token.to_owned(),
        name: name(wish),
        public_key: Some(public(&key)),
        again,
    };
    let answer = Client::with_tls(&plant.url, None, pinned(token)).enrol(&request)?;
    assert_eq!(answer.credential, None);
    Ok(Device { id: answer.device, key, given: answer.certificate.unwrap() })
}

fn device(plant: &Plant, wish: &str) -> Device {
    enrol(plant, &join_token(plant, 1, None), wish, key(), false).unwrap()
}

impl Device {
    fn tls(&self) -> Tls {
        Tls {
            roots: Roots::Certificates(self.given.authorities.iter().map(|der| der.0.clone()).collect()),
            floor: Some(self.given.issued_at_ms),
            certificate: Some(ClientCertificate {
                certificate: self.given.certificate.0.clone(),
                key: self.key.serialize_der(),
            }),
        }
    }

    fn client(&self, plant: &Plant) -> Client {
        Client::with_tls(&plant.url, None, self.tls())
    }

    fn renew(&self, plant: &Plant) -> Self {
        let key = key();
        let request = CertificateRequest { public_key: public(&key) };
        let given = self.client(plant).renew_certificate(&request).unwrap();
        Self { id: self.id.clone(), key, given }
    }
}

/// What every device asks for.
fn look(client: &Client) -> Result<FileAnswer, ClientError> {
    client.repository().0.get("1.root.json", 1 << 20, None)
}

fn check_let_in(client: &Client) {
    assert!(matches!(look(client).unwrap(), FileAnswer::Bytes { .. }));
}

fn check_refused(client: &Client, words: &str) {
    match look(client) {
        Err(ClientError::Refused { status: 401, problem, .. }) => {
            assert_eq!(problem.kind, "bad_certificate");
            assert!(problem.error.contains(words), "{problem:?}");
            assert!(!problem.hints.is_empty());
        }
        other => panic!("expected a refusal with '{words}', found {other:?}"),
    }
}

fn check_untrusted<T: fmt::Debug>(outcome: Result<T, ClientError>, words: &str) {
    match outcome {
        Err(ClientError::Untrusted { reason, .. }) => assert!(reason.contains(words), "{reason}"),
        other => panic!("expected no trust for '{words}', found {other:?}"),
    }
}

#[test]
fn a_device_joins_with_its_own_key_and_is_known_by_its_certificate() {
    let plant = plant();
    let device = device(&plant, "press");
    assert_eq!(device.id, name("press"));
    check_let_in(&device.client(&plant));
    let nobody = Client::with_tls(&plant.url, None, Tls { certificate: None, ..device.tls() });
    assert!(matches!(look(&nobody), Err(ClientError::Refused { status: 401, .. })));
    let operator = plant.operator();
    assert!(operator.certificate_advice().is_err(), "an operator is no device");
    assert_eq!(operator.devices().unwrap().devices.len(), 1);
    let words: Vec<String> = operator
        .events(0, 100)
        .unwrap()
        .entries
        .iter()
        .map(|entry| serde_json::to_string(entry).unwrap())
        .filter(|entry| entry.contains("certificate_issued"))
        .collect();
    assert!(words.len() == 1 && words[0].contains(&Digest::of(&device.given.certificate.0).to_string()));
    plant.stop();
}

#[test]
fn a_key_of_its_own_is_needed_and_must_be_one() {
    let plant = plant();
    let token = join_token(&plant, 1, None);
    for bad in [None, Some(Base64(vec![4; 64])), Some(Base64(vec![5; 65])), Some(Base64(Vec::new()))] {
        let request =
            EnrolRequest { join_token: token.clone(), name: name("d"), public_key: bad, again: false };
        let outcome = Client::with_tls(&plant.url, None, pinned(&token)).enrol(&request);
        assert!(matches!(outcome, Err(ClientError::Refused { status: 422, .. })), "{outcome:?}");
    }
    enrol(&plant, &token, "d", key(), false).unwrap();
    plant.stop();
}

#[test]
fn a_join_whose_answer_was_lost_is_asked_for_again() {
    let plant = plant();
    let token = join_token(&plant, 1, None);
    let key = key();
    let again = KeyPair::try_from(key.serialize_der()).unwrap();
    let first = enrol(&plant, &token, "press", key, false).unwrap();
    let second = enrol(&plant, &token, "press", again, false).unwrap();
    assert_eq!((&first.id, plant.operator().devices().unwrap().devices.len()), (&second.id, 1));
    check_refused(&first.client(&plant), "revoked");
    check_let_in(&second.client(&plant));
    let other = enrol(&plant, &token, "press", self::key(), false);
    assert!(matches!(other, Err(ClientError::Refused { status: 401, .. })));
    let revocation = DeviceRevocation { cause: "lost".to_owned() };
    plant.operator().revoke_device(&second.id, &revocation).unwrap();
    let key = KeyPair::try_from(second.key.serialize_der()).unwrap();
    let revived = enrol(&plant, &token, "press", key, false);
    assert!(matches!(revived, Err(ClientError::Refused { status: 401, .. })), "shut out stays shut out");
    plant.stop();
}

#[test]
fn a_device_that_joins_again_needs_a_token_for_it() {
    let plant = plant();
    let first = device(&plant, "press");
    device(&plant, "drill");
    for token in [join_token(&plant, 1, None), join_token(&plant, 1, Some("drill"))] {
        let outcome = enrol(&plant, &token, "press", key(), true);
        assert!(matches!(outcome, Err(ClientError::Refused { status: 401, .. })));
        // The use was given back.
        enrol(&plant, &token, "other", key(), false).unwrap();
    }
    let second = enrol(&plant, &join_token(&plant, 1, Some("press")), "press", key(), true).unwrap();
    assert_eq!(second.id, first.id);
    check_refused(&first.client(&plant), "revoked");
    check_let_in(&second.client(&plant));
    plant.stop();
}

#[test]
fn a_revoked_device_is_refused_at_once_on_an_open_connection() {
    let plant = plant();
    let device = device(&plant, "press");
    let client = device.client(&plant);
    check_let_in(&client);
    let revocation = DeviceRevocation { cause: "stolen".to_owned() };
    plant.operator().revoke_device(&device.id, &revocation).unwrap();
    check_refused(&client, "the certificate of press was revoked");
    plant.stop();
}

#[test]
fn a_certificate_ends() {
    let plant = plant();
    let device = device(&plant, "press");
    plant.pass(DAY * 89);
    check_let_in(&device.client(&plant));
    plant.pass(DAY);
    check_refused(&device.client(&plant), "the certificate of press has ended");
    plant.stop();
}

#[test]
fn a_certificate_that_the_store_does_not_know_is_none_whoever_signed_it() {
    let plant = plant();
    let known = device(&plant, "press");
    let key = key();
    let own = CertificateParams::new(vec!["press".to_owned()]).unwrap().self_signed(&key).unwrap();
    let forged = own.der().to_vec();
    let public = DeviceKey::parse(key.public_key_raw()).unwrap();
    let never_kept = plant.app.certificates.issue(&name("press"), &public, now()).unwrap().certificate;
    for certificate in [forged, never_kept] {
        let key = key.serialize_der();
        let tls = Tls { certificate: Some(ClientCertificate { certificate, key }), ..known.tls() };
        check_refused(&Client::with_tls(&plant.url, None, tls.clone()), "not issued by this control plane");
        // A good token beside it does not help.
        check_refused(&Client::with_tls(&plant.url, Some(plant.token()), tls), "not issued");
    }
    plant.stop();
}

/// Shows a certificate without its key.
#[derive(Debug)]
struct Thief(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Thief {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[test]
fn another_devices_certificate_is_of_no_use_without_its_key() {
    let plant = plant();
    let victim = device(&plant, "press");
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key().serialize_der()));
    let signing = ring::sign::any_supported_type(&secret).unwrap();
    let stolen = CertificateDer::from(victim.given.certificate.0.clone());
    let thief = Thief(Arc::new(CertifiedKey::new(vec![stolen], signing)));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(victim.given.authorities[0].0.clone())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(thief));
    let address = plant.url.strip_prefix("https://").unwrap();
    let connection =
        ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let asked = stream.write_all(b"GET /v1/desired HTTP/1.1\r\nhost: x\r\n\r\n");
    let answered = asked.and_then(|()| stream.read(&mut [0; 512]));
    let error = answered.expect_err("the handshake is broken off").to_string();
    assert!(error.contains("fatal alert"), "{error}");
    check_let_in(&victim.client(&plant));
    plant.stop();
}

#[test]
fn slow_silent_and_garbled_callers_hold_nobody_else_up() {
    let plant = plant();
    let device = device(&plant, "press");
    let address = plant.url.strip_prefix("https://").unwrap();
    let mut callers: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (n, caller) in callers.iter_mut().enumerate() {
        let bytes: &[u8] = match n % 4 {
            0 => b"",
            // The head of a record that never comes.
            1 => &[22, 3, 1, 2, 0],
            2 => &[22, 3, 1, 0, 4, 1, 0, 0, 0xff],
            _ => &[0xff; 64],
        };
        caller.write_all(bytes).unwrap();
    }
    check_let_in(&device.client(&plant));
    drop(callers);
    plant.stop();
}

#[test]
fn who_speaks_the_wrong_protocol_is_told() {
    let plant = plant();
    let plain = Client::new(&plant.url.replace("https:", "http:"), Some(plant.token()));
    match plain.devices() {
        Err(ClientError::Refused { status: 400, problem, .. }) => assert_eq!(problem.kind, "tls_required"),
        other => panic!("{other:?}"),
    }
    plant.stop();
    let plant = Plant::serving(|_| {});
    let under_tls = Client::new(&plant.url.replace("http:", "https:"), Some(plant.token()));
    check_untrusted(under_tls.devices(), "does not speak TLS");
    assert_eq!(JoinPin::of(&join_token(&plant, 1, None)), None);
    plant.stop();
}

#[test]
fn a_control_plane_that_is_not_known_is_not_believed() {
    let (plant, other) = (plant(), plant());
    let foreign = JoinPin::of(&join_token(&other, 1, None)).unwrap().authority;
    for roots in [Roots::Pinned(foreign), Roots::System, Roots::Pinned(Digest::of(b"none"))] {
        let client = Client::with_tls(&plant.url, Some(plant.token()), Tls::with_roots(roots));
        check_untrusted(client.devices(), "not stand on an authority");
    }
    let pin = plant.app.certificates.pin().unwrap();
    let client = Client::with_tls(&plant.url, Some(plant.token()), Tls::with_roots(Roots::Pinned(pin)));
    client.devices().unwrap();
    other.stop();
    plant.stop();
}

/// A server that shows `shown` to one caller; its address.
fn impostor(shown: CertifiedKey) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let config = RustlsConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown { own: Arc::new(shown), public: None }));
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        // The other end breaks off.
        let _ = StreamOwned::new(connection, stream).read(&mut [0; 512]);
    });
    address
}

#[test]
fn a_server_must_bear_the_name_the_time_and_the_purpose() {
    let authority = Authority::make(now()).unwrap();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<String>>();
    let issue = |n: &[&str], until| authority.issue_server(&names(n), until).unwrap();
    let check = |shown: CertifiedKey, floor: Option<Timestamp>, words: &str| {
        for roots in
            [Roots::Pinned(authority.fingerprint()), Roots::Certificates(vec![authority.der().to_vec()])]
        {
            let shown = CertifiedKey::new(shown.cert.clone(), Arc::clone(&shown.key));
            let tls = Tls { roots, floor, certificate: None };
            check_untrusted(Client::with_tls(&impostor(shown), None, tls).devices(), words);
        }
    };
    let soon = now() + UNUSED * 10;
    check(issue(&["plant.example", "127.0.0.2"], soon), None, "--public-name");
    check(issue(&["127.0.0.1"], now() - DAY / 2), None, "it has ended");
    // The clock may be set back; what is known of the time is not.
    check(issue(&["127.0.0.1"], soon), Some(soon + UNUSED), "it has ended");
    let key = key();
    let public = DeviceKey::parse(key.public_key_raw()).unwrap();
    let of_device = authority.issue_device(&name("press"), &public, now(), soon).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = ring::sign::any_supported_type(&secret).unwrap();
    let chain = vec![CertificateDer::from(of_device), CertificateDer::from(authority.der().to_vec())];
    check(CertifiedKey::new(chain, signing), None, "invalid peer certificate");
}

#[test]
fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
    let plant = plant();
    let first = device(&plant, "press");
    let advice = first.client(&plant).certificate_advice().unwrap();
    assert!(!advice.renew && advice.look_again_ms == 3_600_000);
    assert_eq!(advice.authorities, [plant.app.certificates.pin().unwrap()]);
    plant.pass(DAY * 60);
    assert!(first.client(&plant).certificate_advice().unwrap().renew);
    let second = first.renew(&plant);
    assert!(!second.client(&plant).certificate_advice().unwrap().renew);
    check_let_in(&first.client(&plant));
    let third = second.renew(&plant);
    check_refused(&first.client(&plant), "revoked");
    check_let_in(&second.client(&plant));
    plant.pass(DAY * 31);
    check_refused(&first.client(&plant), "revoked");
    check_let_in(&third.client(&plant));
    plant.stop();
}

#[test]
fn a_new_authority_serves_once_every_device_knows_it() {
    let plant = plant();
    let (press, drill) = (device(&plant, "press"), device(&plant, "drill"));
    let operator = plant.operator();
    let switch = |force| operator.switch_authority(&AuthoritySwitch { force });
    assert!(switch(false).is_err(), "there is nothing to switch to");
    let known = operator.rotate_authority().unwrap().authorities;
    assert!(known.len() == 2 && known[0].serves && !known[0].issues && known[1].issues);
    assert!(operator.rotate_authority().is_err(), "one at a time");
    assert!(press.client(&plant).certificate_advice().unwrap().renew);
    let renewed = press.renew(&plant);
    assert_eq!(renewed.given.authorities.len(), 2);
    let refusal = switch(false).unwrap_err().to_string();
    assert!(refusal.contains("1 devices") && refusal.contains("drill"), "{refusal}");
    check_let_in(&drill.client(&plant));
    let drilled = drill.renew(&plant);
    let known = switch(false).unwrap().authorities;
    assert!(known.len() == 1 && known[0].serves && known[0].devices == 2);
    check_let_in(&renewed.client(&plant));
    check_let_in(&drilled.client(&plant));
    // Devices drop the retired one as soon as they look again, and nobody shows what it issued any more.
    let advice = renewed.client(&plant).certificate_advice().unwrap();
    assert_eq!(advice.authorities, [known[0].fingerprint]);
    check_untrusted(look(&press.client(&plant)), "not stand on an authority");
    let late = Tls { roots: renewed.tls().roots, ..press.tls() };
    check_refused(&Client::with_tls(&plant.url, None, late), "revoked");
    let reopened = setup::open(plant.dir.path(), now());
    assert!(reopened.is_err(), "the folder is in use");
    plant.stop();
}

#[test]
fn a_second_start_serves_on_the_same_authority_and_a_damaged_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let setup = setup::open(folder.path(), now()).unwrap();
        Certificates::open(&setup.home, &TlsConfig::default(), now())
    };
    let first = open().unwrap().pin().unwrap();
    assert_eq!(open().unwrap().pin(), Some(first));
    let path = folder.path().join("keys/authorities.json");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut kept: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let other = Authority::make(now()).unwrap();
    kept["authorities"][0]["certificate"] = serde_json::to_value(Base64(other.der().to_vec())).unwrap();
    for bad in [kept.to_string(), "{}".to_owned(), String::new()] {
        std::fs::write(&path, bad).unwrap();
        let error = open().unwrap_err();
        assert!(matches!(error, TlsError::Damaged { .. }), "{error}");
    }
}

#[test]
fn an_operators_certificate_is_shown_by_name_and_the_fleets_by_address() {
    let folder = tempfile::tempdir().unwrap();
    let key = key();
    let public = CertificateParams::new(vec!["plant.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (chain, secret) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    std::fs::write(&chain, public.pem()).unwrap();
    std::fs::write(&secret, key.serialize_pem()).unwrap();
    let setup = setup::open(&folder.path().join("data"), now()).unwrap();
    let open = |chain: &Path, secret: &Path| {
        let public = Some((chain.to_owned(), secret.to_owned()));
        Certificates::open(&setup.home, &TlsConfig { public, ..TlsConfig::default() }, now())
    };
    let certificates = open(&chain, &secret).unwrap();
    assert_eq!((certificates.pin(), certificates.for_devices()), (None, Vec::new()));
    let shown = |name: &str| {
        let config = certificates.config(now()).unwrap();

        shake(config, name)
    };
    assert_eq!(shown("plant.example"), public.der().to_vec());
    assert_ne!(shown("localhost"), public.der().to_vec());
    assert_ne!(shown("127.0.0.1"), public.der().to_vec());
    std::fs::write(&secret, self::key().serialize_pem()).unwrap();
    assert!(matches!(open(&chain, &secret), Err(TlsError::Public { .. })), "another's key");
    assert!(matches!(open(&secret, &chain), Err(TlsError::Public { .. })), "no certificate");
}

/// Believes every server.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that a server with `config` shows to one who asks for `name`.
fn shake(config: Arc<RustlsConfig>, name: &str) -> Vec<u8> {
    let provider = Arc::new(ring::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(config).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut left = wire.as_slice();
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    client.peer_certificates().unwrap()[0].to_vec()
}
