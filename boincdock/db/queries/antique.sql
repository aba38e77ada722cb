-- name: oldest
-- The oldest job that is still wanted.
SELECT id, create_time FROM workunit WHERE INSTR(name, 'nodelete') = 0 ORDER BY id LIMIT 1;
