//! Certificates of devices and the authorities that issue them.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use edgeward_api::access::{
    Authorities, AuthoritySwitch, CertificateAdvice, CertificateRequest, DeviceCertificate,
};
use edgeward_api::{Problem, routes};
use edgeward_core::envelope::Base64;
use edgeward_core::{AccessChange, DeviceId, Digest, Event};
use edgeward_store::CertificateRow;

use super::device::device;
use crate::access::Caller;
use crate::app::{App, Decision, blocking};
use crate::extract::Document;
use crate::failure::Failure;
use crate::tls::{Certificates, DeviceKey, Peer, TlsError};

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Order(reason) => Self::conflict(reason).hint("See edgeward ca ls."),
            TlsError::Setup(_) => Self::unavailable("keeping the certificate authorities", &error),
            _ => Self::internal("making a certificate", &error),
        }
    }
}

/// The key in a request.
pub(crate) fn parse_key(public_key: &Base64) -> Result<DeviceKey, Failure> {
    DeviceKey::parse(&public_key.0).ok_or_else(|| {
        Failure::invalid("the public key is no uncompressed point of P-256: 65 bytes, the first of them 4")
    })
}

/// Gives a device a certificate for `key`, in the transaction of `decision`.
pub(crate) fn issue(
    decision: &Decision<'_, '_>,
    certificates: &Certificates,
    device: &DeviceId,
    key: &DeviceKey,
) -> Result<(Digest, DeviceCertificate), Failure> {
    let issued = certificates.issue(device, key, decision.now())?;
    decision.put_certificate(issued.fingerprint, &issued.row)?;
    let CertificateRow { device, authority, issued_at_ms, expires_at_ms, .. } = issued.row;
    decision.append(Event::AccessChanged(AccessChange::CertificateIssued {
        device,
        certificate: issued.fingerprint,
        authority,
        expires_at_ms,
    }))?;
    let certificate = DeviceCertificate {
        certificate: Base64(issued.certificate),
        issued_at_ms,
        expires_at_ms,
        authorities: certificates.for_devices(),
    };
    Ok((issued.fingerprint, certificate))
}

/// What the device should do about its certificate.
#[utoipa::path(get, path = routes::CERTIFICATE, responses((status = 200, body = CertificateAdvice)))]
pub(crate) async fn advice(
    State(app): State<Arc<App>>,
    peer: Peer,
) -> Result<Json<CertificateAdvice>, Failure> {
    let row = match peer.certificate {
        Some(fingerprint) => app.read(move |view| Ok::<_, Failure>(view.certificate(fingerprint)?)).await?,
        None => None,
    };
    let mut advice = app.certificates.advice(row.as_ref(), app.now());
    // Without TLS, as behind a proxy that ends it, no certificate would ever be shown.
    advice.renew &= peer.tls;
    Ok(Json(advice))
}

/// Another certificate for the device. The one it shows goes on to count, earlier ones and bearer credentials do not.
#[utoipa::path(post, path = routes::CERTIFICATE, request_body = CertificateRequest,
    responses((status = 200, body = DeviceCertificate), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn renew(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    peer: Peer,
    Document(request): Document<CertificateRequest>,
) -> Result<Json<DeviceCertificate>, Failure> {
    let device = device(caller)?;
    if !peer.tls {
        return Err(Failure::conflict("without TLS a certificate is of no use")
            .hint("Start the control plane with --tls, and use its https:// address."));
    }
    let key = parse_key(&request.public_key)?;
    let certificates = Arc::clone(&app.certificates);
    let issued = app.decide(move |decision| {
        let (fingerprint, issued) = issue(decision, &certificates, &device, &key)?;
        let kept: Vec<Digest> = peer.certificate.into_iter().chain([fingerprint]).collect();
        decision.revoke_certificates(&device, &kept)?;
        decision.revoke_bearers(&device)?;
        Ok::<_, Failure>(issued)
    });
    Ok(Json(issued.await?))
}

/// The certificate authorities of the fleet.
#[utoipa::path(get, path = routes::AUTHORITIES, responses((status = 200, body = Authorities)))]
pub(crate) async fn authorities(State(app): State<Arc<App>>) -> Result<Json<Authorities>, Failure> {
    let now = app.now();
    let newest = app.read(move |view| Ok::<_, Failure>(view.newest_authorities(now)?)).await?;
    Ok(Json(app.certificates.list(&newest)))
}

/// Makes a further authority. It issues from now on; devices learn of it when they next look at their certificates.
#[utoipa::path(post, path = routes::AUTHORITY_ROTATE,
    responses((status = 200, body = Authorities), (status = 409, body = Problem)))]
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Authorities>, Failure> {
    let (certificates, now) = (Arc::clone(&app.certificates), app.now());
    let authority = blocking(move || certificates.rotate(now).map_err(Failure::from)).await?;
    let change = AccessChange::AuthorityMade { authority, by: caller.name() };
    app.decide(move |decision| decision.append(Event::AccessChanged(change)).map_err(Failure::from)).await?;
    authorities(State(app)).await
}

/// Lets the newest authority serve alone, once every device knows it, or by force.
#[utoipa::path(post, path = routes::AUTHORITY_SWITCH, request_body = AuthoritySwitch,
    responses((status = 200, body = Authorities), (status = 409, body = Problem)))]
pub(crate) async fn switch(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Document(AuthoritySwitch { force }): Document<AuthoritySwitch>,
) -> Result<Json<Authorities>, Failure> {
    let introduced = app.certificates.introduced();
    let introduced = introduced.ok_or(TlsError::Order("no new authority is being introduced"))?;
    let now = app.now();
    let newest = app.read(move |view| Ok::<_, Failure>(view.newest_authorities(now)?)).await?;
    let behind: Vec<&DeviceId> =
        newest.iter().filter(|(_, authority)| *authority != introduced).map(|(device, _)| device).collect();
    if let (Some(first), false) = (behind.first(), force) {
        return Err(Failure::conflict(format!(
            "{} devices do not know the new authority yet, {first} for one",
            behind.len()
        ))
        .hint(
            "Wait until they have looked at their certificates, or force it: they then have to join again.",
        ));
    }
    let certificates = Arc::clone(&app.certificates);
    let retired = blocking(move || certificates.switch().map_err(Failure::from)).await?;
    app.decide(move |decision| {
        decision.retire_authority(retired)?;
        let change = AccessChange::AuthorityRetired { authority: retired, by: caller.name() };
        decision.append(Event::AccessChanged(change)).map_err(Failure::from)
    })
    .await?;
    authorities(State(app)).await
}
