//! Names for runs that nobody named.

use crate::secret::{self, NoRandomness};

const FIRST: [&str; 32] = [
    "amber", "brisk", "calm", "clever", "crisp", "dapper", "eager", "early", "fair", "fleet", "fond",
    "frosty", "gentle", "glad", "golden", "hardy", "honest", "keen", "lively", "lucky", "mellow", "nimble",
    "patient", "plain", "proud", "quiet", "rapid", "silver", "steady", "sunny", "vivid", "warm",
];
const SECOND: [&str; 32] = [
    "badger", "beetle", "bison", "crane", "curlew", "dolphin", "falcon", "ferret", "finch", "gecko", "heron",
    "ibis", "jackdaw", "kestrel", "lark", "lynx", "marten", "newt", "otter", "owl", "panda", "puffin",
    "quail", "raven", "robin", "seal", "shrew", "stork", "swift", "tern", "vole", "wren",
];

/// Such as `keen-otter-417`.
pub(crate) fn run_name() -> Result<String, NoRandomness> {
    let [first, second, high, low] = secret::random::<4>()?;
    let number = u16::from_be_bytes([high, low]) % 1000;
    let (first, second) =
        (FIRST[usize::from(first) % FIRST.len()], SECOND[usize::from(second) % SECOND.len()]);
    Ok(format!("{first}-{second}-{number}"))
}

/// 32 hexadecimal digits nobody can guess.
pub(crate) fn fresh_id() -> Result<String, NoRandomness> {
    Ok(hex::encode(secret::random::<16>()?))
}
