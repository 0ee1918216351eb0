-- Files that every server of a database must see; where there is only one server they lie in its folder. Each write gets
-- the next number, so that whoever has seen one asks for what came after it.
CREATE TABLE kept_files (
    path   TEXT PRIMARY KEY,
    change INTEGER NOT NULL UNIQUE,
    bytes  BLOB NOT NULL
) STRICT;
