//! The steps that lead to the tables, for each database.

/// Version of the schema that this program reads and writes.
pub const SCHEMA_VERSION: u32 = SQLITE.len() as u32;

/// Step `n` leads from version `n` to version `n + 1`. A published step never changes.
pub(crate) const SQLITE: [&str; 16] = [
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_quarantine.sql"),
    include_str!("../migrations/0003_performance.sql"),
    include_str!("../migrations/0004_rollouts.sql"),
    include_str!("../migrations/0005_access.sql"),
    include_str!("../migrations/0006_groups.sql"),
    include_str!("../migrations/0007_seals.sql"),
    include_str!("../migrations/0008_commits.sql"),
    include_str!("../migrations/0009_certificates.sql"),
    include_str!("../migrations/0010_repository.sql"),
    include_str!("../migrations/0011_records.sql"),
    include_str!("../migrations/0012_shadows.sql"),
    include_str!("../migrations/0013_kept_files.sql"),
    include_str!("../migrations/0014_forgetting.sql"),
    include_str!("../migrations/0015_mlflow.sql"),
    include_str!("../migrations/0016_acknowledged.sql"),
];

/// The version that an empty PostgreSQL database gets with its first step: none is older.
pub(crate) const POSTGRES_FIRST: usize = 13;

/// The first step leads to version [`POSTGRES_FIRST`], each other from one version to the next: whoever adds a step for
/// SQLite adds one here.
pub(crate) const POSTGRES: [&str; SQLITE.len() - POSTGRES_FIRST + 1] = [
    include_str!("../migrations/postgres/0013_first.sql"),
    include_str!("../migrations/postgres/0014_forgetting.sql"),
    include_str!("../migrations/postgres/0015_mlflow.sql"),
    include_str!("../migrations/postgres/0016_acknowledged.sql"),
];
