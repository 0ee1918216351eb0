//! What only a database that several servers share must do: one chain whoever writes, one leader, news for everybody, and
//! going on after it was away.

#![expect(clippy::unwrap_used, reason = "a failed step of a test should panic where it happens")]

use std::time::{Duration, Instant};

use edgeward_core::{DeviceId, Digest, Event, Timestamp};
use edgeward_store::{Address, SCHEMA_VERSION, Seat, Store, StoreError};
use edgeward_testkit_postgres::{Database, database, database_with_tls};

const NOW: Timestamp = Timestamp(1);
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

fn enrolled(n: usize) -> Event {
    Event::DeviceEnrolled { device: DeviceId::new(format!("d{n}")).unwrap() }
}

fn open(database: &Database) -> Store {
    Store::connect(&database.url().parse().unwrap()).unwrap()
}

#[test]
fn appends_of_two_servers_form_one_chain() {
    const EACH: usize = 60;
    const THREADS: usize = 3;
    let Ok(database) = database() else { return };
    let servers = [open(&database), open(&database)];
    let raced = |store: &Store, from: usize| {
        for n in from..from + EACH {
            store.append(&[enrolled(2 * n), enrolled(2 * n + 1)], NOW).unwrap();
        }
    };
    std::thread::scope(|scope| {
        for (n, store) in servers.iter().enumerate() {
            for thread in 0..THREADS {
                scope.spawn(move || raced(store, (n * THREADS + thread) * EACH));
            }
        }
    });
    for store in &servers {
        assert_eq!(store.head().unwrap().len, (2 * 2 * THREADS * EACH) as u64);
        assert_eq!(store.verify().unwrap(), None);
    }
    let next = servers[0].head().unwrap();
    assert!(matches!(servers[1].append_if(3, &[enrolled(0)], NOW), Err(StoreError::Conflict { .. })));
    servers[1].append_if(next.len, &[enrolled(0)], NOW).unwrap();
}

#[test]
fn servers_that_start_at_once_make_the_tables_once() {
    let Ok(database) = database() else { return };
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| open(&database))).collect();
        for (n, start) in starts.into_iter().enumerate() {
            start.join().unwrap().append(&[enrolled(n)], NOW).unwrap();
        }
    });
    assert_eq!(open(&database).head().unwrap().len, 6);
}

#[test]
fn a_cut_connection_is_made_anew_and_loses_nothing_acknowledged() {
    let Ok(database) = database() else { return };
    let store = open(&database);
    store.append(&[enrolled(0)], NOW).unwrap();
    assert_eq!(store.head().unwrap().len, 1);
    assert!(database.cut() >= 2, "one connection wrote and one read");
    store.append(&[enrolled(1)], NOW).unwrap();
    assert_eq!(store.head().unwrap().len, 2);
    let cut_within: Result<(), StoreError> = store.write(|writer| {
        writer.append(enrolled(2), NOW)?;
        assert!(database.cut() >= 1);
        writer.append(enrolled(3), NOW)?;
        Ok(())
    });
    let text = cut_within.unwrap_err().to_string();
    assert!(text.contains("postgres://") && text.contains("in the database"), "{text}");
    store.append(&[enrolled(2)], NOW).unwrap();
    assert_eq!((store.head().unwrap().len, store.verify().unwrap()), (3, None));
}

#[test]
fn a_failed_statement_fails_its_transaction_even_if_nobody_minds() {
    let Ok(database) = database() else { return };
    let store = open(&database);
    let credential = Digest::of(b"credential");
    let device = DeviceId::new("d1").unwrap();
    let outcome: Result<(), StoreError> = store.write(|writer| {
        writer.append(enrolled(1), NOW)?;
        writer.put_credential(credential, &device, NOW)?;
        assert!(writer.put_credential(credential, &device, NOW).is_err());
        Ok(())
    });
    assert!(outcome.unwrap_err().to_string().contains("nothing was kept"));
    assert_eq!(store.head().unwrap().len, 0);
    store.append(&[enrolled(1)], NOW).unwrap();
}

/// Asks until `wanted` is what is heard.
fn until(seat: &mut Seat, wanted: impl Fn(&edgeward_store::Heard) -> bool) {
    let deadline = Instant::now() + LONG;
    loop {
        if seat.wait(SHORT).is_ok_and(|heard| wanted(&heard)) {
            return;
        }
        assert!(Instant::now() < deadline, "it never came");
    }
}

#[test]
fn one_leads_and_another_follows_when_it_is_gone() {
    let Ok(database) = database() else { return };
    let (first, second) = (open(&database), open(&database));
    let (mut leader, mut other) = (first.seat().unwrap(), second.seat().unwrap());
    assert!(leader.wait(SHORT).unwrap().leads);
    assert!(!other.wait(SHORT).unwrap().leads);
    assert!(leader.wait(SHORT).unwrap().leads);
    drop(leader);
    until(&mut other, |heard| heard.leads);
    let mut leader = first.seat().unwrap();
    assert!(!leader.wait(SHORT).unwrap().leads);
    // Cut off, neither believes that it leads; then one does again.
    assert!(database.cut() >= 2);
    assert!(other.wait(SHORT).is_err());
    until(&mut other, |heard| heard.leads || !heard.is_new);
    let leads = [other.wait(SHORT).unwrap().leads, leader.wait(SHORT).is_ok_and(|heard| heard.leads)];
    assert!(!(leads[0] && leads[1]));
    assert!(Store::in_memory().unwrap().seat().is_none());
}

#[test]
fn news_reach_every_server_once_they_are_committed() {
    let Ok(database) = database() else { return };
    let (first, second) = (open(&database), open(&database));
    let mut seat = second.seat().unwrap();
    assert!(seat.wait(SHORT).unwrap().is_new);
    let dropped: Result<(), StoreError> = first.write(|writer| {
        writer.announce("never")?;
        Err(StoreError::Conflict { expected: 0, found: 0 })
    });
    assert!(dropped.is_err());
    first.write::<_, StoreError>(|writer| writer.announce("look")).unwrap();
    let mut heard = Vec::new();
    while heard.is_empty() {
        heard = seat.wait(LONG).unwrap().news;
    }
    assert_eq!(heard, ["look"]);
}

#[test]
fn other_versions_are_refused() {
    let Ok(database) = database() else { return };
    let address: Address = database.url().parse().unwrap();
    let refusal = |opened: Result<Store, StoreError>| opened.err().unwrap();
    assert!(matches!(refusal(Store::connect_read_only(&address)), StoreError::OlderSchema { found: 0, .. }));
    open(&database).append(&[enrolled(0)], NOW).unwrap();
    let reading = Store::connect_read_only(&address).unwrap();
    assert_eq!((reading.head().unwrap().len, reading.verify().unwrap()), (1, None));
    assert!(reading.append(&[enrolled(1)], NOW).is_err());
    let newer = format!("UPDATE edgeward_schema SET version = {}", SCHEMA_VERSION + 1);
    database.client().batch_execute(&newer).unwrap();
    assert!(matches!(refusal(Store::connect(&address)), StoreError::NewerSchema { .. }));
    assert!(matches!(refusal(Store::connect_read_only(&address)), StoreError::NewerSchema { .. }));
}

#[test]
fn what_cannot_be_reached_says_what_to_do() {
    let refused = |url: &str| Store::connect(&url.parse().unwrap()).err().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(&format!("postgres://ann:s3cret@127.0.0.1:{free}/fleet"));
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("cannot be reached") && text.contains(&format!("ann@127.0.0.1:{free}/fleet")),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");
    let Ok(database) = database() else { return };
    let nowhere = database.url().replace("search_path%3Dedgeward", "search_path%3Dnowhere");
    assert!(matches!(refused(&nowhere), StoreError::NoSchema { .. }));
}

#[test]
fn under_tls_only_the_right_server_is_spoken_to() {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (own, other) = (made("localhost"), made("localhost"));
    let Ok(database) = database_with_tls(&own.cert.pem(), &own.signing_key.serialize_pem()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (root("right.pem", own.cert.pem()), root("wrong.pem", other.cert.pem()));
    let open = |host: &str, root: &str| {
        let url = database.url().replace("127.0.0.1", host);
        Store::connect(&format!("{url}&sslmode=verify-full&sslrootcert={root}").parse().unwrap())
    };
    let store = open("localhost", &right).unwrap();
    store.append(&[enrolled(0)], NOW).unwrap();
    const ENCRYPTED: &str = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND application_name LIKE 'edgeward_test%'";
    let encrypted: i64 = database.client().query_one(ENCRYPTED, &[]).unwrap().get(0);
    assert!(encrypted >= 1);
    for (host, root) in [("localhost", &wrong), ("127.0.0.1", &right)] {
        let error = open(host, root).err().unwrap();
        assert!(error.to_string().contains("its certificate"), "{host}: {error}");
    }
}
