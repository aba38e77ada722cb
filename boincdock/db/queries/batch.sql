-- name: progress
-- What a batch's parameters follow from (index wu_batch); a job succeeded if it has a canonical result.
SELECT b.id, b.state, COUNT(w.id) AS njobs,
       COALESCE(SUM(w.canonical_resultid <> 0), 0) AS nsuccess,
       COALESCE(SUM(w.canonical_resultid = 0 AND w.error_mask <> 0), 0) AS nerror,
       COALESCE(SUM(IF(w.canonical_resultid <> 0, w.canonical_credit, 0)), 0) AS credit
FROM batch b LEFT JOIN workunit w ON w.batch = b.id
WHERE b.id IN :ids AND b.state > 0 GROUP BY b.id, b.state;

-- name: save
UPDATE batch SET njobs = :njobs, nerror_jobs = :nerror, fraction_done = :fraction_done, credit_canonical = :credit
WHERE id = :id AND state > 0;

-- name: complete
UPDATE batch SET state = 2, completion_time = :now WHERE id = :id AND state = 1;

-- name: get
SELECT id, user_id, app_id, name, state, njobs, nerror_jobs, fraction_done, credit_canonical, expire_time
FROM batch WHERE id = :id;

-- name: lock
SELECT id, state FROM batch WHERE id = :id FOR UPDATE;

-- name: running
SELECT id FROM batch WHERE state = 1 AND id > :after ORDER BY id LIMIT :limit;

-- name: expired
SELECT id FROM batch WHERE state <= 2 AND expire_time > 0 AND expire_time < :now AND id > :after ORDER BY id LIMIT :limit;

-- name: retired_empty
SELECT id FROM batch b
WHERE state = 4 AND id > :after AND NOT EXISTS (SELECT 1 FROM workunit w WHERE w.batch = b.id)
ORDER BY id LIMIT :limit;

-- name: set_state
UPDATE batch SET state = :state, completion_time = IF(completion_time > 0, completion_time, :now) WHERE id = :id;

-- name: unfinished
-- Jobs of a batch that can still be cancelled, in id order.
SELECT id FROM workunit
WHERE batch = :batch AND id > :after AND assimilate_state < 2 AND canonical_resultid = 0 AND (error_mask & 16) = 0
ORDER BY id LIMIT :limit;

-- name: lock_jobs
SELECT id FROM workunit WHERE id IN :ids AND canonical_resultid = 0 ORDER BY id FOR UPDATE;

-- name: cancel_results
UPDATE result SET server_state = 5, outcome = 5 WHERE workunitid IN :ids AND server_state IN (1, 2);

-- name: cancel_jobs
-- Cancelled jobs go the normal way from here: assimilated as failed, then their files are deleted.
UPDATE workunit SET error_mask = error_mask | 16, transition_time = LEAST(transition_time, :now) WHERE id IN :ids;

-- name: forget_files
DELETE FROM batch_file_assoc WHERE batch_id = :id;

-- name: forget
DELETE FROM batch WHERE id = :id AND state = 4;
