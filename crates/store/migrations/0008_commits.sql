-- The commit of the pipeline's repository that a run puts on trial.
ALTER TABLE runs ADD COLUMN pipeline_commit TEXT;
