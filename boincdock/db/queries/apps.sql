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

-- name: versions_for_signing
-- Documents of all versions, locked until their signatures are replaced.
SELECT v.id, v.version_num, v.plan_class, v.deprecated, v.xml_doc, a.name AS app, p.name AS platform,
    a.deprecated AS app_deprecated
FROM app_version v JOIN app a ON a.id = v.appid JOIN platform p ON p.id = v.platformid ORDER BY v.id FOR UPDATE;

-- name: version_documents
-- The same for reading only.
SELECT v.id, v.version_num, v.plan_class, v.deprecated, v.xml_doc, a.name AS app, p.name AS platform,
    a.deprecated AS app_deprecated
FROM app_version v JOIN app a ON a.id = v.appid JOIN platform p ON p.id = v.platformid ORDER BY v.id;

-- name: set_version_document
UPDATE app_version SET xml_doc = :xml_doc WHERE id = :id;

-- name: app_details
-- Every column of every app, for app list and app show.
SELECT a.*, (SELECT COUNT(*) FROM app_version v WHERE v.appid = a.id AND v.deprecated = 0) AS versions
FROM app a ORDER BY a.name;

-- name: change_app
UPDATE app SET user_friendly_name = :user_friendly_name, min_version = :min_version, deprecated = :deprecated,
    weight = :weight, homogeneous_redundancy = :homogeneous_redundancy,
    homogeneous_app_version = :homogeneous_app_version, target_nresults = :target_nresults,
    non_cpu_intensive = :non_cpu_intensive, beta = :beta, fraction_done_exact = :fraction_done_exact
WHERE id = :id;

-- name: version_list
-- Versions of all apps, newest number first.
SELECT v.id, a.name AS app, p.name AS platform, v.version_num, v.plan_class, v.deprecated, v.beta, v.min_core_version,
    v.max_core_version, v.create_time
FROM app_version v JOIN app a ON a.id = v.appid JOIN platform p ON p.id = v.platformid
ORDER BY a.name, v.version_num DESC, p.name, v.plan_class;

-- name: change_version
UPDATE app_version SET deprecated = :deprecated, beta = :beta, min_core_version = :min_core_version,
    max_core_version = :max_core_version WHERE id = :id;

-- name: unfinished_by_app
-- Results that are not over, by app.
SELECT appid, COUNT(*) AS n FROM result WHERE server_state IN (1, 2, 4) GROUP BY appid;

-- name: certified_before
-- Results whose upload certificates were made before a moment and may still be used: not over, or given up at
-- their deadline while the workunit's files are kept.
SELECT COUNT(*) AS n FROM result r LEFT JOIN workunit w ON w.id = r.workunitid
WHERE r.create_time <= :moment
  AND (r.server_state IN (1, 2, 4) OR (r.server_state = 5 AND r.outcome = 4 AND w.file_delete_state = 0));

-- name: input_documents
-- Workunits whose input files must be there, in portions by id.
SELECT id, name, xml_doc FROM workunit WHERE id > :after AND file_delete_state = 0 ORDER BY id LIMIT :count;

-- name: job_file_names
SELECT name FROM job_file;
