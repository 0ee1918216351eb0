-- Projections: labels that people set, groups, what completed in groups, and pinned devices.
CREATE TABLE device_labels (
    device TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (device, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE groups (
    name       TEXT PRIMARY KEY,
    expression TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE group_bundles (
    model      TEXT NOT NULL,
    group_name TEXT NOT NULL,
    version    INTEGER NOT NULL,
    bundle     TEXT NOT NULL,
    PRIMARY KEY (model, group_name)
) STRICT, WITHOUT ROWID;

CREATE TABLE pins (
    model  TEXT NOT NULL,
    device TEXT NOT NULL,
    bundle TEXT NOT NULL,
    PRIMARY KEY (model, device)
) STRICT, WITHOUT ROWID;

-- An observation: what devices say of themselves.
CREATE TABLE device_facts (
    device TEXT PRIMARY KEY,
    facts  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
