//! Thousands of mutations of a ledger, each found, and the first bad entry named.

use edgeward_core::ledger::Chain;
use edgeward_core::{DeviceId, Digest, Event, Timestamp};
use edgeward_store::{Checkpoint, Head, RawEntry, SealedEntry, StoreError};
use edgeward_trust::tree::{Frontier, TreeHead, leaf_hash};
use edgeward_trust::{LedgerKeys, Signer as _, SigningKey, seal};

use crate::audit::{AuditFault, Identity, Ledger, Verified, Witness, audit};

/// Entries of the ledger; checkpoints cover 6, 12, 18 and 22 of them.
const ENTRIES: u64 = 24;
const COVERED: [u64; 4] = [6, 12, 18, 22];

/// A ledger in memory, to be damaged.
#[derive(Clone)]
struct Book {
    entries: Vec<SealedEntry>,
    head: Head,
    checkpoints: Vec<Checkpoint>,
}

impl Ledger for Book {
    fn entries(&self, from: u64) -> Result<Vec<SealedEntry>, StoreError> {
        Ok(self.entries.iter().filter(|sealed| sealed.entry.seq >= from).cloned().collect())
    }

    fn head(&self) -> Result<Head, StoreError> {
        Ok(self.head)
    }

    fn checkpoints(&self) -> Result<Vec<Checkpoint>, StoreError> {
        Ok(self.checkpoints.clone())
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[4; 32])
}

fn identity() -> Identity {
    Identity::of(LedgerKeys { keys: vec![key().public_key()], threshold: 1 })
}

fn checkpoint(head: TreeHead) -> Checkpoint {
    let signed = edgeward_trust::Checkpoint { origin: identity().origin, head };
    let note = signed.sign(&[&key()]).unwrap();
    Checkpoint { size: head.size, root: head.root, note, at_ms: Timestamp(0) }
}

/// A ledger whose entries from `fork` on are others, signed by `signer`.
fn book(len: u64, fork: u64, signer: &SigningKey) -> Book {
    let (mut chain, mut tree) = (Chain::default(), Frontier::default());
    let mut book = Book {
        entries: Vec::new(),
        head: Head { len: 0, hash: edgeward_core::ledger::GENESIS },
        checkpoints: Vec::new(),
    };
    for seq in 0..len {
        let name = if seq < fork { format!("d{seq}") } else { format!("forged-{seq}") };
        let event = Event::DeviceEnrolled { device: DeviceId::new(name).unwrap() };
        let (_, bytes) = chain.append(event, Timestamp(1_000 + seq as i64)).unwrap();
        let seal = seal::sign(&identity().origin, seq, &bytes, signer).unwrap().to_vec();
        tree.push(leaf_hash(&bytes));
        book.entries.push(SealedEntry { entry: RawEntry { seq, bytes }, seal: Some(seal) });
        if COVERED.contains(&(seq + 1)) {
            book.checkpoints.push(checkpoint(tree.head()));
        }
    }
    book.head = Head { len, hash: chain.head() };
    book
}

fn whole() -> Book {
    book(ENTRIES, ENTRIES, &key())
}

/// What the file beside the keys says: the latest checkpoint.
fn witness() -> Witness {
    Witness { by: "a device".into(), note: whole().checkpoints.pop().unwrap().note }
}

fn check(book: &Book) -> Result<Verified, AuditFault> {
    audit(book, &identity(), &[witness()])
}

/// The first bad entry that the audit names.
#[track_caller]
fn named(book: &Book) -> Option<u64> {
    check(book).expect_err("an audit finds every mutation").first_bad()
}

#[test]
fn an_untouched_ledger_is_verified() {
    let verified = check(&whole()).unwrap();
    assert_eq!((verified.entries, verified.checkpoints, verified.unsigned), (ENTRIES, 4, 2));
}

#[test]
fn every_byte_of_every_entry_and_seal_is_guarded_and_the_entry_named() {
    let (good, mut tried) = (whole(), 0);
    for place in 0..good.entries.len() {
        let flips = |len: usize| (0..len).map(|at| (at, 1_u8 << (at % 8)));
        for (at, bit) in flips(good.entries[place].entry.bytes.len()) {
            let mut bad = good.clone();
            bad.entries[place].entry.bytes[at] ^= bit;
            assert_eq!(named(&bad), Some(place as u64), "byte {at} of entry {place}");
            tried += 1;
        }
        for (at, bit) in flips(64).step_by(4) {
            let mut bad = good.clone();
            bad.entries[place].seal.as_mut().unwrap()[at] ^= bit;
            assert_eq!(named(&bad), Some(place as u64), "byte {at} of seal {place}");
            tried += 1;
        }
    }
    assert!(tried > 3_000, "{tried}");
}

#[test]
fn rows_that_are_dropped_moved_doubled_or_cut_are_named() {
    let good = whole();
    for place in 0..good.entries.len() {
        let seq = place as u64;
        let mut dropped = good.clone();
        dropped.entries.remove(place);
        assert_eq!(named(&dropped), Some(seq));
        for (at, sealed) in dropped.entries.iter_mut().enumerate() {
            sealed.entry.seq = at as u64;
        }
        assert_eq!(named(&dropped), Some(seq), "dropped, and the others moved up");
        for other in place + 1..good.entries.len() {
            let mut swapped = good.clone();
            swapped.entries.swap(place, other);
            swapped.entries[place].entry.seq = seq;
            swapped.entries[other].entry.seq = other as u64;
            assert_eq!(named(&swapped), Some(seq), "{place} and {other}");
        }
        let mut unsealed = good.clone();
        unsealed.entries[place].seal = None;
        assert_eq!(named(&unsealed), Some(seq));
        for len in (0..good.entries[place].entry.bytes.len()).step_by(7) {
            let mut cut = good.clone();
            cut.entries[place].entry.bytes.truncate(len);
            assert_eq!(named(&cut), Some(seq), "{place} cut to {len}");
        }
    }
}

#[test]
fn a_ledger_that_was_cut_back_is_found_by_its_head_its_checkpoints_and_its_witnesses() {
    for len in 0..ENTRIES {
        let mut cut = whole();
        cut.entries.truncate(len as usize);
        assert_eq!(named(&cut), Some(len));
        cut.head = book(len, len, &key()).head;
        if len < 22 {
            assert_eq!(named(&cut), Some(len), "its checkpoints remain");
            cut.checkpoints.retain(|kept| kept.size <= len);
            assert_eq!(named(&cut), Some(len), "a witness remains");
        }
    }
}

#[test]
fn a_history_that_was_written_anew_is_found_at_its_first_entry() {
    let stranger = SigningKey::from_seed(&[9; 32]);
    for fork in 0..ENTRIES {
        // Everything follows from everything, but for the signatures that nobody else can make.
        let forged = Book { checkpoints: whole().checkpoints, ..book(ENTRIES, fork, &stranger) };
        let mut mixed = forged.clone();
        mixed.entries[..fork as usize].clone_from_slice(&whole().entries[..fork as usize]);
        assert_eq!(named(&mixed), Some(fork));
        // Even whoever holds the key cannot fork what a witness saw; how far it is the same, another witness tells.
        let forked = book(ENTRIES, fork, &key());
        let early = Witness { by: "another device".into(), note: whole().checkpoints.remove(1).note };
        let found = audit(&forked, &identity(), &[witness(), early]);
        match fork {
            0..12 => assert_eq!(found.unwrap_err().first_bad(), Some(0)),
            12..22 => assert_eq!(found.unwrap_err().first_bad(), Some(12)),
            _ => assert!(found.is_ok(), "nobody saw what came after"),
        }
    }
}

#[test]
fn checkpoints_that_were_edited_forged_or_deleted_are_found() {
    let good = whole();
    let none = Book { checkpoints: Vec::new(), ..good.clone() };
    assert!(matches!(check(&none), Err(AuditFault::CheckpointsDeleted { kept: 0, size: 22, .. })));
    for place in 0..good.checkpoints.len() {
        let mut fewer = good.clone();
        fewer.checkpoints.truncate(place);
        assert!(matches!(check(&fewer), Err(AuditFault::CheckpointsDeleted { size: 22, .. })));
        let mut edited = good.clone();
        edited.checkpoints[place].root = Digest::of(b"another");
        assert!(matches!(check(&edited), Err(AuditFault::CheckpointEdited { .. })));
        for at in 0..good.checkpoints[place].note.len() {
            let mut note = good.checkpoints[place].note.clone().into_bytes();
            note[at] ^= 1;
            let mut edited = good.clone();
            edited.checkpoints[place].note = String::from_utf8_lossy(&note).into_owned();
            assert!(check(&edited).is_err(), "byte {at} of checkpoint {place}");
        }
    }
}
