-- Certificates of devices, known by the SHA-256 of their DER form, and who used which join token with which key.

CREATE TABLE device_certificates (
    number        INTEGER PRIMARY KEY,
    fingerprint   TEXT NOT NULL UNIQUE,
    device        TEXT NOT NULL,
    authority     TEXT NOT NULL,
    issued_at_ms  INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    revoked       INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX device_certificates_by_device ON device_certificates (device, number);

CREATE TABLE join_uses (
    token  TEXT NOT NULL,
    key    TEXT NOT NULL,
    device TEXT NOT NULL,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;
