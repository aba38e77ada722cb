-- name: results
SELECT id, name, outcome, xml_doc_in AS document FROM result
WHERE file_delete_state = :state AND id > :after AND (:appid = 0 OR appid = :appid) AND id % :n = :i
  AND (:pattern = '' OR xml_doc_in LIKE :pattern)
ORDER BY id LIMIT :limit;

-- name: workunits
SELECT id, name, xml_doc AS document FROM workunit
WHERE file_delete_state = :state AND id > :after AND (:appid = 0 OR appid = :appid) AND id % :n = :i
  AND (:pattern = '' OR xml_doc LIKE :pattern)
ORDER BY id LIMIT :limit;

-- name: mark_results
UPDATE result SET file_delete_state = :new WHERE id IN :ids AND file_delete_state = :old;

-- name: mark_workunits
UPDATE workunit SET file_delete_state = :new WHERE id IN :ids AND file_delete_state = :old;
