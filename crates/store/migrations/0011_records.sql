-- Records of predictions: the bytes that are hashed, and beside them, under a key that is dropped when its time is over,
-- what may have to be forgotten. A batch is a hash tree over records in the order of their numbers; its root is in the ledger.

CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    device TEXT NOT NULL,
    prediction TEXT NOT NULL,
    kind TEXT NOT NULL,
    row INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    record TEXT NOT NULL,
    sealed BLOB,
    erase_day INTEGER NOT NULL,
    batch INTEGER
);
CREATE UNIQUE INDEX records_by_prediction ON records (prediction, kind, row, device);
CREATE INDEX records_waiting ON records (seq) WHERE batch IS NULL;
CREATE INDEX records_by_batch ON records (batch, seq) WHERE batch IS NOT NULL;
CREATE INDEX records_by_day ON records (erase_day) WHERE sealed IS NOT NULL;

CREATE TABLE record_batches (
    batch INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    records INTEGER NOT NULL,
    root TEXT NOT NULL
);
