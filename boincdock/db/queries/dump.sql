-- name: totals
SELECT (SELECT COUNT(*) FROM user WHERE total_credit > 0 AND authenticator NOT LIKE 'deleted%') AS nusers_total,
       (SELECT COUNT(*) FROM team WHERE total_credit > 0) AS nteams_total,
       (SELECT COUNT(*) FROM host WHERE total_credit > 0 AND userid <> 0
                                    AND (domain_name IS NULL OR domain_name <> 'deleted')) AS nhosts_total,
       (SELECT COUNT(*) FROM user_deleted) AS nusers_deleted_total,
       (SELECT COUNT(*) FROM host_deleted) AS nhosts_deleted_total,
       (SELECT COALESCE(SUM(total_credit), 0) FROM user
         WHERE total_credit > 0 AND authenticator NOT LIKE 'deleted%') AS total_credit;

-- name: apps
SELECT id, name, user_friendly_name FROM app ORDER BY id;

-- name: badges
SELECT id, name, title, image_url FROM badge ORDER BY id;

-- name: consent_type
-- The consent that publishing takes, if the project asks for one.
SELECT id FROM consent_type WHERE shortname = 'STATSEXPORT' AND enabled <> 0;

-- name: user_by_id
SELECT u.id, u.name, u.create_time, u.total_credit, u.expavg_credit, u.expavg_time, u.email_addr, u.cross_project_id,
       u.country, u.url, u.teamid, u.has_profile
FROM user u
WHERE u.id > :after AND u.total_credit > 0 AND u.authenticator NOT LIKE 'deleted%'
  AND (:consent = 0 OR EXISTS (SELECT 1 FROM latest_consent c
                               WHERE c.userid = u.id AND c.consent_type_id = :consent AND c.consent_flag = 1))
ORDER BY u.id LIMIT :limit;

-- name: user_by_total_credit
SELECT u.id, u.name, u.create_time, u.total_credit, u.expavg_credit, u.expavg_time, u.email_addr, u.cross_project_id,
       u.country, u.url, u.teamid, u.has_profile
FROM user u
WHERE u.total_credit > 0 AND u.authenticator NOT LIKE 'deleted%'
  AND (u.total_credit < :value OR (u.total_credit = :value AND u.id > :after))
  AND (:consent = 0 OR EXISTS (SELECT 1 FROM latest_consent c
                               WHERE c.userid = u.id AND c.consent_type_id = :consent AND c.consent_flag = 1))
ORDER BY u.total_credit DESC, u.id LIMIT :limit;

-- name: user_by_expavg_credit
SELECT u.id, u.name, u.create_time, u.total_credit, u.expavg_credit, u.expavg_time, u.email_addr, u.cross_project_id,
       u.country, u.url, u.teamid, u.has_profile
FROM user u
WHERE u.total_credit > 0 AND u.authenticator NOT LIKE 'deleted%'
  AND (u.expavg_credit < :value OR (u.expavg_credit = :value AND u.id > :after))
  AND (:consent = 0 OR EXISTS (SELECT 1 FROM latest_consent c
                               WHERE c.userid = u.id AND c.consent_type_id = :consent AND c.consent_flag = 1))
ORDER BY u.expavg_credit DESC, u.id LIMIT :limit;

-- name: members
SELECT u.id, u.name, u.create_time, u.total_credit, u.expavg_credit, u.expavg_time, u.email_addr, u.cross_project_id,
       u.country, u.url, u.teamid, u.has_profile
FROM user u
WHERE u.teamid = :team AND u.id > :after AND u.total_credit > 0 AND u.authenticator NOT LIKE 'deleted%'
  AND (:consent = 0 OR EXISTS (SELECT 1 FROM latest_consent c
                               WHERE c.userid = u.id AND c.consent_type_id = :consent AND c.consent_flag = 1))
ORDER BY u.id LIMIT :limit;

-- name: team_by_id
SELECT t.id, t.type, t.name, t.userid, t.total_credit, t.expavg_credit, t.expavg_time, t.create_time, t.url, t.name_html,
       t.description, t.country, f.name AS founder_name
FROM team t LEFT JOIN user f ON f.id = t.userid
WHERE t.id > :after AND t.total_credit > 0 ORDER BY t.id LIMIT :limit;

-- name: team_by_total_credit
SELECT t.id, t.type, t.name, t.userid, t.total_credit, t.expavg_credit, t.expavg_time, t.create_time, t.url, t.name_html,
       t.description, t.country, f.name AS founder_name
FROM team t LEFT JOIN user f ON f.id = t.userid
WHERE t.total_credit > 0 AND (t.total_credit < :value OR (t.total_credit = :value AND t.id > :after))
ORDER BY t.total_credit DESC, t.id LIMIT :limit;

-- name: team_by_expavg_credit
SELECT t.id, t.type, t.name, t.userid, t.total_credit, t.expavg_credit, t.expavg_time, t.create_time, t.url, t.name_html,
       t.description, t.country, f.name AS founder_name
FROM team t LEFT JOIN user f ON f.id = t.userid
WHERE t.total_credit > 0 AND (t.expavg_credit < :value OR (t.expavg_credit = :value AND t.id > :after))
ORDER BY t.expavg_credit DESC, t.id LIMIT :limit;

-- name: host_by_id
SELECT h.*, u.show_hosts
FROM host h LEFT JOIN user u ON u.id = h.userid
WHERE h.id > :after AND h.total_credit > 0 AND h.userid <> 0 AND (h.domain_name IS NULL OR h.domain_name <> 'deleted')
  AND (:consent = 0 OR EXISTS (SELECT 1 FROM latest_consent c
                               WHERE c.userid = h.userid AND c.consent_type_id = :consent AND c.consent_flag = 1))
ORDER BY h.id LIMIT :limit;

-- name: host_by_total_credit
SELECT h.*, u.show_hosts
FROM host h LEFT JOIN user u ON u.id = h.userid
WHERE h.total_credit > 0 AND h.userid <> 0 AND (h.domain_name IS NULL OR h.domain_name <> 'deleted')
  AND (h.total_credit < :value OR (h.total_credit = :value AND h.id > :after))
  AND (:consent = 0 OR EXISTS (SELECT 1 FROM latest_consent c
                               WHERE c.userid = h.userid AND c.consent_type_id = :consent AND c.consent_flag = 1))
ORDER BY h.total_credit DESC, h.id LIMIT :limit;

-- name: host_by_expavg_credit
SELECT h.*, u.show_hosts
FROM host h LEFT JOIN user u ON u.id = h.userid
WHERE h.total_credit > 0 AND h.userid <> 0 AND (h.domain_name IS NULL OR h.domain_name <> 'deleted')
  AND (h.expavg_credit < :value OR (h.expavg_credit = :value AND h.id > :after))
  AND (:consent = 0 OR EXISTS (SELECT 1 FROM latest_consent c
                               WHERE c.userid = h.userid AND c.consent_type_id = :consent AND c.consent_flag = 1))
ORDER BY h.expavg_credit DESC, h.id LIMIT :limit;

-- name: user_deleted_by_id
SELECT userid AS id, public_cross_project_id AS cpid FROM user_deleted WHERE userid > :after ORDER BY userid LIMIT :limit;

-- name: host_deleted_by_id
SELECT hostid AS id, public_cross_project_id AS cpid FROM host_deleted WHERE hostid > :after ORDER BY hostid LIMIT :limit;

-- name: badge_user_by_id
SELECT user_id AS id, badge_id, create_time FROM badge_user
WHERE user_id > :after ORDER BY user_id, badge_id LIMIT :limit;

-- name: badge_team_by_id
SELECT team_id AS id, badge_id, create_time FROM badge_team
WHERE team_id > :after ORDER BY team_id, badge_id LIMIT :limit;

-- name: work_user
SELECT c.userid AS id, c.appid, c.njobs, c.total, c.expavg FROM credit_user c
WHERE c.userid > :after AND c.userid <= :last AND c.total > 0 ORDER BY c.userid, c.appid;

-- name: work_team
SELECT c.teamid AS id, c.appid, c.njobs, c.total, c.expavg FROM credit_team c
WHERE c.teamid > :after AND c.teamid <= :last AND c.total > 0 ORDER BY c.teamid, c.appid;

-- name: last_work_user
SELECT COALESCE(MAX(userid), 0) AS last FROM credit_user;

-- name: last_work_team
SELECT COALESCE(MAX(teamid), 0) AS last FROM credit_team;
