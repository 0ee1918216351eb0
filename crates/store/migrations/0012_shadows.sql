-- Comparisons of shadows with their champions, each named by the run that made the candidates.
CREATE TABLE shadow_tests (
    run            TEXT PRIMARY KEY,
    seq            INTEGER NOT NULL,
    model          TEXT NOT NULL,
    champion       TEXT NOT NULL,
    candidates     TEXT NOT NULL,
    policy         TEXT NOT NULL,
    started_at_ms  INTEGER NOT NULL,
    finished_at_ms INTEGER,
    outcome        TEXT,
    reasons        TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX shadow_tests_under_way ON shadow_tests (model) WHERE finished_at_ms IS NULL;

-- What each start of each device's agent counted, the latest it said.
CREATE TABLE shadow_counts (
    run      TEXT NOT NULL,
    device   TEXT NOT NULL,
    session  TEXT NOT NULL,
    seq      INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (run, device, session)
) STRICT, WITHOUT ROWID;
