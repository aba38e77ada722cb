-- Batches as submitters see them (boincdock/jobs/bulk.py, bin/batch); their life is in batch.sql.

-- name: insert
-- Open from the start: it completes when it has jobs and all of them are over.
INSERT INTO batch (user_id, create_time, logical_start_time, logical_end_time, est_completion_time, njobs, fraction_done,
    nerror_jobs, state, completion_time, credit_estimate, credit_canonical, credit_total, name, app_id, project_state,
    description, expire_time)
VALUES (:user_id, :now, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, :name, :app_id, 0, :description, :expire_time);

-- name: get
SELECT b.id, b.user_id, b.app_id, a.name AS app, b.name, b.description, b.state, b.njobs, b.nerror_jobs, b.fraction_done,
    b.credit_canonical, b.create_time, b.completion_time, b.expire_time
FROM batch b LEFT JOIN app a ON a.id = b.app_id WHERE b.id = :id;

-- name: by_name
-- The newest first: names are not unique.
SELECT id FROM batch WHERE name = :name ORDER BY id DESC LIMIT 2;

-- name: newest
SELECT b.id, b.user_id, b.app_id, a.name AS app, b.name, b.description, b.state, b.njobs, b.nerror_jobs, b.fraction_done,
    b.credit_canonical, b.create_time, b.completion_time, b.expire_time
FROM batch b LEFT JOIN app a ON a.id = b.app_id ORDER BY b.id DESC LIMIT :count;

-- name: lock
SELECT id, state FROM batch WHERE id = :id FOR UPDATE;

-- name: reopen
-- More jobs for a batch: it is in progress (again).
UPDATE batch SET state = 1, completion_time = 0, njobs = njobs + :count, app_id = IF(app_id = 0, :app_id, app_id)
WHERE id = :id AND state IN (0, 1, 2);

-- name: forget_empty
DELETE FROM batch WHERE id = :id AND NOT EXISTS (SELECT 1 FROM workunit w WHERE w.batch = batch.id);

-- name: job_counts
-- Workunits of a batch by how far they are (index wu_batch).
SELECT COUNT(*) AS jobs, COALESCE(SUM(error_mask <> 0), 0) AS error,
    COALESCE(SUM(error_mask = 0 AND assimilate_state = 2), 0) AS done,
    COALESCE(SUM(error_mask = 0 AND assimilate_state <> 2 AND (canonical_resultid <> 0 OR assimilate_state = 1)), 0)
        AS assimilating
FROM workunit WHERE batch = :id;

-- name: sent_counts
SELECT COUNT(*) AS in_progress FROM result WHERE batch = :id AND server_state = 4;
