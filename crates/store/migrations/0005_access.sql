-- Operators' tokens with roles, and devices that were shut out.

CREATE TABLE operator_tokens (
    id            TEXT PRIMARY KEY,
    hash          TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    revoked_at_ms INTEGER
) STRICT, WITHOUT ROWID;

ALTER TABLE devices ADD COLUMN revoked_at_ms INTEGER;

-- The one device that a join token lets in again.
ALTER TABLE join_tokens ADD COLUMN device TEXT;
