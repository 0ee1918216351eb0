-- What the fleet should run, and what may run at all, are documents of the repository: plain files beside the database.

DROP TABLE desired;
ALTER TABLE versions DROP COLUMN release;
