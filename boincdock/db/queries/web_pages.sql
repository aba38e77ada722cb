-- name: platforms
-- Distinct (platform, plan class) among what is not deprecated, for get_project_config.
SELECT DISTINCT p.name, p.user_friendly_name, v.plan_class
FROM app_version v JOIN platform p ON p.id = v.platformid JOIN app a ON a.id = v.appid
WHERE v.deprecated = 0 AND a.deprecated = 0 AND p.deprecated = 0 ORDER BY p.name, v.plan_class;

-- name: apps
SELECT id, name, user_friendly_name, beta, deprecated, create_time FROM app WHERE deprecated = 0
ORDER BY user_friendly_name, id;

-- name: app_versions
-- Newest version per app, platform and plan class.
SELECT v.id, v.appid, v.version_num, v.plan_class, v.create_time, v.beta, v.expavg_credit, v.pfc_n,
    p.name AS platform, p.user_friendly_name AS platform_name
FROM app_version v JOIN platform p ON p.id = v.platformid JOIN app a ON a.id = v.appid
WHERE v.deprecated = 0 AND a.deprecated = 0 AND NOT EXISTS (
    SELECT 1 FROM app_version n WHERE n.appid = v.appid AND n.platformid = v.platformid
        AND n.plan_class = v.plan_class AND n.deprecated = 0 AND n.version_num > v.version_num)
ORDER BY p.name, v.plan_class;

-- name: hosts_of_user
SELECT * FROM host WHERE userid = :userid AND rpc_time > :seen_since ORDER BY id DESC LIMIT 1000;

-- name: count_hosts_of_user
SELECT COUNT(*) FROM host WHERE userid = :userid;

-- name: host
SELECT * FROM host WHERE id = :id;

-- name: top_users_total
SELECT u.id, u.name, u.create_time, u.country, u.total_credit, u.expavg_credit, u.teamid, t.name AS team_name
FROM user u LEFT JOIN team t ON t.id = u.teamid
WHERE u.total_credit > 0 ORDER BY u.total_credit DESC LIMIT :size OFFSET :start;

-- name: top_users_average
SELECT u.id, u.name, u.create_time, u.country, u.total_credit, u.expavg_credit, u.teamid, t.name AS team_name
FROM user u LEFT JOIN team t ON t.id = u.teamid
WHERE u.expavg_credit > 0 ORDER BY u.expavg_credit DESC LIMIT :size OFFSET :start;

-- name: top_hosts_total
SELECT h.*, u.name AS owner, u.show_hosts FROM host h LEFT JOIN user u ON u.id = h.userid
WHERE h.total_credit > 0 ORDER BY h.total_credit DESC LIMIT :size OFFSET :start;

-- name: top_hosts_average
SELECT h.*, u.name AS owner, u.show_hosts FROM host h LEFT JOIN user u ON u.id = h.userid
WHERE h.expavg_credit > 0 ORDER BY h.expavg_credit DESC LIMIT :size OFFSET :start;

-- name: results_of_user
-- Newest first by id (index res_userid_id). The states of results.php: spec 06 section 7.2.
SELECT r.id, r.name, r.workunitid, r.hostid, r.appid, r.server_state, r.outcome, r.validate_state,
    r.client_state, r.exit_status, r.sent_time, r.received_time, r.report_deadline, r.elapsed_time, r.cpu_time,
    r.granted_credit, a.user_friendly_name AS app
FROM result r LEFT JOIN app a ON a.id = r.appid
WHERE r.userid = :owner AND (:state = 0 OR CASE
    WHEN r.server_state = 4 THEN 1
    WHEN r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 0 THEN 2
    WHEN r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 4 THEN 3
    WHEN r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 1 THEN 4
    WHEN r.outcome = 6 OR (r.outcome = 1 AND r.validate_state IN (2, 3, 5)) THEN 5
    WHEN r.outcome IN (3, 4, 7) THEN 6 END = :state)
ORDER BY r.id DESC LIMIT :size OFFSET :start;

-- name: results_of_host
SELECT r.id, r.name, r.workunitid, r.hostid, r.appid, r.server_state, r.outcome, r.validate_state,
    r.client_state, r.exit_status, r.sent_time, r.received_time, r.report_deadline, r.elapsed_time, r.cpu_time,
    r.granted_credit, a.user_friendly_name AS app
FROM result r LEFT JOIN app a ON a.id = r.appid
WHERE r.hostid = :owner AND (:state = 0 OR CASE
    WHEN r.server_state = 4 THEN 1
    WHEN r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 0 THEN 2
    WHEN r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 4 THEN 3
    WHEN r.server_state = 5 AND r.outcome = 1 AND r.validate_state = 1 THEN 4
    WHEN r.outcome = 6 OR (r.outcome = 1 AND r.validate_state IN (2, 3, 5)) THEN 5
    WHEN r.outcome IN (3, 4, 7) THEN 6 END = :state)
ORDER BY r.id DESC LIMIT :size OFFSET :start;

-- name: result_states_of_user
-- Over the newest 10,000 only, so that a big account does not cost more.
SELECT server_state, outcome, validate_state, COUNT(*) AS n FROM (
    SELECT server_state, outcome, validate_state FROM result WHERE userid = :owner ORDER BY id DESC LIMIT 10000) t
GROUP BY server_state, outcome, validate_state;

-- name: result_states_of_host
SELECT server_state, outcome, validate_state, COUNT(*) AS n FROM (
    SELECT server_state, outcome, validate_state FROM result WHERE hostid = :owner ORDER BY id DESC LIMIT 10000) t
GROUP BY server_state, outcome, validate_state;

-- name: result_by_id
SELECT r.*, a.user_friendly_name AS app, v.version_num, v.plan_class, p.name AS platform
FROM result r LEFT JOIN app a ON a.id = r.appid LEFT JOIN app_version v ON v.id = r.app_version_id
    LEFT JOIN platform p ON p.id = v.platformid WHERE r.id = :id;

-- name: result_by_name
SELECT id FROM result WHERE name = :name;

-- name: workunit
SELECT w.*, a.user_friendly_name AS app, a.target_nresults AS adaptive
FROM workunit w LEFT JOIN app a ON a.id = w.appid WHERE w.id = :id;

-- name: results_of_workunit
SELECT id, name, hostid, userid, server_state, outcome, validate_state, client_state, exit_status, sent_time,
    received_time, report_deadline, elapsed_time, cpu_time, granted_credit
FROM result WHERE workunitid = :id ORDER BY id LIMIT 200;

-- name: results_by_ids
SELECT * FROM result WHERE id IN :ids ORDER BY id;

-- name: results_by_names
SELECT * FROM result WHERE name IN :names ORDER BY id;

-- name: news
-- First posts of visible threads of the forum that is the source of news (spec 06 section 7.3).
SELECT t.id, t.title, t.create_time, t.status, p.content
FROM forum f JOIN thread t ON t.forum = f.id
    JOIN post p ON p.id = (SELECT MIN(q.id) FROM post q WHERE q.thread = t.id)
WHERE f.is_dev_blog = 1 AND f.parent_type = 0 AND t.hidden = 0 AND p.hidden = 0 AND t.create_time > :since
ORDER BY t.create_time DESC, t.id DESC LIMIT :size;

-- name: news_item
SELECT t.id, t.title, t.create_time, t.status, p.content
FROM forum f JOIN thread t ON t.forum = f.id
    JOIN post p ON p.id = (SELECT MIN(q.id) FROM post q WHERE q.thread = t.id)
WHERE f.is_dev_blog = 1 AND f.parent_type = 0 AND t.hidden = 0 AND p.hidden = 0 AND t.id = :id;

-- name: team_members
SELECT id, name, create_time, total_credit, expavg_credit, expavg_time, has_profile, country, url,
    cross_project_id, email_addr
FROM user WHERE teamid = :teamid ORDER BY expavg_credit DESC LIMIT 1000;
