-- Who has seen an alert, when, and what they said about it; the first one stands.

ALTER TABLE alerts ADD COLUMN acknowledged_by TEXT;
ALTER TABLE alerts ADD COLUMN acknowledged_at_ms INTEGER;
ALTER TABLE alerts ADD COLUMN acknowledged_note TEXT;
