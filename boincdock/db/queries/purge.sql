-- name: candidates
-- Finished workunits whose files are gone and whose every result is over, with none left to delete; not locked, so
-- that copies by --mod do not get in each other's way.
SELECT id FROM workunit
WHERE file_delete_state = 2 AND need_validate = 0 AND id > :after AND id % :n = :i
  AND (:appid = 0 OR appid = :appid)
  AND (:min_age = 0 OR mod_time < NOW() - INTERVAL :min_age SECOND)
  AND INSTR(name, 'nodelete') = 0
  AND (:any_batch = 1 OR batch = 0 OR EXISTS (SELECT 1 FROM batch WHERE batch.id = workunit.batch AND batch.state = 4))
  AND NOT EXISTS (SELECT 1 FROM result WHERE result.workunitid = workunit.id
                  AND (result.server_state <> 5 OR result.file_delete_state IN (1, 3)))
ORDER BY id LIMIT :limit;

-- name: lock
-- Those of the candidates that still are what they were; what others hold is left to them.
SELECT * FROM workunit FORCE INDEX (PRIMARY) WHERE id IN :ids AND file_delete_state = 2 AND need_validate = 0
ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: results
SELECT * FROM result WHERE workunitid IN :ids ORDER BY workunitid, id FOR UPDATE;

-- name: delete_results
DELETE FROM result WHERE id IN :ids;

-- name: delete_assignments
DELETE FROM assignment WHERE workunitid IN :ids;

-- name: delete_workunits
DELETE FROM workunit WHERE id IN :ids;
