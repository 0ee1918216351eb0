//! Records of predictions on a disk that others fill: they give way, and nothing stops.

use std::path::Path;
use std::sync::Arc;

use edgeward_agent::disk::Disk;
use edgeward_agent::spool::{Lane, Spool};
use edgeward_testkit::power::disk::{Lie, SimDisk};

/// Bytes of one record.
const RECORD: usize = 200;
/// What the spool may take; the disk has less.
const SPOOL: u64 = 16_000;

fn record(n: u8) -> Vec<u8> {
    vec![n; RECORD]
}

#[test]
fn on_a_full_disk_the_oldest_records_go_first_and_every_other_kind_still_finds_room() {
    let disk = SimDisk::recording(Lie::Honest);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = Spool::open_on(&shared, Path::new("/spool"), SPOOL).expect("an empty disk takes a spool");
    disk.leave_room(Some(6_000));
    let taken = (0..100).filter(|n| spool.offer(Lane::Records, &record(*n))).count();
    assert_eq!(taken, 100, "an old record goes for each new one");
    let kept = spool.batch(Lane::Records, 1_000, usize::MAX);
    assert!(kept.len() < 30 && kept.last().is_some_and(|(seq, bytes)| *seq == 100 && bytes[0] == 99));
    assert_eq!(kept.len() as u64 + spool.dropped(Lane::Records), 100, "what is gone is counted");

    // An alert takes the place of records.
    for n in 0..8 {
        spool.append(Lane::Alerts, &record(n)).expect("an alert finds room");
    }
    assert_eq!((spool.waiting(Lane::Alerts), spool.dropped(Lane::Alerts)), (8, 0));
    assert!(spool.batch(Lane::Records, 1_000, usize::MAX).len() < kept.len());

    // Not even room for one more: it is lost and counted, and whoever asked goes on.
    disk.leave_room(Some(0));
    let before = spool.dropped(Lane::Records);
    for n in 0..100 {
        spool.offer(Lane::Records, &record(n));
    }
    assert!(spool.dropped(Lane::Records) >= before + 90);
    disk.leave_room(None);
    assert!(spool.offer(Lane::Records, &record(7)));
    let (_, last) = spool.batch(Lane::Records, 1_000, usize::MAX).pop().expect("one is there");
    assert_eq!(last, record(7));
}
