-- Who has seen an alert, when, and what they said about it; the first one stands.

ALTER TABLE alerts ADD COLUMN acknowledged_by TEXT COLLATE "C";
ALTER TABLE alerts ADD COLUMN acknowledged_at_ms BIGINT;
ALTER TABLE alerts ADD COLUMN acknowledged_note TEXT COLLATE "C";
