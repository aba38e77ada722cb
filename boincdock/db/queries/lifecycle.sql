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

-- name: host_version_lock_many
-- The records of several hosts; more than asked for if a host has several.
SELECT host_id, app_version_id, pfc_n, pfc_avg, et_n, et_avg, et_var, et_q, max_jobs_per_day, n_jobs_today,
       turnaround_n, turnaround_avg, turnaround_var, turnaround_q, consecutive_valid
FROM host_app_version WHERE host_id IN :hosts AND app_version_id IN :versions
ORDER BY host_id, app_version_id FOR UPDATE;

-- name: host_version_save
-- The rows exist and are locked, so this never inserts: it is how to update many rows in one statement.
INSERT INTO host_app_version (host_id, app_version_id, pfc_n, pfc_avg, et_n, et_avg, et_var, et_q, turnaround_n,
                              turnaround_avg, turnaround_var, turnaround_q, max_jobs_per_day, n_jobs_today,
                              consecutive_valid)
VALUES (:host_id, :app_version_id, :pfc_n, :pfc_avg, :et_n, :et_avg, :et_var, :et_q, :turnaround_n,
        :turnaround_avg, :turnaround_var, :turnaround_q, :max_jobs_per_day, :n_jobs_today, :consecutive_valid)
ON DUPLICATE KEY UPDATE pfc_n = VALUES(pfc_n), pfc_avg = VALUES(pfc_avg), et_n = VALUES(et_n),
    et_avg = VALUES(et_avg), et_var = VALUES(et_var), et_q = VALUES(et_q), turnaround_n = VALUES(turnaround_n),
    turnaround_avg = VALUES(turnaround_avg), turnaround_var = VALUES(turnaround_var),
    turnaround_q = VALUES(turnaround_q), max_jobs_per_day = VALUES(max_jobs_per_day),
    n_jobs_today = VALUES(n_jobs_today), consecutive_valid = VALUES(consecutive_valid);

-- name: version_exists
SELECT id FROM app_version WHERE id = :id;
