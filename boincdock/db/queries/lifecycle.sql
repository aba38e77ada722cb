-- name: app_by_name
SELECT id, name, min_avg_pfc, host_scale_check, target_nresults FROM app WHERE name = :name;

-- name: host_version_lock
-- One host's record with one app version, held until the transaction ends.
SELECT host_id, app_version_id, pfc_n, pfc_avg, et_n, et_avg, et_var, et_q, max_jobs_per_day, n_jobs_today,
       turnaround_n, turnaround_avg, turnaround_var, turnaround_q, consecutive_valid
FROM host_app_version WHERE host_id = :host_id AND app_version_id = :app_version_id FOR UPDATE;

-- name: host_version_kin
-- The same host's record with the newest version of the same app, platform and plan class.
SELECT hav.app_version_id, kin.version_num, wanted.version_num AS wanted_version_num
FROM app_version wanted
JOIN app_version kin ON kin.appid = wanted.appid AND kin.platformid = wanted.platformid
                    AND kin.plan_class = wanted.plan_class
JOIN host_app_version hav ON hav.app_version_id = kin.id AND hav.host_id = :host_id
WHERE wanted.id = :app_version_id
ORDER BY kin.version_num DESC LIMIT 1;

-- name: host_version_rekey
UPDATE host_app_version SET app_version_id = :new_id WHERE host_id = :host_id AND app_version_id = :old_id;

-- name: host_version_insert
INSERT IGNORE INTO host_app_version (host_id, app_version_id) VALUES (:host_id, :app_version_id);

-- name: host_version_save
UPDATE host_app_version
SET pfc_n = :pfc_n, pfc_avg = :pfc_avg, et_n = :et_n, et_avg = :et_avg, et_var = :et_var, et_q = :et_q,
    turnaround_n = :turnaround_n, turnaround_avg = :turnaround_avg, turnaround_var = :turnaround_var,
    turnaround_q = :turnaround_q, max_jobs_per_day = :max_jobs_per_day, n_jobs_today = :n_jobs_today,
    consecutive_valid = :consecutive_valid
WHERE host_id = :host_id AND app_version_id = :app_version_id;

-- name: version_exists
SELECT id FROM app_version WHERE id = :id;
