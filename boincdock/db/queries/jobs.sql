-- Job creation, cancelling, re-basing of URLs (boincdock/jobs/).

-- name: app_by_name
-- The app a job is for.
SELECT id, name, user_friendly_name, deprecated FROM app WHERE name = :name;

-- name: app_names
SELECT name FROM app WHERE deprecated = 0 ORDER BY name;

-- name: host_exists
SELECT id FROM host WHERE id = :id;

-- name: user_exists
SELECT id FROM user WHERE id = :id;

-- name: team_exists
SELECT id FROM team WHERE id = :id;

-- name: insert_workunit
-- One value list, so that the drivers make multi-row statements of it.
INSERT INTO workunit (create_time, appid, name, xml_doc, batch, rsc_fpops_est, rsc_fpops_bound, rsc_memory_bound,
    rsc_disk_bound, rsc_bandwidth_bound, canonical_credit, transition_time, delay_bound, hr_class, min_quorum,
    target_nresults, max_error_results, max_total_results, max_success_results, result_template_file, priority,
    transitioner_flags, size_class, keywords, app_version_num)
VALUES (:create_time, :appid, :name, :xml_doc, :batch, :rsc_fpops_est, :rsc_fpops_bound, :rsc_memory_bound,
    :rsc_disk_bound, :rsc_bandwidth_bound, :canonical_credit, :transition_time, :delay_bound, :hr_class, :min_quorum,
    :target_nresults, :max_error_results, :max_total_results, :max_success_results, :result_template_file, :priority,
    :transitioner_flags, :size_class, :keywords, :app_version_num);

-- name: fill_workunit
-- create_work --wu_id: a row that somebody reserved becomes this job.
UPDATE workunit SET create_time = :create_time, appid = :appid, name = :name, xml_doc = :xml_doc, batch = :batch,
    rsc_fpops_est = :rsc_fpops_est, rsc_fpops_bound = :rsc_fpops_bound, rsc_memory_bound = :rsc_memory_bound,
    rsc_disk_bound = :rsc_disk_bound, rsc_bandwidth_bound = :rsc_bandwidth_bound,
    canonical_credit = :canonical_credit, transition_time = :transition_time, delay_bound = :delay_bound,
    hr_class = :hr_class, min_quorum = :min_quorum, target_nresults = :target_nresults,
    max_error_results = :max_error_results, max_total_results = :max_total_results,
    max_success_results = :max_success_results, result_template_file = :result_template_file,
    priority = :priority, transitioner_flags = :transitioner_flags, size_class = :size_class,
    keywords = :keywords, app_version_num = :app_version_num
WHERE id = :id;

-- name: id_by_name
SELECT id FROM workunit WHERE name = :name;

-- name: ids_by_names
SELECT id, name FROM workunit WHERE name IN :names;

-- name: insert_assignment
INSERT INTO assignment (create_time, target_id, target_type, multi, workunitid)
VALUES (:create_time, :target_id, :target_type, :multi, :workunitid);

-- name: cancel_range_ids
-- Workunits of an id range, in chunks: the next ones after :after.
SELECT id FROM workunit WHERE id > :after AND id <= :last ORDER BY id LIMIT :count;

-- name: cancel_results
-- Instances that no host has: over, not needed. Instances in progress are aborted through the scheduler.
UPDATE result SET server_state = 5, outcome = 5
WHERE workunitid IN :ids AND server_state <= 2;

-- name: cancel_workunits
-- The transitioner does the rest at once. A job that has its result already is left alone.
UPDATE workunit SET error_mask = error_mask | 16, transition_time = :now
WHERE id IN :ids AND assimilate_state = 0;

-- name: keep_job_file
-- Create the row of a shared input file, or raise (never lower) the time until which it is kept.
INSERT INTO job_file (name, create_time, delete_time) VALUES (:name, :now, :delete_time)
ON DUPLICATE KEY UPDATE delete_time = GREATEST(delete_time, VALUES(delete_time));

-- name: expired_job_files
SELECT id, name FROM job_file WHERE delete_time > 0 AND delete_time < :now ORDER BY id LIMIT :count;

-- name: lock_job_file
SELECT id, name, delete_time FROM job_file WHERE id = :id FOR UPDATE;

-- name: job_file_in_use
-- Any workunit that is not finished and names the file, or an unfinished batch that it belongs to. Scans
-- the unfinished workunits, once for each expired file.
SELECT 1 AS used FROM workunit WHERE file_delete_state = 0 AND assimilate_state <> 2 AND xml_doc LIKE :pattern
UNION ALL
SELECT 1 FROM batch_file_assoc a JOIN batch b ON b.id = a.batch_id WHERE a.job_file_id = :id AND b.state IN (0, 1)
LIMIT 1;

-- name: forget_job_file
DELETE FROM job_file WHERE id = :id;

-- name: forget_job_file_batches
DELETE FROM batch_file_assoc WHERE job_file_id = :id;

-- name: rebase_app_version_page
-- The next app versions; deprecated ones too, they may come back.
SELECT id, xml_doc AS xml FROM app_version WHERE id > :after ORDER BY id LIMIT :count;

-- name: rebase_app_version
UPDATE app_version SET xml_doc = :xml WHERE id = :id;

-- name: rebase_workunit_page
-- The next workunits whose description may still be sent to a client.
SELECT id, xml_doc AS xml FROM workunit WHERE id > :after AND assimilate_state <> 2 ORDER BY id LIMIT :count;

-- name: rebase_workunit
UPDATE workunit SET xml_doc = :xml WHERE id = :id;

-- name: rebase_result_page
-- Not over: to be sent, or to be sent again if the client lost it.
SELECT id, xml_doc_in AS xml FROM result WHERE id > :after AND server_state <> 5 ORDER BY id LIMIT :count;

-- name: rebase_result
UPDATE result SET xml_doc_in = :xml WHERE id = :id;
