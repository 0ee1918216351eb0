-- What of records of predictions is forgotten: a record whose time is over, or whose subject asks, leaves its leaf's digest,
-- so that its batch still has the root that the ledger has. Subjects are keyed digests of their names.

ALTER TABLE records ADD COLUMN leaf TEXT;
ALTER TABLE records ADD COLUMN expire_day INTEGER;
CREATE INDEX records_by_expiry ON records (expire_day) WHERE expire_day IS NOT NULL AND leaf IS NULL;

CREATE TABLE record_subjects (
    subject TEXT NOT NULL,
    device TEXT NOT NULL,
    prediction TEXT NOT NULL,
    PRIMARY KEY (subject, prediction, device)
);
CREATE INDEX record_subjects_by_prediction ON record_subjects (prediction, device);
