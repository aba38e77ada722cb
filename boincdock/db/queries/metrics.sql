-- name: apps
SELECT id, name FROM app ORDER BY id;

-- name: results_by_state
-- Results that are not over (index res_dispatch); the number of all others grows for ever and is estimated.
SELECT appid, server_state, COUNT(*) AS n FROM result WHERE server_state IN (1, 2, 4) GROUP BY server_state, appid;

-- name: table_rows
-- The server's own estimate.
SELECT table_name AS name, table_rows AS n FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name IN ('workunit', 'result', 'host', 'user');

-- name: transitions
SELECT COUNT(*) AS n, MIN(transition_time) AS oldest FROM workunit WHERE transition_time < :now AND transitioner_flags <> 1;

-- name: validation
SELECT COUNT(*) AS n, MIN(id) AS first_id FROM workunit WHERE appid = :appid AND need_validate = 1;

-- name: assimilation
SELECT COUNT(*) AS n, MIN(id) AS first_id FROM workunit WHERE appid = :appid AND assimilate_state = 1;

-- name: workunit_files
SELECT file_delete_state AS state, COUNT(*) AS n, MIN(id) AS first_id FROM workunit
WHERE file_delete_state IN (1, 3) GROUP BY file_delete_state;

-- name: result_files
SELECT file_delete_state AS state, COUNT(*) AS n, MIN(id) AS first_id FROM result
WHERE file_delete_state IN (1, 3) GROUP BY file_delete_state;

-- name: unsent
SELECT MIN(id) AS first_id FROM result WHERE appid = :appid AND server_state = 2;

-- name: workunit_age
SELECT UNIX_TIMESTAMP(mod_time) AS since FROM workunit WHERE id = :id;

-- name: result_age
SELECT UNIX_TIMESTAMP(mod_time) AS since FROM result WHERE id = :id;

-- name: result_created
SELECT create_time AS since FROM result WHERE id = :id;

-- name: messages
SELECT COUNT(*) AS n FROM msg_from_host WHERE handled = 0;
