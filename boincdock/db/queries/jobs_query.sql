-- What has become of jobs (boincdock/jobs/query.py).

-- name: by_names
SELECT w.id, w.name, w.batch, w.error_mask, w.assimilate_state, w.canonical_resultid, w.create_time, w.priority,
    a.name AS app
FROM workunit w JOIN app a ON a.id = w.appid WHERE w.name IN :names;

-- name: newest
-- A page of the newest jobs, along the primary key. STRAIGHT_JOIN: never through the app table.
SELECT STRAIGHT_JOIN w.id, w.name, w.batch, w.error_mask, w.assimilate_state, w.canonical_resultid, w.create_time,
    w.priority, a.name AS app
FROM workunit w JOIN app a ON a.id = w.appid WHERE w.id < :before ORDER BY w.id DESC LIMIT :count;

-- name: newest_of_app
SELECT STRAIGHT_JOIN w.id, w.name, w.batch, w.error_mask, w.assimilate_state, w.canonical_resultid, w.create_time,
    w.priority, a.name AS app
FROM workunit w JOIN app a ON a.id = w.appid WHERE w.id < :before AND w.appid = :appid
ORDER BY w.id DESC LIMIT :count;

-- name: of_batch
-- A page of a batch's jobs (index wu_batch holds the primary key, so they come in its order).
SELECT STRAIGHT_JOIN w.id, w.name, w.batch, w.error_mask, w.assimilate_state, w.canonical_resultid, w.create_time,
    w.priority, a.name AS app
FROM workunit w JOIN app a ON a.id = w.appid WHERE w.batch = :batch AND w.id > :after ORDER BY w.id LIMIT :count;

-- name: results
SELECT r.id, r.workunitid, r.name, r.server_state, r.outcome, r.validate_state, r.hostid, r.granted_credit,
    r.exit_status, r.elapsed_time, r.sent_time, r.received_time, r.report_deadline, r.stderr_out, h.domain_name
FROM result r LEFT JOIN host h ON h.id = r.hostid WHERE r.workunitid IN :ids ORDER BY r.id;

-- name: result_counts
SELECT server_state, COUNT(*) AS n FROM result GROUP BY server_state;

-- name: need_validate
SELECT COUNT(*) FROM app a STRAIGHT_JOIN workunit w ON w.appid = a.id AND w.need_validate = 1;

-- name: need_assimilate
SELECT COUNT(*) FROM app a STRAIGHT_JOIN workunit w ON w.appid = a.id AND w.assimilate_state = 1;

-- name: need_transition
SELECT COUNT(*) FROM workunit WHERE transition_time < UNIX_TIMESTAMP();
