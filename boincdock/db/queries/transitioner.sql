-- name: claim
-- Workunits that are due, locked; those that another daemon or an RPC holds are left to it.
SELECT id, name, appid, min_quorum, target_nresults, max_error_results, max_total_results, max_success_results,
       need_validate, canonical_resultid, canonical_credit, transition_time, delay_bound, error_mask,
       file_delete_state, assimilate_state, hr_class, app_version_id, transitioner_flags, priority, batch,
       size_class, result_template_file, rsc_fpops_est, rsc_fpops_bound, opaque
FROM workunit FORCE INDEX (wu_timeout)
WHERE transition_time < :now AND transitioner_flags <> 1 AND id % :n = :i
ORDER BY transition_time, id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: claim_ids
-- The same, for chosen workunits only; no other row is so much as looked at.
SELECT id, name, appid, min_quorum, target_nresults, max_error_results, max_total_results, max_success_results,
       need_validate, canonical_resultid, canonical_credit, transition_time, delay_bound, error_mask,
       file_delete_state, assimilate_state, hr_class, app_version_id, transitioner_flags, priority, batch,
       size_class, result_template_file, rsc_fpops_est, rsc_fpops_bound, opaque
FROM workunit FORCE INDEX (PRIMARY)
WHERE id IN :ids AND transition_time < :now AND transitioner_flags <> 1
ORDER BY id FOR UPDATE SKIP LOCKED;

-- name: results
SELECT id, name, workunitid, server_state, outcome, client_state, validate_state, file_delete_state, exit_status,
       hostid, userid, appid, app_version_id, report_deadline, sent_time, received_time, priority, batch
FROM result WHERE workunitid IN :ids ORDER BY workunitid, id;

-- name: insert_result
INSERT INTO result (create_time, workunitid, server_state, name, xml_doc_in, batch, random, appid, priority, size_class)
VALUES (:create_time, :workunitid, :server_state, :name, :xml_doc_in, :batch, :random, :appid, :priority, :size_class);

-- name: lock_overdue
-- Of these results, those that still are in progress past their deadline.
SELECT id FROM result WHERE id IN :ids AND server_state = 4 AND report_deadline < :now ORDER BY id FOR UPDATE;

-- name: time_out
UPDATE result SET server_state = 5, outcome = 4 WHERE id IN :ids AND server_state = 4 AND report_deadline < :now;

-- name: mark_too_late
UPDATE result SET validate_state = 5
WHERE id IN :ids AND server_state = 5 AND outcome = 1 AND validate_state = 0;

-- name: mark_no_check
UPDATE result SET validate_state = 3
WHERE id IN :ids AND server_state = 5 AND outcome = 1 AND validate_state IN (0, 4);

-- name: mark_not_needed
UPDATE result SET server_state = 5, outcome = 5 WHERE id IN :ids AND server_state IN (1, 2);

-- name: mark_files_ready
UPDATE result SET file_delete_state = 1 WHERE id IN :ids AND file_delete_state = 0;

-- name: save
-- The rows are locked by claim, so nobody's change is overwritten; a report that waits for the lock sets
-- its own transition_time afterwards.
UPDATE workunit
SET need_validate = IF(:need_validate, 1, need_validate),
    error_mask = error_mask | :error_bits,
    assimilate_state = IF(:assimilate AND assimilate_state = 0, 1, assimilate_state),
    file_delete_state = IF(:delete_wu_files AND file_delete_state = 0, 1, file_delete_state),
    hr_class = IF(:reset_class, 0, hr_class),
    app_version_id = IF(:reset_class, 0, app_version_id),
    transition_time = :transition_time
WHERE id IN :ids;

-- name: park
-- A workunit whose transition failed comes again later.
UPDATE workunit SET transition_time = :transition_time WHERE id = :id AND transition_time <= :now;

-- name: due
SELECT id FROM workunit FORCE INDEX (wu_timeout)
WHERE transition_time < :now AND transitioner_flags <> 1 AND id % :n = :i
ORDER BY transition_time, id LIMIT :limit;
