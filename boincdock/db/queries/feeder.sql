-- name: apps
SELECT id, name, min_version, min_avg_pfc FROM app WHERE deprecated = 0 ORDER BY id;

-- name: versions
-- Non-deprecated versions of an app on live platforms.
SELECT v.id, v.platformid, v.plan_class, v.version_num, v.pfc_n, v.pfc_avg, v.pfc_scale
FROM app_version v JOIN platform p ON p.id = v.platformid AND p.deprecated = 0
WHERE v.appid = :appid AND v.deprecated = 0 AND v.version_num >= :min_version
ORDER BY v.id;

-- name: save_scale
UPDATE app_version SET pfc_scale = :scale WHERE id = :id;

-- name: save_app
UPDATE app SET min_avg_pfc = :min_avg_pfc WHERE id = :id;
