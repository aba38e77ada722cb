-- name: pending
SELECT id FROM msg_from_host WHERE handled = 0 AND id > :after AND (:any = 1 OR variety = :variety)
ORDER BY id LIMIT :limit;

-- name: claim
SELECT id, create_time, hostid, variety, xml FROM msg_from_host WHERE id = :id AND handled = 0 FOR UPDATE SKIP LOCKED;

-- name: mark
UPDATE msg_from_host SET handled = :value WHERE id = :id AND handled = 0;

-- name: insert_down
INSERT INTO msg_to_host (create_time, hostid, variety, handled, xml) VALUES (:now, :hostid, :variety, 0, :xml);

-- name: host
SELECT h.id, h.userid, h.p_fpops, u.teamid FROM host h LEFT JOIN user u ON u.id = h.userid WHERE h.id = :id;

-- name: active_hosts
SELECT COUNT(*) AS n FROM host WHERE expavg_credit > 10;

-- name: speed_at
-- The speed of active hosts at a place in their order.
SELECT p_fpops FROM host WHERE expavg_credit > 10 ORDER BY p_fpops LIMIT 1 OFFSET :place;

-- name: result
SELECT id, report_deadline, server_state FROM result WHERE name = :name AND hostid = :hostid FOR UPDATE;

-- name: extend
UPDATE result SET report_deadline = report_deadline + :seconds WHERE id = :id AND server_state = 4;

-- name: purge_up
DELETE FROM msg_from_host WHERE handled <> 0 AND create_time < :before LIMIT :limit;

-- name: purge_down
DELETE FROM msg_to_host WHERE handled <> 0 AND create_time < :before LIMIT :limit;
