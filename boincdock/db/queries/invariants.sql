-- Every block finds rows that break the rule of its name: id, and what is wrong. One statement per rule, so each sees one
-- consistent state of all tables while daemons work.

-- name: result_states
SELECT id, CONCAT('server_state ', server_state, ', outcome ', outcome, ', validate_state ', validate_state,
                  ', file_delete_state ', file_delete_state) AS detail
FROM result
WHERE server_state NOT IN (1, 2, 4, 5) OR outcome NOT BETWEEN 0 AND 7 OR validate_state NOT BETWEEN 0 AND 5
   OR file_delete_state NOT BETWEEN 0 AND 3
LIMIT :limit;

-- name: over_without_outcome
SELECT id, name AS detail FROM result WHERE server_state = 5 AND outcome = 0 LIMIT :limit;

-- name: outcome_before_over
SELECT id, CONCAT(name, ': outcome ', outcome) AS detail FROM result
WHERE server_state IN (1, 2, 4) AND outcome <> 0 LIMIT :limit;

-- name: sent_without_host
SELECT id, name AS detail FROM result
WHERE server_state = 4 AND (hostid = 0 OR sent_time = 0 OR report_deadline = 0) LIMIT :limit;

-- name: unsent_with_host
SELECT id, CONCAT(name, ': host ', hostid) AS detail FROM result
WHERE server_state IN (1, 2) AND (hostid <> 0 OR sent_time <> 0) LIMIT :limit;

-- name: result_without_workunit
SELECT r.id, CONCAT(r.name, ': workunit ', r.workunitid) AS detail
FROM result r LEFT JOIN workunit w ON w.id = r.workunitid WHERE w.id IS NULL LIMIT :limit;

-- name: valid_without_success
SELECT id, CONCAT(name, ': outcome ', outcome) AS detail FROM result
WHERE validate_state = 1 AND (server_state <> 5 OR outcome <> 1) LIMIT :limit;

-- name: credit_without_validity
SELECT id, CONCAT(name, ': ', granted_credit) AS detail FROM result
WHERE granted_credit < 0 OR (granted_credit > 0 AND validate_state <> 1) LIMIT :limit;

-- name: two_results_on_a_host
SELECT MIN(id) AS id, CONCAT('workunit ', workunitid, ', host ', hostid, ': ', COUNT(*)) AS detail FROM result
WHERE hostid > 0 GROUP BY workunitid, hostid HAVING COUNT(*) > 1 LIMIT :limit;

-- name: two_results_of_a_user
SELECT MIN(id) AS id, CONCAT('workunit ', workunitid, ', user ', userid, ': ', COUNT(*)) AS detail FROM result
WHERE userid > 0 GROUP BY workunitid, userid HAVING COUNT(*) > 1 LIMIT :limit;

-- name: too_many_results
SELECT w.id, CONCAT(w.name, ': ', COUNT(*), ' results') AS detail
FROM workunit w JOIN result r ON r.workunitid = w.id
WHERE w.transitioner_flags = 0
GROUP BY w.id, w.name, w.max_total_results HAVING COUNT(*) > w.max_total_results LIMIT :limit;

-- name: workunit_states
SELECT id, CONCAT('need_validate ', need_validate, ', assimilate_state ', assimilate_state, ', file_delete_state ',
                  file_delete_state, ', error_mask ', error_mask) AS detail
FROM workunit
WHERE need_validate NOT IN (0, 1) OR assimilate_state NOT BETWEEN 0 AND 2 OR file_delete_state NOT BETWEEN 0 AND 3
   OR error_mask NOT BETWEEN 0 AND 63
LIMIT :limit;

-- name: canonical_missing
SELECT w.id, CONCAT(w.name, ': result ', w.canonical_resultid) AS detail
FROM workunit w LEFT JOIN result r ON r.id = w.canonical_resultid AND r.workunitid = w.id
WHERE w.canonical_resultid <> 0 AND r.id IS NULL LIMIT :limit;

-- name: canonical_not_valid
SELECT w.id, CONCAT(w.name, ': validate_state ', r.validate_state) AS detail
FROM workunit w JOIN result r ON r.id = w.canonical_resultid AND r.workunitid = w.id
WHERE w.canonical_resultid <> 0 AND r.validate_state <> 1 LIMIT :limit;

-- name: valid_without_canonical
SELECT r.id, CONCAT(r.name, ': workunit ', w.id) AS detail
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.validate_state = 1 AND w.canonical_resultid = 0 AND w.error_mask = 0 LIMIT :limit;

-- name: credit_unequal
SELECT r.id, CONCAT(r.name, ': ', r.granted_credit, ', its workunit ', w.canonical_credit) AS detail
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.validate_state = 1 AND w.canonical_resultid <> 0
  AND ABS(r.granted_credit - w.canonical_credit) > 0.000001 + 0.000000001 * ABS(w.canonical_credit)
LIMIT :limit;

-- name: assimilated_without_cause
SELECT id, CONCAT(name, ': assimilate_state ', assimilate_state) AS detail FROM workunit
WHERE assimilate_state > 0 AND canonical_resultid = 0 AND error_mask = 0 LIMIT :limit;

-- name: deleted_before_assimilation
SELECT id, CONCAT(name, ': assimilate_state ', assimilate_state) AS detail FROM workunit
WHERE file_delete_state > 0 AND assimilate_state <> 2 LIMIT :limit;

-- name: inputs_deleted_under_a_result
SELECT r.id, CONCAT(r.name, ': workunit ', w.id) AS detail
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = 4 AND w.file_delete_state > 0 LIMIT :limit;

-- name: canonical_deleted_too_early
SELECT w.id, w.name AS detail
FROM workunit w JOIN result c ON c.id = w.canonical_resultid
WHERE c.file_delete_state > 0 AND EXISTS (SELECT 1 FROM result r WHERE r.workunitid = w.id
    AND (r.server_state <> 5 OR (r.outcome = 1 AND r.validate_state = 0 AND r.received_time < :stale)))
LIMIT :limit;

-- name: overdue_transition
SELECT id, CONCAT(name, ': since ', transition_time) AS detail FROM workunit
WHERE transition_time < :stale AND transitioner_flags <> 1 ORDER BY transition_time LIMIT :limit;

-- name: never_looked_at
SELECT id, name AS detail FROM workunit
WHERE transition_time = 2147483647 AND canonical_resultid = 0 AND error_mask = 0 AND transitioner_flags = 0
LIMIT :limit;

-- name: deadline_unwatched
SELECT r.id, CONCAT(r.name, ': deadline ', r.report_deadline, ', next look ', w.transition_time) AS detail
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = 4 AND w.transition_time > r.report_deadline AND w.transition_time > :now
  AND w.transitioner_flags <> 1 AND w.assimilate_state <> 1
LIMIT :limit;

-- name: quorum_unnoticed
SELECT w.id, w.name AS detail
FROM workunit w JOIN result r ON r.workunitid = w.id
WHERE w.need_validate = 0 AND w.canonical_resultid = 0 AND w.error_mask = 0 AND w.transition_time > :now
  AND w.transitioner_flags <> 1 AND r.server_state = 5 AND r.outcome = 1
GROUP BY w.id, w.name, w.min_quorum
HAVING SUM(r.validate_state = 0) > 0 AND SUM(r.validate_state <> 2) >= w.min_quorum
LIMIT :limit;

-- name: late_result_unnoticed
SELECT r.id, CONCAT(r.name, ': workunit ', w.id) AS detail
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 0 AND w.canonical_resultid <> 0
  AND w.need_validate = 0 AND w.transition_time > :now AND w.transitioner_flags <> 1
LIMIT :limit;

-- name: unsent_of_finished
SELECT r.id, CONCAT(r.name, ': workunit ', w.id) AS detail
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state IN (1, 2) AND (w.canonical_resultid <> 0 OR w.error_mask <> 0) AND w.transition_time > :now
  AND w.transitioner_flags = 0 AND w.assimilate_state <> 1
LIMIT :limit;

-- name: error_not_assimilated
SELECT id, CONCAT(name, ': error_mask ', error_mask) AS detail FROM workunit
WHERE (error_mask <> 0 OR canonical_resultid <> 0) AND assimilate_state = 0 AND transition_time = 2147483647
  AND transitioner_flags <> 1
LIMIT :limit;

-- name: credit_totals_invalid
SELECT id, CONCAT('host: ', total_credit, ', ', expavg_credit) AS detail FROM host WHERE total_credit < 0 OR expavg_credit < 0
UNION ALL
SELECT id, CONCAT('user: ', total_credit, ', ', expavg_credit) FROM user WHERE total_credit < 0 OR expavg_credit < 0
UNION ALL
SELECT id, CONCAT('team: ', total_credit, ', ', expavg_credit) FROM team WHERE total_credit < 0 OR expavg_credit < 0
LIMIT :limit;

-- name: host_credit_too_low
SELECT h.id, CONCAT('total ', h.total_credit, ', its results ', s.granted) AS detail
FROM host h JOIN (SELECT hostid, SUM(granted_credit) AS granted FROM result WHERE granted_credit > 0 GROUP BY hostid) s
  ON s.hostid = h.id
WHERE s.granted > h.total_credit + 0.001 + 0.000000001 * h.total_credit LIMIT :limit;

-- name: user_credit_too_low
SELECT u.id, CONCAT('total ', u.total_credit, ', its results ', s.granted) AS detail
FROM user u JOIN (SELECT userid, SUM(granted_credit) AS granted FROM result WHERE granted_credit > 0 GROUP BY userid) s
  ON s.userid = u.id
WHERE s.granted > u.total_credit + 0.001 + 0.000000001 * u.total_credit LIMIT :limit;

-- name: credit_exact
-- Only if nothing was purged and all credit came from results.
SELECT h.id, CONCAT('host: total ', h.total_credit, ', its results ', COALESCE(s.granted, 0)) AS detail
FROM host h LEFT JOIN (SELECT hostid, SUM(granted_credit) AS granted FROM result GROUP BY hostid) s ON s.hostid = h.id
WHERE ABS(h.total_credit - COALESCE(s.granted, 0)) > 0.001 + 0.000000001 * h.total_credit
UNION ALL
SELECT u.id, CONCAT('user: total ', u.total_credit, ', its results ', COALESCE(s.granted, 0))
FROM user u LEFT JOIN (SELECT userid, SUM(granted_credit) AS granted FROM result GROUP BY userid) s ON s.userid = u.id
WHERE ABS(u.total_credit - COALESCE(s.granted, 0)) > 0.001 + 0.000000001 * u.total_credit
LIMIT :limit;

-- name: user_below_its_hosts
SELECT u.id, CONCAT('user ', u.total_credit, ', its hosts ', s.total) AS detail
FROM user u JOIN (SELECT userid, SUM(total_credit) AS total FROM host WHERE userid > 0 GROUP BY userid) s ON s.userid = u.id
WHERE s.total > u.total_credit + 0.001 + 0.000000001 * u.total_credit LIMIT :limit;

-- name: host_without_user
SELECT h.id, CONCAT('user ', h.userid) AS detail
FROM host h LEFT JOIN user u ON u.id = h.userid WHERE h.userid <> 0 AND u.id IS NULL LIMIT :limit;

-- name: user_without_team
SELECT u.id, CONCAT('team ', u.teamid) AS detail
FROM user u LEFT JOIN team t ON t.id = u.teamid WHERE u.teamid <> 0 AND t.id IS NULL LIMIT :limit;

-- name: host_record_invalid
SELECT host_id AS id, CONCAT('app version ', app_version_id) AS detail FROM host_app_version
WHERE max_jobs_per_day < 0 OR n_jobs_today < 0 OR consecutive_valid < 0 OR pfc_n < 0 OR et_n < 0 OR turnaround_n < 0
   OR pfc_avg < 0 OR et_avg < 0 OR turnaround_avg < 0
LIMIT :limit;

-- name: batch_states
SELECT id, CONCAT('state ', state) AS detail FROM batch WHERE state NOT BETWEEN 0 AND 4 LIMIT :limit;

-- name: batch_complete_too_early
SELECT b.id, CONCAT('workunit ', MIN(w.id)) AS detail
FROM batch b JOIN workunit w ON w.batch = b.id
WHERE b.state = 2 AND w.canonical_resultid = 0 AND w.error_mask = 0
GROUP BY b.id LIMIT :limit;

-- name: canonical_page
-- Canonical results whose outputs must be there, because they are not assimilated yet.
SELECT w.id AS wu_id, w.name AS wu_name, r.id, r.name, r.xml_doc_in FROM workunit w JOIN result r ON r.id = w.canonical_resultid
WHERE w.id > :after AND w.canonical_resultid <> 0 AND w.assimilate_state < 2 AND r.file_delete_state = 0
ORDER BY w.id LIMIT :limit;

-- name: unfinished_page
-- Workunits whose inputs must be there, because instances may still be sent or sent again.
SELECT id, name, xml_doc FROM workunit
WHERE id > :after AND canonical_resultid = 0 AND error_mask = 0 AND file_delete_state = 0
ORDER BY id LIMIT :limit;

-- name: document_page
SELECT id, xml_doc FROM workunit WHERE id > :after AND file_delete_state <> 2 ORDER BY id LIMIT :limit;

-- name: results_by_name
SELECT name, file_delete_state FROM result WHERE name IN :names;

-- name: job_files_by_name
SELECT name FROM job_file WHERE name IN :names;
