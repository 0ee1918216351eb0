-- What MLflow's clients keep here. It is theirs and no decision of Edgeward's, so none of it is in the ledger: documents in
-- MLflow's words, the labels on them (tags, parameters, aliases), metrics, and where artifacts lie among the blobs.

CREATE TABLE mlflow_documents (
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    parent   TEXT NOT NULL,
    name     TEXT,
    document TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX mlflow_documents_by_parent ON mlflow_documents (kind, parent);
CREATE UNIQUE INDEX mlflow_documents_by_name ON mlflow_documents (kind, name) WHERE name IS NOT NULL;

-- The experiment of whoever names none.
INSERT INTO mlflow_documents (kind, id, parent, name, document) VALUES ('experiment', '0', '', 'Default',
    '{"experiment_id":"0","name":"Default","artifact_location":"mlflow-artifacts:/0","lifecycle_stage":"active","last_update_time":0,"creation_time":0}');

CREATE TABLE mlflow_labels (
    kind  TEXT NOT NULL,
    owner TEXT NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, owner, key)
) STRICT, WITHOUT ROWID;

-- Values are doubles as integers of the same order, so that they compare as numbers do.
CREATE TABLE mlflow_metrics (
    owner   TEXT NOT NULL,
    key     TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    step    INTEGER NOT NULL,
    value   INTEGER NOT NULL,
    run     TEXT NOT NULL,
    model   TEXT NOT NULL,
    dataset TEXT NOT NULL,
    digest  TEXT NOT NULL,
    PRIMARY KEY (owner, key, at_ms, step, value, run, dataset, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE mlflow_latest_metrics (
    owner   TEXT NOT NULL,
    key     TEXT NOT NULL,
    at_ms   INTEGER NOT NULL,
    step    INTEGER NOT NULL,
    value   INTEGER NOT NULL,
    run     TEXT NOT NULL,
    model   TEXT NOT NULL,
    dataset TEXT NOT NULL,
    digest  TEXT NOT NULL,
    PRIMARY KEY (owner, key, dataset, digest, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE mlflow_artifacts (
    path       TEXT PRIMARY KEY,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
