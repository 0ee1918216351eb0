-- What of records of predictions is forgotten: a record whose time is over, or whose subject asks, leaves its leaf's digest,
-- so that its batch still has the root that the ledger has. Subjects are keyed digests of their names.

ALTER TABLE records ADD COLUMN leaf TEXT COLLATE "C";
ALTER TABLE records ADD COLUMN expire_day BIGINT;
CREATE INDEX records_by_expiry ON records (expire_day) WHERE expire_day IS NOT NULL AND leaf IS NULL;

CREATE TABLE record_subjects (
    subject TEXT COLLATE "C" NOT NULL,
    device TEXT COLLATE "C" NOT NULL,
    prediction TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (subject, prediction, device)
);
CREATE INDEX record_subjects_by_prediction ON record_subjects (prediction, device);
