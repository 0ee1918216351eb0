-- The ledger role's signature on each entry: it says which entry is the first that was not written here.
CREATE TABLE seals (
    seq  INTEGER PRIMARY KEY,
    seal BLOB NOT NULL
) STRICT;
