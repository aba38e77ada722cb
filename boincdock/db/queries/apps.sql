-- Platforms, apps and app versions (boincdock/apps/).

-- name: platforms
SELECT id, name, user_friendly_name, deprecated FROM platform ORDER BY id;

-- name: apps
SELECT id, name, user_friendly_name, min_version, deprecated FROM app ORDER BY id;

-- name: insert_platform
INSERT INTO platform (create_time, name, user_friendly_name) VALUES (:create_time, :name, :user_friendly_name);

-- name: insert_app
INSERT INTO app (create_time, name, user_friendly_name, min_version, fraction_done_exact, target_nresults,
    homogeneous_redundancy, homogeneous_app_version, weight, beta)
VALUES (:create_time, :name, :user_friendly_name, :min_version, :fraction_done_exact, :target_nresults,
    :homogeneous_redundancy, :homogeneous_app_version, :weight, :beta);

-- name: update_platform
UPDATE platform SET user_friendly_name = :user_friendly_name WHERE id = :id;

-- name: update_app
UPDATE app SET user_friendly_name = :user_friendly_name, min_version = :min_version WHERE id = :id;

-- name: versions_of_app
-- Everything that exists, to skip known folders of apps/.
SELECT id, platformid, version_num, plan_class, deprecated FROM app_version WHERE appid = :appid;

-- name: insert_version
INSERT INTO app_version (create_time, appid, version_num, platformid, xml_doc, plan_class, beta)
VALUES (:create_time, :appid, :version_num, :platformid, :xml_doc, :plan_class, :beta);

-- name: plan_classes_of_app
-- Plan classes that an app's current versions have, for docker_create_work.
SELECT DISTINCT v.plan_class FROM app_version v JOIN app a ON a.id = v.appid
WHERE a.name = :name AND v.deprecated = 0;
