-- name: recent_results
-- Newest first; :server_state 0, :outcome -1 and :appid 0 mean any. Looks at the newest 20,000 rows only.
SELECT r.id, r.name, r.workunitid, r.hostid, r.userid, r.appid, r.server_state, r.outcome, r.validate_state,
    r.client_state, r.exit_status, r.sent_time, r.received_time, r.report_deadline, r.elapsed_time, r.cpu_time,
    r.granted_credit, a.name AS app, h.domain_name, w.error_mask
FROM (SELECT id FROM result ORDER BY id DESC LIMIT 20000) n JOIN result r ON r.id = n.id
    LEFT JOIN app a ON a.id = r.appid LEFT JOIN host h ON h.id = r.hostid LEFT JOIN workunit w ON w.id = r.workunitid
WHERE (:server_state = 0 OR r.server_state = :server_state) AND (:outcome = -1 OR r.outcome = :outcome)
    AND (:appid = 0 OR r.appid = :appid)
ORDER BY r.id DESC LIMIT :size OFFSET :start;

-- name: workunit_for_update
SELECT id, name, error_mask, canonical_resultid, assimilate_state, transition_time FROM workunit WHERE id = :id FOR UPDATE;

-- name: drop_unsent
-- Unsent and not yet released results of a cancelled job: OVER, DIDNT_NEED.
UPDATE result SET server_state = 5, outcome = 5 WHERE workunitid = :id AND server_state IN (1, 2);

-- name: cancel_workunit
UPDATE workunit SET error_mask = error_mask | 16, transition_time = :now WHERE id = :id;

-- name: recent_users
SELECT id, name, email_addr, create_time, total_credit, expavg_credit, email_validated FROM user
ORDER BY id DESC LIMIT 50;

-- name: recent_hosts
SELECT h.id, h.userid, u.name AS owner, h.domain_name, h.p_ncpus, h.p_model, h.os_name, h.os_version, h.rpc_time,
    h.create_time, h.total_credit, h.expavg_credit, h.max_results_day, h.misc
FROM host h LEFT JOIN user u ON u.id = h.userid ORDER BY h.id DESC LIMIT 50;

-- name: news_forum
SELECT id FROM forum WHERE is_dev_blog = 1 AND parent_type = 0 ORDER BY id LIMIT 1 FOR UPDATE;

-- name: insert_category
INSERT INTO category (orderID, lang, name, is_helpdesk) VALUES (0, 1, :name, 0)
ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id);

-- name: insert_news_forum
INSERT INTO forum (category, orderID, title, description, timestamp, is_dev_blog, parent_type)
VALUES (:category, 0, 'News', 'News from this project', :now, 1, 0)
ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), is_dev_blog = 1;

-- name: insert_thread
INSERT INTO thread (forum, owner, status, title, timestamp, create_time, activity)
VALUES (:forum, 0, :status, :title, :now, :now, 0);

-- name: insert_post
INSERT INTO post (thread, user, timestamp, content, parent_post) VALUES (:thread, 0, :now, :content, 0);

-- name: count_post
UPDATE forum SET threads = threads + 1, posts = posts + 1, timestamp = :now WHERE id = :id;

-- name: hide_thread
UPDATE thread SET hidden = :hidden WHERE id = :id;
