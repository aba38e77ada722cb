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
