-- Scheduler: reports, lost jobs, windows of unsent jobs and the claim (docs/decisions/0010).

-- name: results_by_name
SELECT r.id, r.name, r.workunitid, r.server_state, r.outcome, r.hostid, r.userid, r.received_time, r.sent_time,
       r.appid, r.app_version_id
FROM result r WHERE r.name IN :names;

-- name: host_owner
SELECT id, userid FROM host WHERE id IN :ids;

-- name: wake_workunits
UPDATE workunit SET transition_time = :now WHERE id IN :ids;

-- name: store_report
-- The old state makes a report that lost a race a no-op.
UPDATE result SET hostid = :hostid, teamid = :teamid, received_time = :received_time, client_state = :client_state,
    cpu_time = :cpu_time, elapsed_time = :elapsed_time, exit_status = :exit_status,
    app_version_num = :app_version_num, peak_working_set_size = :peak_working_set_size,
    peak_swap_size = :peak_swap_size, peak_disk_usage = :peak_disk_usage, stderr_out = :stderr_out,
    xml_doc_out = :xml_doc_out, server_state = 5, outcome = :outcome, validate_state = :validate_state
WHERE id = :id AND server_state = :old_state AND outcome = :old_outcome AND received_time = 0;

-- name: in_progress_of_host
-- Jobs the server thinks the host has (res_host_state).
SELECT id, workunitid FROM result WHERE hostid = :hostid AND server_state = 4;

-- name: abandon_results
UPDATE result SET server_state = 5, outcome = 7, received_time = :now WHERE id IN :ids AND server_state = 4;

-- name: host_jobs
-- Jobs in progress on a host with what resending and aborting need.
SELECT r.id AS resultid, r.workunitid, r.appid, r.priority, w.name AS wu_name, w.rsc_fpops_est, w.rsc_fpops_bound,
       w.rsc_memory_bound, w.rsc_disk_bound, w.rsc_bandwidth_bound, w.delay_bound, w.batch, w.hr_class,
       w.app_version_id, w.app_version_num, w.min_quorum, w.target_nresults, w.size_class, w.keywords,
       r.name, r.server_state, r.sent_time, r.report_deadline, w.error_mask, w.assimilate_state,
       w.canonical_resultid
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.hostid = :hostid AND r.server_state = 4;

-- name: late_jobs
-- Which of these names are jobs of the host that timed out.
SELECT r.name, w.error_mask, w.assimilate_state
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.name IN :names AND r.hostid = :hostid AND r.server_state = 5 AND r.outcome = 4;

-- name: expire_result
UPDATE result SET report_deadline = :deadline WHERE id = :id AND hostid = :hostid AND server_state = 4;

-- name: soonest_transition
UPDATE workunit SET transition_time = LEAST(transition_time, :time) WHERE id = :id;

-- name: top_priority
-- Not MAX(): MariaDB reads the whole queue for that when the index column is descending.
SELECT priority AS p FROM result WHERE server_state = 2 AND appid = :appid ORDER BY priority DESC LIMIT 1;

-- name: next_priority
SELECT priority AS p FROM result WHERE server_state = 2 AND appid = :appid AND priority < :priority
ORDER BY priority DESC LIMIT 1;

-- name: head_ids
-- The oldest unsent results of one priority: an index-only range of res_dispatch.
SELECT id FROM result WHERE server_state = 2 AND appid = :appid AND priority = :priority AND id > :after
ORDER BY id LIMIT :skip, :n;

-- name: candidates
SELECT r.id AS resultid, r.workunitid, r.appid, r.priority, w.name AS wu_name, w.rsc_fpops_est, w.rsc_fpops_bound,
       w.rsc_memory_bound, w.rsc_disk_bound, w.rsc_bandwidth_bound, w.delay_bound, w.batch, w.hr_class,
       w.app_version_id, w.app_version_num, w.min_quorum, w.target_nresults, w.size_class, w.keywords
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.id IN :ids AND r.server_state = 2 AND w.transitioner_flags = 0 AND w.error_mask = 0
  AND w.canonical_resultid = 0;

-- name: candidates_between
-- The same for a range of the queue, without the jobs committed to other kinds of hosts. The range
-- of ids may hold far more finished results than unsent ones, hence the index.
SELECT STRAIGHT_JOIN r.id AS resultid, r.workunitid, r.appid, r.priority, w.name AS wu_name, w.rsc_fpops_est,
       w.rsc_fpops_bound, w.rsc_memory_bound, w.rsc_disk_bound, w.rsc_bandwidth_bound, w.delay_bound, w.batch,
       w.hr_class, w.app_version_id, w.app_version_num, w.min_quorum, w.target_nresults, w.size_class, w.keywords
FROM result r FORCE INDEX (res_dispatch) JOIN workunit w ON w.id = r.workunitid
WHERE r.server_state = 2 AND r.appid = :appid AND r.priority = :priority AND r.id BETWEEN :first AND :last
  AND w.transitioner_flags = 0 AND w.error_mask = 0 AND w.canonical_resultid = 0
  AND w.hr_class IN :classes AND w.app_version_id NOT IN :versions
ORDER BY r.id LIMIT :n;

-- name: workunit_docs
SELECT id, xml_doc FROM workunit WHERE id IN :ids;

-- name: apps_of_results
SELECT DISTINCT appid FROM result WHERE name IN :names;

-- name: assignments
-- Targeted or broadcast jobs that concern a host (asgn_target).
SELECT a.id AS assignment_id, a.target_type, 0 AS resultid, w.id AS workunitid, w.appid, w.priority,
       w.name AS wu_name, w.rsc_fpops_est, w.rsc_fpops_bound, w.rsc_memory_bound, w.rsc_disk_bound,
       w.rsc_bandwidth_bound, w.delay_bound, w.batch, w.hr_class, w.app_version_id, w.app_version_num, w.min_quorum,
       w.target_nresults, w.size_class, w.keywords, w.error_mask, w.need_validate, w.canonical_resultid,
       w.transition_time, w.transitioner_flags, w.result_template_file
FROM assignment a LEFT JOIN workunit w ON w.id = a.workunitid
WHERE a.multi = :multi AND (a.target_type = 0 OR (a.target_type = 1 AND a.target_id = :hostid)
  OR (a.target_type = 2 AND a.target_id = :userid) OR (a.target_type = 3 AND a.target_id = :teamid))
ORDER BY a.id LIMIT 500;

-- name: delete_assignment
DELETE FROM assignment WHERE id = :id;

-- name: lock_workunit
SELECT id AS workunitid, xml_doc, hr_class, app_version_id, target_nresults, min_quorum
FROM workunit WHERE id = :id AND error_mask = 0 AND canonical_resultid = 0
FOR UPDATE SKIP LOCKED;

-- name: instances
SELECT id, server_state, outcome, validate_state, hostid FROM result WHERE workunitid = :id;

-- name: insert_result
INSERT INTO result (create_time, workunitid, appid, name, xml_doc_in, server_state, batch, priority, size_class, random)
VALUES (:create_time, :workunitid, :appid, :name, :xml_doc_in, 2, :batch, :priority, :size_class, :random);

-- name: delete_result
DELETE FROM result WHERE id = :id AND server_state = 2;

-- name: lock_jobs
-- Locks the still unsent ones of these results and their workunits; what others hold is left out, so claimers
-- never wait for one another.
SELECT STRAIGHT_JOIN r.id, r.workunitid, r.name, r.xml_doc_in, w.xml_doc, w.hr_class, w.app_version_id,
       w.target_nresults, w.min_quorum
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.id IN :ids AND r.server_state = 2 AND w.error_mask = 0 AND w.canonical_resultid = 0
FOR UPDATE SKIP LOCKED;

-- name: lock_lost_job
SELECT STRAIGHT_JOIN r.id, r.workunitid, r.name, r.xml_doc_in, w.xml_doc, w.hr_class, w.app_version_id,
       w.target_nresults, w.min_quorum
FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.id = :id AND r.server_state = 4 AND r.hostid = :hostid
FOR UPDATE SKIP LOCKED;

-- name: had_by_user
SELECT DISTINCT workunitid FROM result WHERE workunitid IN :ids AND userid = :userid;

-- name: had_by_host
SELECT DISTINCT workunitid FROM result WHERE workunitid IN :ids AND hostid = :hostid;

-- name: claim_workunit
UPDATE workunit SET transition_time = LEAST(transition_time, :time) WHERE id = :id;

-- name: commit_workunit
-- With homogeneous redundancy or app version, or adaptive replication.
UPDATE workunit SET transition_time = LEAST(transition_time, :time), hr_class = :hr_class,
       app_version_id = :app_version_id, target_nresults = :target_nresults, min_quorum = :min_quorum
WHERE id = :id AND hr_class IN (0, :hr_class) AND app_version_id IN (0, :app_version_id);

-- name: claim_result
UPDATE result SET server_state = 4, hostid = :hostid, userid = :userid, sent_time = :now,
       report_deadline = :deadline, flops_estimate = :flops_estimate, app_version_id = :app_version_id
WHERE id = :id AND server_state = :old_state;
