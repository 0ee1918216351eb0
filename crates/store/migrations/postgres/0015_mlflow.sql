-- What MLflow's clients keep here. It is theirs and no decision of Edgeward's, so none of it is in the ledger: documents in
-- MLflow's words, the labels on them (tags, parameters, aliases), metrics, and where artifacts lie among the blobs.

CREATE TABLE mlflow_documents (
    kind     TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    parent   TEXT COLLATE "C" NOT NULL,
    name     TEXT COLLATE "C",
    document TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX mlflow_documents_by_parent ON mlflow_documents (kind, parent);
CREATE UNIQUE INDEX mlflow_documents_by_name ON mlflow_documents (kind, name) WHERE name IS NOT NULL;

-- The experiment of whoever names none.
INSERT INTO mlflow_documents (kind, id, parent, name, document) VALUES ('experiment', '0', '', 'Default',
    '{"experiment_id":"0","name":"Default","artifact_location":"mlflow-artifacts:/0","lifecycle_stage":"active","last_update_time":0,"creation_time":0}');

CREATE TABLE mlflow_labels (
    kind  TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    key   TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, owner, key)
);

-- Values are doubles as integers of the same order, so that they compare as numbers do.
CREATE TABLE mlflow_metrics (
    owner   TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    at_ms   BIGINT NOT NULL,
    step    BIGINT NOT NULL,
    value   BIGINT NOT NULL,
    run     TEXT COLLATE "C" NOT NULL,
    model   TEXT COLLATE "C" NOT NULL,
    dataset TEXT COLLATE "C" NOT NULL,
    digest  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (owner, key, at_ms, step, value, run, dataset, digest)
);

CREATE TABLE mlflow_latest_metrics (
    owner   TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    at_ms   BIGINT NOT NULL,
    step    BIGINT NOT NULL,
    value   BIGINT NOT NULL,
    run     TEXT COLLATE "C" NOT NULL,
    model   TEXT COLLATE "C" NOT NULL,
    dataset TEXT COLLATE "C" NOT NULL,
    digest  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (owner, key, dataset, digest, run)
);

CREATE TABLE mlflow_artifacts (
    path       TEXT COLLATE "C" PRIMARY KEY,
    digest     TEXT COLLATE "C" NOT NULL,
    size_bytes BIGINT NOT NULL
);
