-- name: create_table
CREATE TABLE IF NOT EXISTS boincdock_migration (
    number INT NOT NULL,
    phase CHAR(4) NOT NULL,
    name VARCHAR(191) NOT NULL,
    checksum CHAR(64) NOT NULL,
    statements_done INT NOT NULL DEFAULT 0,
    finished_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (number, phase)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

-- name: lock
SELECT GET_LOCK(CONCAT('boincdock_migrate_', DATABASE()), :seconds) AS got;

-- name: unlock
SELECT RELEASE_LOCK(CONCAT('boincdock_migrate_', DATABASE())) AS released;

-- name: applied
SELECT number, phase, name, checksum, statements_done, finished_at FROM boincdock_migration ORDER BY number, phase;

-- name: begin
INSERT INTO boincdock_migration (number, phase, name, checksum) VALUES (:number, :phase, :name, :checksum);

-- name: progress
UPDATE boincdock_migration SET statements_done = :done WHERE number = :number AND phase = :phase;

-- name: finish
UPDATE boincdock_migration SET finished_at = :now WHERE number = :number AND phase = :phase;

-- name: table_exists
SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = :name;
