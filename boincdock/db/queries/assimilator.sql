-- name: pending
SELECT id FROM workunit
WHERE appid = :appid AND assimilate_state = 1 AND id > :after AND id % :n = :i ORDER BY id LIMIT :limit;

-- name: state
SELECT assimilate_state FROM workunit WHERE id = :id;

-- name: mark_no_canonical
UPDATE workunit SET error_mask = error_mask | 32 WHERE id IN :ids AND assimilate_state = 1;

-- name: lock
SELECT id, assimilate_state, canonical_resultid FROM workunit WHERE id IN :ids ORDER BY id FOR UPDATE;

-- name: finish
UPDATE workunit SET assimilate_state = :state, transition_time = LEAST(transition_time, :now) WHERE id IN :ids;
