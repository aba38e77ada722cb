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

-- name: lock_workunit
SELECT id, name, appid, min_quorum, target_nresults, max_error_results, max_total_results, max_success_results,
       need_validate, canonical_resultid, canonical_credit, transition_time, delay_bound, error_mask,
       file_delete_state, assimilate_state, priority, batch, rsc_fpops_est, rsc_fpops_bound, opaque
FROM workunit WHERE id = :id FOR UPDATE;

-- name: results
-- With the documents that validators and assimilators read.
SELECT id, name, workunitid, server_state, outcome, client_state, validate_state, file_delete_state, exit_status,
       hostid, userid, teamid, appid, app_version_id, report_deadline, sent_time, received_time, elapsed_time,
       cpu_time, flops_estimate, granted_credit, claimed_credit, opaque, runtime_outlier, priority, batch,
       xml_doc_in, xml_doc_out, stderr_out
FROM result WHERE workunitid IN :ids ORDER BY workunitid, id;

-- name: lock_results
SELECT id, name, workunitid, server_state, outcome, client_state, validate_state, file_delete_state, exit_status,
       hostid, userid, teamid, appid, app_version_id, report_deadline, sent_time, received_time, elapsed_time,
       cpu_time, flops_estimate, granted_credit, claimed_credit, opaque, runtime_outlier, priority, batch
FROM result WHERE workunitid = :id ORDER BY id FOR UPDATE;

-- name: versions
-- The scales before this workunit's own samples.
SELECT id, pfc_n, pfc_avg, pfc_scale FROM app_version WHERE id IN :ids;

-- name: clear_need_validate
UPDATE workunit SET need_validate = 0 WHERE id = :id;

-- name: save_result
UPDATE result SET outcome = :outcome, validate_state = :validate_state, granted_credit = :granted_credit,
                  runtime_outlier = :runtime_outlier, opaque = :opaque
WHERE id = :id;

-- name: cancel_unsent
UPDATE result SET server_state = 5, outcome = 5 WHERE workunitid = :id AND server_state IN (1, 2);

-- name: save_workunit
UPDATE workunit
SET need_validate = :need_validate, error_mask = error_mask | :error_bits, min_quorum = :min_quorum,
    target_nresults = :target_nresults, transition_time = :transition_time
WHERE id = :id;

-- name: save_canonical
UPDATE workunit SET canonical_resultid = :canonical_resultid, canonical_credit = :canonical_credit, assimilate_state = 1
WHERE id = :id;

-- name: lock_hosts
SELECT id, expavg_credit, expavg_time, avg_turnaround FROM host WHERE id IN :ids ORDER BY id FOR UPDATE;

-- name: lock_users
SELECT id, teamid, expavg_credit, expavg_time FROM user WHERE id IN :ids ORDER BY id FOR UPDATE;

-- name: lock_teams
SELECT id, expavg_credit, expavg_time FROM team WHERE id IN :ids ORDER BY id FOR UPDATE;

-- name: lock_version
SELECT id, pfc_n, pfc_avg, expavg_credit, expavg_time FROM app_version WHERE id = :id FOR UPDATE;

-- name: save_host
UPDATE host SET total_credit = total_credit + :credit, expavg_credit = :expavg_credit, expavg_time = :expavg_time,
                avg_turnaround = :avg_turnaround
WHERE id = :id;

-- name: save_user
UPDATE user SET total_credit = total_credit + :credit, expavg_credit = :expavg_credit, expavg_time = :expavg_time
WHERE id = :id;

-- name: save_team
UPDATE team SET total_credit = total_credit + :credit, expavg_credit = :expavg_credit, expavg_time = :expavg_time
WHERE id = :id;

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
