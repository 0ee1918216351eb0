-- Samples that a device found impossible are held back from training until a person decides.

ALTER TABLE samples ADD COLUMN suspicion TEXT;
ALTER TABLE samples ADD COLUMN verdict TEXT CHECK (verdict IN ('released', 'discarded'));
CREATE INDEX samples_held ON samples (model, seq) WHERE suspicion IS NOT NULL AND verdict IS NULL;
