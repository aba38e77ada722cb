-- Scheduler: accounts, hosts, host_app_version, reference tables, messages (boincdock/scheduler/repository.py).

-- name: platforms
SELECT id, name FROM platform WHERE deprecated = 0;

-- name: apps
SELECT id, name, user_friendly_name, min_version, homogeneous_redundancy, weight, beta, target_nresults,
       homogeneous_app_version, non_cpu_intensive, locality_scheduling, n_size_classes, fraction_done_exact
FROM app WHERE deprecated = 0;

-- name: app_versions
SELECT id, appid, version_num, platformid, xml_doc, min_core_version, max_core_version, plan_class,
       pfc_n, pfc_avg, beta
FROM app_version WHERE deprecated = 0 ORDER BY id;

-- name: app_version
-- One version, also a deprecated one, for workunits committed to it.
SELECT v.id, v.appid, v.version_num, v.platformid, v.xml_doc, v.min_core_version, v.max_core_version,
       v.plan_class, v.pfc_n, v.pfc_avg, v.beta, p.name AS platform
FROM app_version v JOIN platform p ON p.id = v.platformid WHERE v.id = :id;

-- name: count_hosts
SELECT COUNT(*) AS n FROM host WHERE expavg_credit > 10;

-- name: fpops_at
-- The p_fpops at a rank among hosts with recent credit.
SELECT p_fpops FROM host WHERE expavg_credit > 10 ORDER BY p_fpops LIMIT :rank, 1;

-- name: host_with_owner
-- All that nearly every request needs of its host, and no more, in one round trip; host_app_version rows come as a JSON array of arrays.
SELECT h.id, h.userid, h.create_time, h.rpc_seqno, h.rpc_time, h.total_credit, h.expavg_credit, h.venue,
       h.last_ip_addr, h.nsame_ip_addr, h.host_cpid, h.max_results_day, h.error_rate,
       u.id AS u_id, u.create_time AS u_create_time, u.name AS u_name, u.email_addr AS u_email_addr,
       u.authenticator AS u_authenticator, u.passwd_hash AS u_passwd_hash, u.total_credit AS u_total_credit,
       u.expavg_credit AS u_expavg_credit, u.global_prefs AS u_global_prefs, u.project_prefs AS u_project_prefs,
       u.teamid AS u_teamid, u.venue AS u_venue, u.cross_project_id AS u_cross_project_id,
       u.seti_id AS u_seti_id, t.name AS u_team_name,
       (SELECT JSON_ARRAYAGG(JSON_ARRAY(v.app_version_id, v.pfc_n, v.pfc_avg, v.et_n, v.et_avg, v.max_jobs_per_day,
               v.n_jobs_today, v.turnaround_n, v.turnaround_avg, v.consecutive_valid))
        FROM host_app_version v WHERE v.host_id = h.id) AS hav
FROM host h LEFT JOIN user u ON u.id = h.userid LEFT JOIN team t ON t.id = u.teamid
WHERE h.id = :id;

-- name: user_by_id
SELECT u.id AS u_id, u.create_time AS u_create_time, u.name AS u_name, u.email_addr AS u_email_addr,
       u.authenticator AS u_authenticator, u.passwd_hash AS u_passwd_hash, u.total_credit AS u_total_credit,
       u.expavg_credit AS u_expavg_credit, u.global_prefs AS u_global_prefs, u.project_prefs AS u_project_prefs,
       u.teamid AS u_teamid, u.venue AS u_venue, u.cross_project_id AS u_cross_project_id,
       u.seti_id AS u_seti_id, t.name AS u_team_name
FROM user u LEFT JOIN team t ON t.id = u.teamid WHERE u.id = :id;

-- name: user_by_authenticator
SELECT u.id AS u_id, u.create_time AS u_create_time, u.name AS u_name, u.email_addr AS u_email_addr,
       u.authenticator AS u_authenticator, u.passwd_hash AS u_passwd_hash, u.total_credit AS u_total_credit,
       u.expavg_credit AS u_expavg_credit, u.global_prefs AS u_global_prefs, u.project_prefs AS u_project_prefs,
       u.teamid AS u_teamid, u.venue AS u_venue, u.cross_project_id AS u_cross_project_id,
       u.seti_id AS u_seti_id, t.name AS u_team_name
FROM user u LEFT JOIN team t ON t.id = u.teamid WHERE u.authenticator = :authenticator;

-- name: lock_user
-- Serialises the creation of hosts of one account.
SELECT id FROM user WHERE id = :id FOR UPDATE;

-- name: host_by_cpid
SELECT * FROM host WHERE userid = :userid AND host_cpid = :host_cpid ORDER BY id DESC LIMIT 1;

-- name: similar_host
SELECT * FROM host
WHERE userid = :userid AND domain_name = :domain_name AND last_ip_addr = :last_ip_addr AND os_name = :os_name
  AND p_model = :p_model AND m_nbytes = :m_nbytes
ORDER BY id DESC LIMIT 1;

-- name: insert_host
INSERT INTO host (create_time, userid, rpc_time, expavg_time, venue, domain_name, host_cpid)
VALUES (:create_time, :userid, :rpc_time, :expavg_time, :venue, :domain_name, :host_cpid);

-- name: update_host
-- The old values make a concurrent request of the same host lose.
UPDATE host SET
    rpc_seqno = :rpc_seqno, rpc_time = :rpc_time, timezone = :timezone, domain_name = :domain_name,
    last_ip_addr = :last_ip_addr, nsame_ip_addr = :nsame_ip_addr, on_frac = :on_frac,
    connected_frac = :connected_frac, active_frac = :active_frac, gpu_active_frac = :gpu_active_frac,
    duration_correction_factor = :duration_correction_factor, p_ncpus = :p_ncpus, p_vendor = :p_vendor,
    p_model = :p_model, p_fpops = :p_fpops, p_iops = :p_iops, p_membw = :p_membw, os_name = :os_name,
    os_version = :os_version, m_nbytes = :m_nbytes, m_cache = :m_cache, m_swap = :m_swap, d_total = :d_total,
    d_free = :d_free, d_boinc_used_total = :d_boinc_used_total, d_boinc_used_project = :d_boinc_used_project,
    d_boinc_max = :d_boinc_max, n_bwup = :n_bwup, n_bwdown = :n_bwdown, host_cpid = :host_cpid,
    external_ip_addr = :external_ip_addr, product_name = :product_name, p_ngpus = :p_ngpus,
    p_gpu_fpops = :p_gpu_fpops, misc = :misc
WHERE id = :id AND rpc_seqno = :old_seqno AND rpc_time = :old_time;

-- name: hav_rows
SELECT app_version_id, pfc_n, pfc_avg, et_n, et_avg, max_jobs_per_day, n_jobs_today, turnaround_n,
       turnaround_avg, consecutive_valid
FROM host_app_version WHERE host_id = :hostid;

-- name: hav_new_day
UPDATE host_app_version SET n_jobs_today = 0 WHERE host_id = :hostid AND n_jobs_today <> 0;

-- name: hav_init_quota
UPDATE host_app_version SET max_jobs_per_day = :quota WHERE host_id = :hostid AND max_jobs_per_day = 0;

-- name: hav_sent
INSERT INTO host_app_version (host_id, app_version_id, n_jobs_today) VALUES (:hostid, :app_version_id, :n)
ON DUPLICATE KEY UPDATE n_jobs_today = n_jobs_today + :n;

-- name: hav_success
UPDATE host_app_version SET max_jobs_per_day = LEAST(2 * max_jobs_per_day, :quota)
WHERE host_id = :hostid AND app_version_id = :app_version_id AND max_jobs_per_day < :quota;

-- name: hav_error
UPDATE host_app_version SET max_jobs_per_day = GREATEST(1, LEAST(max_jobs_per_day, :quota) - 1),
       consecutive_valid = 0
WHERE host_id = :hostid AND app_version_id = :app_version_id;

-- name: hav_error_no_quota
UPDATE host_app_version SET consecutive_valid = 0 WHERE host_id = :hostid AND app_version_id = :app_version_id;

-- name: set_user_global_prefs
UPDATE user SET global_prefs = :prefs WHERE id = :id;

-- name: set_user_cpid
UPDATE user SET cross_project_id = :cpid WHERE id = :id;

-- name: trickle_known
-- Whether this trickle-up was stored already: clients send it again until it is acknowledged.
SELECT id FROM msg_from_host WHERE hostid = :hostid AND variety = :variety AND xml = :xml LIMIT 1;

-- name: insert_trickle
INSERT INTO msg_from_host (create_time, hostid, variety, handled, xml) VALUES (:now, :hostid, :variety, 0, :xml);

-- name: trickles_down
SELECT id, xml FROM msg_to_host WHERE hostid = :hostid AND handled = 0 ORDER BY id LIMIT 100;

-- name: mark_trickles_down
UPDATE msg_to_host SET handled = 1 WHERE id IN :ids;
