-- name: results_by_name
-- The results that a file name may belong to, with what decides whether the file is still wanted.
SELECT r.name, r.server_state, r.outcome, r.xml_doc_in, w.file_delete_state AS wu_file_delete_state
FROM result r
LEFT JOIN workunit w ON w.id = r.workunitid
WHERE r.name IN :names;
