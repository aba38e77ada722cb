-- Counts of the status page. Each is served by an index range (EXPLAIN in tests/db/test_web_status.py);
-- the page caches them for a minute for all processes.

-- name: results_by_app
-- Unsent and in-progress results; index res_dispatch.
SELECT appid, server_state, COUNT(*) AS n FROM result WHERE server_state IN (2, 4) GROUP BY server_state, appid;

-- name: need_validate
-- Index wu_val.
SELECT COUNT(*) FROM workunit WHERE appid IN :apps AND need_validate = 1;

-- name: need_assimilate
-- Index wu_assim.
SELECT COUNT(*) FROM workunit WHERE appid IN :apps AND assimilate_state = 1;

-- name: wus_need_delete
SELECT COUNT(*) FROM workunit WHERE file_delete_state = 1;

-- name: results_need_delete
SELECT COUNT(*) FROM result WHERE file_delete_state = 1;

-- name: oldest_transition
SELECT transition_time FROM workunit ORDER BY transition_time LIMIT 1;

-- name: users_recent
SELECT COUNT(*) FROM user WHERE expavg_credit > 1;

-- name: users_with_credit
SELECT COUNT(*) FROM user WHERE total_credit > 1;

-- name: users_new
-- Bounded to the newest 10,000: ids grow with time.
SELECT COUNT(*) FROM (SELECT create_time FROM user ORDER BY id DESC LIMIT 10000) t WHERE create_time > :since;

-- name: hosts_recent
SELECT COUNT(*) FROM host WHERE expavg_credit > 1;

-- name: hosts_with_credit
SELECT COUNT(*) FROM host WHERE total_credit > 1;

-- name: hosts_new
SELECT COUNT(*) FROM (SELECT create_time FROM host ORDER BY id DESC LIMIT 10000) t WHERE create_time > :since;

-- name: credit_per_day
SELECT SUM(expavg_credit) FROM user WHERE expavg_credit > 0;

-- name: total_credit
SELECT SUM(total_credit) FROM user WHERE total_credit > 0;

-- name: all_apps
SELECT id, name, user_friendly_name, deprecated FROM app ORDER BY id;

-- name: runtimes
-- Valid results among the newest 2,000 finished of one app, received since then; index res_app_state.
SELECT COUNT(*) AS n, AVG(elapsed_time) AS average, MIN(elapsed_time) AS shortest, MAX(elapsed_time) AS longest,
    COUNT(DISTINCT userid) AS users
FROM (SELECT elapsed_time, userid, received_time, validate_state FROM result
    WHERE appid = :appid AND server_state = 5 ORDER BY id DESC LIMIT 2000) t
WHERE received_time > :since AND validate_state = 1;

-- name: revision
SELECT MAX(number) FROM boincdock_migration;
