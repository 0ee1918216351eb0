-- The ledger is the truth. Tables under "projections" follow from it and can be rebuilt.

CREATE TABLE ledger (
    seq   INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

-- What the last append left behind; an audit compares the entries with it.
CREATE TABLE ledger_head (
    id   INTEGER PRIMARY KEY CHECK (id = 0),
    len  INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;

CREATE TABLE checkpoints (
    size  INTEGER PRIMARY KEY,
    root  TEXT NOT NULL,
    note  TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

-- Projections.

CREATE TABLE devices (
    id             TEXT PRIMARY KEY,
    enrolled_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    name          TEXT PRIMARY KEY,
    updated_at_ms INTEGER NOT NULL,
    document      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id              TEXT PRIMARY KEY,
    seq             INTEGER NOT NULL,
    project         TEXT NOT NULL,
    cause           TEXT NOT NULL,
    runner          TEXT NOT NULL,
    requested_at_ms INTEGER NOT NULL,
    finished_at_ms  INTEGER,
    outcome         TEXT
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX runs_one_under_way ON runs (project) WHERE finished_at_ms IS NULL;
CREATE INDEX runs_by_seq ON runs (seq);

CREATE TABLE gates (
    run    TEXT NOT NULL REFERENCES runs (id),
    gate   TEXT NOT NULL,
    seq    INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run, gate)
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    model            TEXT NOT NULL,
    version          INTEGER NOT NULL,
    bundle           TEXT NOT NULL,
    run              TEXT NOT NULL,
    metrics          TEXT NOT NULL,
    release          TEXT NOT NULL,
    registered_at_ms INTEGER NOT NULL,
    PRIMARY KEY (model, version),
    UNIQUE (model, bundle)
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    model       TEXT NOT NULL,
    alias       TEXT NOT NULL,
    version     INTEGER NOT NULL,
    moved_at_ms INTEGER NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollouts (
    id             TEXT PRIMARY KEY,
    seq            INTEGER NOT NULL,
    model          TEXT NOT NULL,
    version        INTEGER NOT NULL,
    bundle         TEXT NOT NULL,
    from_bundle    TEXT,
    policy         TEXT NOT NULL,
    cause          TEXT NOT NULL,
    started_at_ms  INTEGER NOT NULL,
    wave           INTEGER,
    wave_limit     TEXT,
    wave_since_ms  INTEGER,
    outcome        TEXT,
    finished_at_ms INTEGER,
    reasons        TEXT NOT NULL,
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX rollouts_one_under_way ON rollouts (model) WHERE finished_at_ms IS NULL;
CREATE INDEX rollouts_by_seq ON rollouts (seq);

CREATE TABLE alerts (
    id       TEXT PRIMARY KEY,
    seq      INTEGER NOT NULL,
    model    TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_by_model ON alerts (model, seq);
CREATE INDEX alerts_by_seq ON alerts (seq);

-- Observations: bulky, may expire, no part of the ledger.

CREATE TABLE reports (
    device                TEXT PRIMARY KEY,
    session               TEXT NOT NULL,
    session_started_at_ms INTEGER NOT NULL,
    seq                   INTEGER NOT NULL,
    received_at_ms        INTEGER NOT NULL,
    document              TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE profiles (
    device         TEXT NOT NULL,
    session        TEXT NOT NULL,
    seq            INTEGER NOT NULL,
    model          TEXT NOT NULL,
    bundle         TEXT NOT NULL,
    from_ms        INTEGER NOT NULL,
    to_ms          INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    labelled       INTEGER NOT NULL,
    correct        INTEGER NOT NULL,
    profile        BLOB NOT NULL,
    PRIMARY KEY (device, session, seq)
) STRICT;
CREATE INDEX profiles_by_time ON profiles (model, bundle, to_ms);
CREATE INDEX profiles_by_age ON profiles (received_at_ms);

CREATE TABLE samples (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    device         TEXT NOT NULL,
    prediction     TEXT NOT NULL,
    row            INTEGER NOT NULL,
    model          TEXT NOT NULL,
    bundle         TEXT NOT NULL,
    at_ms          INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    features       BLOB NOT NULL,
    row_digest     TEXT NOT NULL,
    predicted      TEXT,
    label          TEXT,
    UNIQUE (device, prediction, row)
) STRICT;
CREATE INDEX samples_by_model ON samples (model, seq);
CREATE INDEX samples_labelled ON samples (model, seq) WHERE label IS NOT NULL;
CREATE INDEX samples_labelled_by_time ON samples (model, received_at_ms) WHERE label IS NOT NULL;

-- Credentials: only hashes, never the secrets.

CREATE TABLE join_tokens (
    hash          TEXT PRIMARY KEY,
    expires_at_ms INTEGER NOT NULL,
    uses_left     INTEGER NOT NULL CHECK (uses_left >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_credentials (
    hash         TEXT PRIMARY KEY,
    device       TEXT NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    revoked      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX device_credentials_by_device ON device_credentials (device);

-- Signed desired states.

CREATE TABLE desired (
    generation INTEGER PRIMARY KEY,
    envelope   TEXT NOT NULL
) STRICT;
