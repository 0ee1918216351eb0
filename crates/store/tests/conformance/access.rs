//! What a store must keep of who may do what: tokens, credentials, and devices that are shut out.

use edgeward_core::{AccessChange, Digest, Event, Role, Timestamp, TokenId};
use edgeward_store::{JoinOutcome, Store, StoreError, TokenRow};

use super::{NOW, device, enrolled, model, read, refused};

pub(super) fn tokens_and_credentials(store: &Store) {
    let (token, credential) = (Digest::of(b"token"), Digest::of(b"credential"));
    let consume = |at| store.write::<_, StoreError>(|w| w.consume_join_token(token, Timestamp(at))).unwrap();
    assert_eq!(consume(0), JoinOutcome::Unknown);
    store.write::<_, StoreError>(|writer| writer.put_join_token(token, Timestamp(100), 2, None)).unwrap();
    assert_eq!(consume(100), JoinOutcome::Expired);
    assert_eq!(
        [consume(99), consume(99), consume(99)],
        [JoinOutcome::Accepted(None), JoinOutcome::Accepted(None), JoinOutcome::UsedUp]
    );
    let who = || read(store, |view| view.device_by_credential(credential));
    assert_eq!(who(), None);
    store.write::<_, StoreError>(|writer| writer.put_credential(credential, &device(1), NOW)).unwrap();
    assert_eq!(who(), Some(device(1)));
    assert_eq!(store.write::<_, StoreError>(|writer| writer.revoke_credentials(&device(1))).unwrap(), 1);
    assert_eq!(who(), None);
}

pub(super) fn a_token_for_a_device_names_it(store: &Store) {
    let token = Digest::of(b"token");
    store
        .write::<_, StoreError>(|writer| writer.put_join_token(token, Timestamp(100), 1, Some(&device(1))))
        .unwrap();
    let outcome = store.write::<_, StoreError>(|w| w.consume_join_token(token, Timestamp(0))).unwrap();
    assert_eq!(outcome, JoinOutcome::Accepted(Some(device(1))));
}

pub(super) fn operator_tokens(store: &Store) {
    let token = |id: &str, expires: Option<i64>| TokenRow {
        id: TokenId::new(id).unwrap(),
        name: "ann".to_owned(),
        role: Role::Approver,
        created_at_ms: Timestamp(1),
        expires_at_ms: expires.map(Timestamp),
        revoked_at_ms: None,
    };
    let put = |secret: &str, token: &TokenRow| {
        store.write::<_, StoreError>(|w| w.put_operator_token(Digest::of(secret.as_bytes()), token))
    };
    let (first, second) = (token("t-1", None), token("t-2", Some(50)));
    put("one", &first).unwrap();
    put("two", &second).unwrap();
    assert!(put("two", &token("t-3", None)).is_err() && put("three", &first).is_err());
    let find = |secret: &[u8]| read(store, |view| view.operator_token(Digest::of(secret)));
    assert_eq!((find(b"one"), find(b"guess")), (Some(first.clone()), None));
    assert!(second.is_valid(Timestamp(49)) && !second.is_valid(Timestamp(50)));
    let revoke = || store.write::<_, StoreError>(|w| w.revoke_operator_token(&first.id, NOW)).unwrap();
    assert_eq!([revoke(), revoke()], [true, false]);
    assert!(!find(b"one").unwrap().is_valid(Timestamp(0)));
    assert_eq!(read(store, |view| view.operator_tokens()).len(), 2);
}

pub(super) fn a_revoked_device_stays_known_until_it_joins_again(store: &Store) {
    store.append(&[enrolled(1)], NOW).unwrap();
    let revoked = |n| {
        let (cause, by) = ("lost".to_owned(), "local".to_owned());
        Event::AccessChanged(AccessChange::DeviceRevoked { device: device(n), cause, by })
    };
    refused(store, revoked(2));
    store.append(&[revoked(1)], NOW).unwrap();
    refused(store, revoked(1));
    store.rebuild().unwrap();
    let since = || read(store, |view| view.device(&device(1))).unwrap().revoked_at_ms;
    let rolled_out_to = || read(store, |view| view.device_states(&model())).len();
    assert_eq!((since(), rolled_out_to()), (Some(NOW), 0));
    store.append(&[enrolled(1)], NOW).unwrap();
    assert_eq!((since(), rolled_out_to()), (None, 1));
}
