-- What the steps for SQLite lead to up to version 13, in one. Names sort by their bytes, as they do there.

-- The same functions by the same names, so that a query is written once.
CREATE FUNCTION json_extract(document TEXT, path TEXT) RETURNS TEXT
    LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT CASE WHEN position('\u0000' IN document) > 0 THEN NULL
        ELSE CAST(document AS JSON) ->> substr(path, 3) END $$;
CREATE FUNCTION instr(hay BYTEA, needle BYTEA) RETURNS INTEGER
    LANGUAGE SQL IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT position(needle IN hay) $$;

CREATE TABLE ledger (
    seq   BIGINT PRIMARY KEY,
    bytes BYTEA NOT NULL
);

CREATE TABLE ledger_head (
    id   BIGINT PRIMARY KEY CHECK (id = 0),
    len  BIGINT NOT NULL,
    hash TEXT COLLATE "C" NOT NULL
);

CREATE TABLE seals (
    seq  BIGINT PRIMARY KEY,
    seal BYTEA NOT NULL
);

CREATE TABLE checkpoints (
    size  BIGINT PRIMARY KEY,
    root  TEXT COLLATE "C" NOT NULL,
    note  TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);

-- Projections.

CREATE TABLE devices (
    id             TEXT COLLATE "C" PRIMARY KEY,
    enrolled_at_ms BIGINT NOT NULL,
    revoked_at_ms  BIGINT
);

CREATE TABLE device_labels (
    device TEXT COLLATE "C" NOT NULL,
    key    TEXT COLLATE "C" NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (device, key)
);

CREATE TABLE groups (
    name       TEXT COLLATE "C" PRIMARY KEY,
    expression TEXT NOT NULL
);

CREATE TABLE group_bundles (
    model      TEXT COLLATE "C" NOT NULL,
    group_name TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    bundle     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (model, group_name)
);

CREATE TABLE pins (
    model  TEXT COLLATE "C" NOT NULL,
    device TEXT COLLATE "C" NOT NULL,
    bundle TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (model, device)
);

CREATE TABLE projects (
    name          TEXT COLLATE "C" PRIMARY KEY,
    updated_at_ms BIGINT NOT NULL,
    document      TEXT NOT NULL
);

CREATE TABLE runs (
    id              TEXT COLLATE "C" PRIMARY KEY,
    seq             BIGINT NOT NULL,
    project         TEXT COLLATE "C" NOT NULL,
    cause           TEXT NOT NULL,
    runner          TEXT NOT NULL,
    requested_at_ms BIGINT NOT NULL,
    finished_at_ms  BIGINT,
    outcome         TEXT,
    pipeline_commit TEXT COLLATE "C"
);
CREATE UNIQUE INDEX runs_one_under_way ON runs (project) WHERE finished_at_ms IS NULL;
CREATE INDEX runs_by_seq ON runs (seq);

CREATE TABLE gates (
    run    TEXT COLLATE "C" NOT NULL REFERENCES runs (id),
    gate   TEXT COLLATE "C" NOT NULL,
    seq    BIGINT NOT NULL,
    passed BIGINT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run, gate)
);

CREATE TABLE versions (
    model            TEXT COLLATE "C" NOT NULL,
    version          BIGINT NOT NULL,
    bundle           TEXT COLLATE "C" NOT NULL,
    run              TEXT COLLATE "C" NOT NULL,
    metrics          TEXT NOT NULL,
    registered_at_ms BIGINT NOT NULL,
    PRIMARY KEY (model, version),
    UNIQUE (model, bundle)
);

CREATE TABLE aliases (
    model       TEXT COLLATE "C" NOT NULL,
    alias       TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    moved_at_ms BIGINT NOT NULL,
    PRIMARY KEY (model, alias),
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
);

CREATE TABLE rollouts (
    id             TEXT COLLATE "C" PRIMARY KEY,
    seq            BIGINT NOT NULL,
    model          TEXT COLLATE "C" NOT NULL,
    version        BIGINT NOT NULL,
    bundle         TEXT COLLATE "C" NOT NULL,
    from_bundle    TEXT COLLATE "C",
    policy         TEXT NOT NULL,
    cause          TEXT NOT NULL,
    started_at_ms  BIGINT NOT NULL,
    start_at_ms    BIGINT,
    wave           BIGINT,
    wave_limit     TEXT,
    wave_since_ms  BIGINT,
    waves_approved BIGINT NOT NULL DEFAULT 0,
    paused         BIGINT NOT NULL DEFAULT 0,
    resumed_at_ms  BIGINT,
    outcome        TEXT,
    finished_at_ms BIGINT,
    reasons        TEXT NOT NULL,
    FOREIGN KEY (model, version) REFERENCES versions (model, version)
);
CREATE UNIQUE INDEX rollouts_one_under_way ON rollouts (model) WHERE finished_at_ms IS NULL;
CREATE INDEX rollouts_by_seq ON rollouts (seq);

CREATE TABLE alerts (
    id       TEXT COLLATE "C" PRIMARY KEY,
    seq      BIGINT NOT NULL,
    model    TEXT COLLATE "C" NOT NULL,
    document TEXT NOT NULL
);
CREATE INDEX alerts_by_model ON alerts (model, seq);
CREATE INDEX alerts_by_seq ON alerts (seq);

CREATE TABLE record_batches (
    batch   BIGINT PRIMARY KEY,
    seq     BIGINT NOT NULL,
    records BIGINT NOT NULL,
    root    TEXT COLLATE "C" NOT NULL
);

CREATE TABLE shadow_tests (
    run            TEXT COLLATE "C" PRIMARY KEY,
    seq            BIGINT NOT NULL,
    model          TEXT COLLATE "C" NOT NULL,
    champion       TEXT COLLATE "C" NOT NULL,
    candidates     TEXT NOT NULL,
    policy         TEXT NOT NULL,
    started_at_ms  BIGINT NOT NULL,
    finished_at_ms BIGINT,
    outcome        TEXT,
    reasons        TEXT NOT NULL
);
CREATE UNIQUE INDEX shadow_tests_under_way ON shadow_tests (model) WHERE finished_at_ms IS NULL;

-- Observations: bulky, may expire, no part of the ledger.

CREATE TABLE reports (
    device                TEXT COLLATE "C" PRIMARY KEY,
    session               TEXT COLLATE "C" NOT NULL,
    session_started_at_ms BIGINT NOT NULL,
    seq                   BIGINT NOT NULL,
    received_at_ms        BIGINT NOT NULL,
    document              TEXT NOT NULL
);

CREATE TABLE device_models (
    model    TEXT COLLATE "C" NOT NULL,
    device   TEXT COLLATE "C" NOT NULL,
    bundle   TEXT COLLATE "C",
    since_ms BIGINT,
    refused  TEXT NOT NULL,
    session  TEXT COLLATE "C" NOT NULL,
    starts   BIGINT NOT NULL,
    PRIMARY KEY (model, device)
);

CREATE TABLE device_facts (
    device TEXT COLLATE "C" PRIMARY KEY,
    facts  TEXT NOT NULL
);

-- The order of arrival has the name that SQLite gives it.
CREATE TABLE profiles (
    rowid          BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    device         TEXT COLLATE "C" NOT NULL,
    session        TEXT COLLATE "C" NOT NULL,
    seq            BIGINT NOT NULL,
    model          TEXT COLLATE "C" NOT NULL,
    bundle         TEXT COLLATE "C" NOT NULL,
    from_ms        BIGINT NOT NULL,
    to_ms          BIGINT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    labelled       BIGINT NOT NULL,
    correct        BIGINT NOT NULL,
    profile        BYTEA NOT NULL,
    performance    BYTEA,
    PRIMARY KEY (device, session, seq)
);
CREATE INDEX profiles_by_time ON profiles (model, bundle, to_ms);
CREATE INDEX profiles_by_age ON profiles (received_at_ms);

CREATE TABLE windows (
    arrival  BIGINT PRIMARY KEY,
    model    TEXT COLLATE "C" NOT NULL,
    device   TEXT COLLATE "C" NOT NULL,
    bundle   TEXT COLLATE "C" NOT NULL,
    labelled BIGINT NOT NULL,
    correct  BIGINT NOT NULL,
    service  TEXT
);

CREATE TABLE rollout_evidence (
    rollout  TEXT COLLATE "C" PRIMARY KEY,
    arrival  BIGINT NOT NULL,
    document TEXT NOT NULL
);

CREATE TABLE samples (
    seq            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device         TEXT COLLATE "C" NOT NULL,
    prediction     TEXT COLLATE "C" NOT NULL,
    row            BIGINT NOT NULL,
    model          TEXT COLLATE "C" NOT NULL,
    bundle         TEXT COLLATE "C" NOT NULL,
    at_ms          BIGINT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    features       BYTEA NOT NULL,
    row_digest     TEXT COLLATE "C" NOT NULL,
    predicted      TEXT,
    label          TEXT,
    suspicion      TEXT,
    verdict        TEXT CHECK (verdict IN ('released', 'discarded')),
    UNIQUE (device, prediction, row)
);
CREATE INDEX samples_by_model ON samples (model, seq);
CREATE INDEX samples_labelled ON samples (model, seq) WHERE label IS NOT NULL;
CREATE INDEX samples_labelled_by_time ON samples (model, received_at_ms) WHERE label IS NOT NULL;
CREATE INDEX samples_held ON samples (model, seq) WHERE suspicion IS NOT NULL AND verdict IS NULL;

CREATE TABLE records (
    seq            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device         TEXT COLLATE "C" NOT NULL,
    prediction     TEXT COLLATE "C" NOT NULL,
    kind           TEXT COLLATE "C" NOT NULL,
    row            BIGINT NOT NULL,
    received_at_ms BIGINT NOT NULL,
    record         TEXT NOT NULL,
    sealed         BYTEA,
    erase_day      BIGINT NOT NULL,
    batch          BIGINT
);
CREATE UNIQUE INDEX records_by_prediction ON records (prediction, kind, row, device);
CREATE INDEX records_waiting ON records (seq) WHERE batch IS NULL;
CREATE INDEX records_by_batch ON records (batch, seq) WHERE batch IS NOT NULL;
CREATE INDEX records_by_day ON records (erase_day) WHERE sealed IS NOT NULL;

CREATE TABLE shadow_counts (
    run      TEXT COLLATE "C" NOT NULL,
    device   TEXT COLLATE "C" NOT NULL,
    session  TEXT COLLATE "C" NOT NULL,
    seq      BIGINT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (run, device, session)
);

-- Credentials: only hashes, never the secrets.

CREATE TABLE join_tokens (
    hash          TEXT COLLATE "C" PRIMARY KEY,
    expires_at_ms BIGINT NOT NULL,
    uses_left     BIGINT NOT NULL CHECK (uses_left >= 0),
    device        TEXT COLLATE "C"
);

CREATE TABLE join_uses (
    token  TEXT COLLATE "C" NOT NULL,
    key    TEXT COLLATE "C" NOT NULL,
    device TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (token, key)
);

CREATE TABLE device_credentials (
    hash         TEXT COLLATE "C" PRIMARY KEY,
    device       TEXT COLLATE "C" NOT NULL,
    issued_at_ms BIGINT NOT NULL,
    revoked      BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX device_credentials_by_device ON device_credentials (device);

CREATE TABLE device_certificates (
    number        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fingerprint   TEXT COLLATE "C" NOT NULL UNIQUE,
    device        TEXT COLLATE "C" NOT NULL,
    authority     TEXT COLLATE "C" NOT NULL,
    issued_at_ms  BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    revoked       BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX device_certificates_by_device ON device_certificates (device, number);

CREATE TABLE operator_tokens (
    id            TEXT COLLATE "C" PRIMARY KEY,
    hash          TEXT COLLATE "C" NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    role          TEXT COLLATE "C" NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT,
    revoked_at_ms BIGINT
);

-- Files that every server of the database must see. Each write gets the next number.

CREATE TABLE kept_files (
    path   TEXT COLLATE "C" PRIMARY KEY,
    change BIGINT NOT NULL UNIQUE,
    bytes  BYTEA NOT NULL
);
