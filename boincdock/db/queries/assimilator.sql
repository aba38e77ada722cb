-- name: pending
SELECT id FROM workunit
WHERE appid = :appid AND assimilate_state = 1 AND id > :after AND id % :n = :i ORDER BY id LIMIT :limit;

-- name: mark_no_canonical
UPDATE workunit SET error_mask = error_mask | 32 WHERE id = :id AND assimilate_state = 1;

-- name: finish
-- Guarded: another copy may have been faster.
UPDATE workunit SET assimilate_state = :state, transition_time = LEAST(transition_time, :now)
WHERE id = :id AND assimilate_state = 1 AND canonical_resultid = :canonical_resultid;
