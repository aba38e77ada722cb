-- name: next_user
SELECT MAX(id) AS last, COUNT(*) AS n FROM (SELECT id FROM user WHERE id > :after ORDER BY id LIMIT :limit) AS chunk;

-- name: next_host
SELECT MAX(id) AS last, COUNT(*) AS n FROM (SELECT id FROM host WHERE id > :after ORDER BY id LIMIT :limit) AS chunk;

-- name: next_team
SELECT MAX(id) AS last, COUNT(*) AS n FROM (SELECT id FROM team WHERE id > :after ORDER BY id LIMIT :limit) AS chunk;

-- name: next_version
SELECT MAX(id) AS last, COUNT(*) AS n FROM (SELECT id FROM app_version WHERE id > :after ORDER BY id LIMIT :limit) AS chunk;

-- name: decay_user
-- Recent average credit halves every week without new work; the update itself reads and writes under the row lock.
UPDATE user SET expavg_credit = expavg_credit * IF(expavg_time > 0, EXP(-GREATEST(:now - expavg_time, 0) * LN(2) / 604800), 1),
                expavg_time = :now
WHERE id > :after AND id <= :last AND expavg_credit > 0.1 AND expavg_time <= :before;

-- name: decay_host
UPDATE host SET expavg_credit = expavg_credit * IF(expavg_time > 0, EXP(-GREATEST(:now - expavg_time, 0) * LN(2) / 604800), 1),
                expavg_time = :now
WHERE id > :after AND id <= :last AND expavg_credit > 0.1 AND expavg_time <= :before;

-- name: decay_team
UPDATE team SET expavg_credit = expavg_credit * IF(expavg_time > 0, EXP(-GREATEST(:now - expavg_time, 0) * LN(2) / 604800), 1),
                expavg_time = :now
WHERE id > :after AND id <= :last AND expavg_credit > 0.1 AND expavg_time <= :before;

-- name: decay_version
UPDATE app_version
SET expavg_credit = expavg_credit * IF(expavg_time > 0, EXP(-GREATEST(:now - expavg_time, 0) * LN(2) / 604800), 1),
    expavg_time = :now
WHERE id > :after AND id <= :last AND expavg_credit > 0 AND expavg_time <= :before;

-- name: count_members
UPDATE team SET nusers = (SELECT COUNT(*) FROM user WHERE user.teamid = team.id)
WHERE id > :after AND id <= :last AND expavg_credit > 0.1;

-- name: active_user
SELECT COUNT(*) AS n FROM user WHERE expavg_credit > 1;

-- name: active_team
SELECT COUNT(*) AS n FROM team WHERE expavg_credit > 1;

-- name: credit_at_user
-- Recent average credit at a place in the ascending order (index user_avg).
SELECT expavg_credit FROM user WHERE expavg_credit > 1 ORDER BY expavg_credit LIMIT 1 OFFSET :place;

-- name: credit_at_team
SELECT expavg_credit FROM team WHERE expavg_credit > 1 ORDER BY expavg_credit LIMIT 1 OFFSET :place;

-- name: badge_by_name
SELECT id FROM badge WHERE name = :name ORDER BY id LIMIT 1;

-- name: make_badge
INSERT INTO badge (create_time, type, name, title, image_url) VALUES (:now, 0, :name, :title, :image_url);

-- name: assign_badge_user
INSERT INTO badge_user (badge_id, user_id, create_time, reassign_time)
SELECT :badge, id, :now, :now FROM user WHERE total_credit > 0 AND expavg_credit >= :low AND expavg_credit < :high
ON DUPLICATE KEY UPDATE reassign_time = VALUES(reassign_time);

-- name: assign_badge_team
INSERT INTO badge_team (badge_id, team_id, create_time, reassign_time)
SELECT :badge, id, :now, :now FROM team WHERE total_credit > 0 AND expavg_credit >= :low AND expavg_credit < :high
ON DUPLICATE KEY UPDATE reassign_time = VALUES(reassign_time);

-- name: drop_badge_user
DELETE FROM badge_user WHERE badge_id = :badge AND reassign_time < :now;

-- name: drop_badge_team
DELETE FROM badge_team WHERE badge_id = :badge AND reassign_time < :now;

-- name: wake_all
UPDATE workunit SET transition_time = :now
WHERE id > :after AND id <= :last AND transitioner_flags <> 1 AND transition_time > :now;

-- name: next_workunit
SELECT MAX(id) AS last FROM (SELECT id FROM workunit WHERE id > :after ORDER BY id LIMIT :limit) AS chunk;

-- name: unsent_results
-- Results of an app that nobody has yet (indexes res_app_state).
SELECT COUNT(*) AS n FROM result WHERE appid = :appid AND server_state IN (1, 2);

-- name: earliest_transition
SELECT MIN(transition_time) AS t FROM workunit;

-- name: app_classes
SELECT id, n_size_classes FROM app WHERE name = :name;

-- name: unsent_by_class
SELECT size_class, COUNT(*) AS n FROM result WHERE appid = :appid AND server_state = 2 GROUP BY size_class;

-- name: release_by_priority_order
SELECT id FROM result WHERE appid = :appid AND server_state = 1 AND size_class = :size_class
ORDER BY priority DESC, id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: release_by_priority_asc
SELECT id FROM result WHERE appid = :appid AND server_state = 1 AND size_class = :size_class
ORDER BY priority, id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: release_by_priority_order_create_time
SELECT r.id FROM result r JOIN workunit w ON w.id = r.workunitid
WHERE r.appid = :appid AND r.server_state = 1 AND r.size_class = :size_class
ORDER BY r.priority DESC, w.create_time, r.id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: release_by_random_order
SELECT id FROM result WHERE appid = :appid AND server_state = 1 AND size_class = :size_class
ORDER BY random, id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: release_by_id
SELECT id FROM result WHERE appid = :appid AND server_state = 1 AND size_class = :size_class
ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED;

-- name: release
UPDATE result SET server_state = 2 WHERE id IN :ids AND server_state = 1;
