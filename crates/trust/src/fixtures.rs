//! Keys that the tests of this crate share. Key 4 signs the ledger.

use crate::fleet::LedgerKeys;
use crate::key::{Signer as _, SigningKey};

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(crate) fn ledger() -> LedgerKeys {
    LedgerKeys { keys: vec![key(4).public_key()], threshold: 1 }
}
