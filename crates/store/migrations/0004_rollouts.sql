-- Rollouts can be scheduled, paused and agreed to.
ALTER TABLE rollouts ADD COLUMN start_at_ms INTEGER;
ALTER TABLE rollouts ADD COLUMN waves_approved INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollouts ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
-- When it was resumed last: what its gates rest on begins anew then.
ALTER TABLE rollouts ADD COLUMN resumed_at_ms INTEGER;

-- What each device runs of each model, from its reports: the narrow part of them that rollouts ask about all devices.
CREATE TABLE device_models (
    model    TEXT NOT NULL,
    device   TEXT NOT NULL,
    bundle   TEXT,
    since_ms INTEGER,
    refused  TEXT NOT NULL,
    session  TEXT NOT NULL,
    -- Starts of the agent since it runs the bundle.
    starts   INTEGER NOT NULL,
    PRIMARY KEY (model, device)
) STRICT, WITHOUT ROWID;
CREATE INDEX reports_seen ON reports (device, received_at_ms);

-- What was counted in each profile's window, beside its bytes: what rollouts ask about all windows.
CREATE TABLE windows (
    arrival  INTEGER PRIMARY KEY,
    model    TEXT NOT NULL,
    device   TEXT NOT NULL,
    bundle   TEXT NOT NULL,
    labelled INTEGER NOT NULL,
    correct  INTEGER NOT NULL,
    -- How requests fared: a document of its own, none where the device does not say.
    service  TEXT
) STRICT;

-- What a rollout's gates rest on: the folded profiles, up to and including an arrival.
CREATE TABLE rollout_evidence (
    rollout  TEXT PRIMARY KEY,
    arrival  INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;
