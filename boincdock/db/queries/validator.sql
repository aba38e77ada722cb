-- name: pending
SELECT id FROM workunit
WHERE appid = :appid AND need_validate = 1 AND id > :after AND id >= :min_id AND id <= :max_id AND id % :n = :i
ORDER BY id LIMIT :limit;

-- name: app
SELECT id, name, min_avg_pfc, host_scale_check, target_nresults FROM app WHERE id = :id;

-- name: workunits
SELECT id, name, appid, min_quorum, target_nresults, max_error_results, max_total_results, max_success_results,
       need_validate, canonical_resultid, canonical_credit, transition_time, delay_bound, error_mask,
       file_delete_state, assimilate_state, priority, batch, rsc_fpops_est, rsc_fpops_bound, opaque
FROM workunit WHERE id IN :ids ORDER BY id;

-- name: lock_workunits
-- Those that somebody else holds are left for the next round.
SELECT id, name, appid, min_quorum, target_nresults, max_error_results, max_total_results, max_success_results,
       need_validate, canonical_resultid, canonical_credit, transition_time, delay_bound, error_mask,
       file_delete_state, assimilate_state, priority, batch, rsc_fpops_est, rsc_fpops_bound, opaque
FROM workunit FORCE INDEX (PRIMARY) WHERE id IN :ids ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: results
-- With the documents that validators and assimilators read.
SELECT id, name, workunitid, server_state, outcome, client_state, validate_state, file_delete_state, exit_status,
       hostid, userid, teamid, appid, app_version_id, report_deadline, sent_time, received_time, elapsed_time,
       cpu_time, flops_estimate, granted_credit, claimed_credit, opaque, runtime_outlier, priority, batch,
       xml_doc_in, xml_doc_out, stderr_out
FROM result WHERE workunitid IN :ids ORDER BY workunitid, id;

-- name: lock_results
SELECT id, workunitid, server_state, outcome, validate_state, hostid, userid
FROM result WHERE workunitid IN :ids ORDER BY workunitid, id FOR UPDATE;

-- name: versions
-- The scales before this workunit's own samples.
SELECT id, pfc_n, pfc_avg, pfc_scale FROM app_version WHERE id IN :ids;

-- name: save_results
-- The rows exist and are locked, so this never inserts: it is how to update many rows in one statement.
INSERT INTO result (id, outcome, validate_state, granted_credit, runtime_outlier, opaque)
VALUES (:id, :outcome, :validate_state, :granted_credit, :runtime_outlier, :opaque)
ON DUPLICATE KEY UPDATE outcome = VALUES(outcome), validate_state = VALUES(validate_state),
    granted_credit = VALUES(granted_credit), runtime_outlier = VALUES(runtime_outlier), opaque = VALUES(opaque);

-- name: cancel_unsent
UPDATE result SET server_state = 5, outcome = 5 WHERE id IN :ids AND server_state IN (1, 2);

-- name: save_workunits
INSERT INTO workunit (id, need_validate, error_mask, min_quorum, target_nresults, transition_time, canonical_resultid,
                      canonical_credit, assimilate_state)
VALUES (:id, :need_validate, :error_bits, :min_quorum, :target_nresults, :transition_time, :canonical_resultid,
        :canonical_credit, :assimilate_state)
ON DUPLICATE KEY UPDATE need_validate = VALUES(need_validate), error_mask = error_mask | VALUES(error_mask),
    min_quorum = VALUES(min_quorum), target_nresults = VALUES(target_nresults),
    transition_time = VALUES(transition_time), canonical_resultid = VALUES(canonical_resultid),
    canonical_credit = VALUES(canonical_credit), assimilate_state = VALUES(assimilate_state);

-- name: lock_hosts
SELECT id, expavg_credit, expavg_time, avg_turnaround FROM host WHERE id IN :ids ORDER BY id FOR UPDATE;

-- name: lock_users
SELECT id, teamid, expavg_credit, expavg_time FROM user WHERE id IN :ids ORDER BY id FOR UPDATE;

-- name: lock_teams
SELECT id, expavg_credit, expavg_time FROM team WHERE id IN :ids ORDER BY id FOR UPDATE;

-- name: lock_version
SELECT id, pfc_n, pfc_avg, expavg_credit, expavg_time FROM app_version WHERE id = :id FOR UPDATE;

-- name: save_host
INSERT INTO host (id, total_credit, expavg_credit, expavg_time, avg_turnaround)
VALUES (:id, :credit, :expavg_credit, :expavg_time, :avg_turnaround)
ON DUPLICATE KEY UPDATE total_credit = total_credit + VALUES(total_credit), expavg_credit = VALUES(expavg_credit),
    expavg_time = VALUES(expavg_time), avg_turnaround = VALUES(avg_turnaround);

-- name: save_user
INSERT INTO user (id, total_credit, expavg_credit, expavg_time)
VALUES (:id, :credit, :expavg_credit, :expavg_time)
ON DUPLICATE KEY UPDATE total_credit = total_credit + VALUES(total_credit), expavg_credit = VALUES(expavg_credit),
    expavg_time = VALUES(expavg_time);

-- name: save_team
INSERT INTO team (id, total_credit, expavg_credit, expavg_time)
VALUES (:id, :credit, :expavg_credit, :expavg_time)
ON DUPLICATE KEY UPDATE total_credit = total_credit + VALUES(total_credit), expavg_credit = VALUES(expavg_credit),
    expavg_time = VALUES(expavg_time);

-- name: save_version
UPDATE app_version SET pfc_n = :pfc_n, pfc_avg = :pfc_avg, expavg_credit = :expavg_credit, expavg_time = :expavg_time
WHERE id = :id;

-- name: make_credit_user
INSERT IGNORE INTO credit_user (userid, appid, credit_type) VALUES (:owner, :appid, 0);

-- name: lock_credit_user
SELECT expavg AS expavg_credit, expavg_time FROM credit_user
WHERE userid = :owner AND appid = :appid AND credit_type = 0 FOR UPDATE;

-- name: save_credit_user
UPDATE credit_user SET njobs = njobs + :jobs, total = total + :credit, expavg = :expavg_credit, expavg_time = :expavg_time
WHERE userid = :owner AND appid = :appid AND credit_type = 0;

-- name: make_credit_team
INSERT IGNORE INTO credit_team (teamid, appid, credit_type) VALUES (:owner, :appid, 0);

-- name: lock_credit_team
SELECT expavg AS expavg_credit, expavg_time FROM credit_team
WHERE teamid = :owner AND appid = :appid AND credit_type = 0 FOR UPDATE;

-- name: save_credit_team
UPDATE credit_team SET njobs = njobs + :jobs, total = total + :credit, expavg = :expavg_credit, expavg_time = :expavg_time
WHERE teamid = :owner AND appid = :appid AND credit_type = 0;

-- name: add_credited_job
INSERT IGNORE INTO credited_job (userid, workunitid) VALUES (:userid, :workunitid);
