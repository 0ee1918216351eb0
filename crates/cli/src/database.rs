//! The database's address, from its flag or the environment. It may hold a password, so it is never shown as it was given.

use edgeward_store::Address;

use crate::args::DatabaseArgs;
use crate::output::{Failure, with_causes};

/// The database to use; none where it is the file in the data folder.
pub(crate) fn address(args: &DatabaseArgs) -> Result<Option<Address>, Failure> {
    let parsed = args.database.as_ref().map(|text| text.parse::<Address>()).transpose();
    parsed.map_err(|error| {
        Failure::new("database", format!("using --database or EDGEWARD_DATABASE: {}", with_causes(&error)))
    })
}
