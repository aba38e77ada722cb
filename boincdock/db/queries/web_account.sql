-- name: user_by_id
SELECT * FROM user WHERE id = :id;

-- name: user_by_email
-- The collation folds case and accents: the caller compares the bytes again.
SELECT * FROM user WHERE email_addr = :email_addr;

-- name: user_by_authenticator
SELECT * FROM user WHERE authenticator = :authenticator;

-- name: name_taken
SELECT id FROM user WHERE name = :name;

-- name: names_like
-- Names that begin so, to find a free number for a duplicate; bounded.
SELECT name FROM user WHERE name LIKE :pattern ORDER BY name LIMIT 1000;

-- name: insert_user
INSERT INTO user (create_time, email_addr, name, authenticator, country, postal_code, expavg_time, url,
    global_prefs, project_prefs, teamid, venue, send_email, show_hosts, signature, cross_project_id, passwd_hash)
VALUES (:create_time, :email_addr, :name, :authenticator, :country, :postal_code, :create_time, '',
    '', '', 0, '', 1, :show_hosts, :signature, :cross_project_id, :passwd_hash);

-- name: set_passwd_hash
-- Only over the value that was checked, so that a password change in between is never undone.
UPDATE user SET passwd_hash = :new_hash WHERE id = :id AND passwd_hash = :old_hash;

-- name: set_user_info
UPDATE user SET name = :name, url = :url, country = :country, postal_code = :postal_code WHERE id = :id;

-- name: previous_email_taken
-- Uses user_email_time.
SELECT id FROM user WHERE email_addr_change_time > :since AND previous_email_addr = :email_addr LIMIT 1;

-- name: set_email
UPDATE user SET email_addr = :email_addr, previous_email_addr = :previous, email_addr_change_time = :now,
    passwd_hash = :passwd_hash, email_validated = 0 WHERE id = :id AND email_addr = :previous;

-- name: insert_token
INSERT INTO token (token, userid, type, create_time, expire_time)
VALUES (:token, :userid, :type, :create_time, :expire_time);

-- name: token
SELECT userid, create_time, expire_time FROM token WHERE token = :token AND type = :type AND expire_time > :now;

-- name: delete_token
DELETE FROM token WHERE token = :token AND type = :type;

-- name: delete_tokens_of_user
DELETE FROM token WHERE userid = :userid AND type = :type;

-- name: delete_stale_tokens
DELETE FROM token WHERE userid = :userid AND type = :type AND expire_time <= :now;

-- name: consent_type
SELECT id, enabled FROM consent_type WHERE shortname = :shortname;

-- name: insert_consent
INSERT INTO consent (userid, consent_type_id, consent_time, consent_flag, consent_not_required, source)
VALUES (:userid, :consent_type_id, :consent_time, :consent_flag, :consent_not_required, :source);

-- name: team_by_id
SELECT * FROM team WHERE id = :id;

-- name: teams_by_ids
SELECT * FROM team WHERE id IN :ids ORDER BY id;

-- name: team_by_name
SELECT * FROM team WHERE name = :name;

-- name: teams_like
SELECT * FROM team WHERE name LIKE :pattern ORDER BY expavg_credit DESC LIMIT 100;

-- name: set_team
UPDATE user SET teamid = :teamid WHERE id = :id;

-- name: insert_team_delta
INSERT INTO team_delta (userid, teamid, timestamp, joining, total_credit)
VALUES (:userid, :teamid, :timestamp, :joining, :total_credit);

-- name: set_host_venue
UPDATE host SET venue = :venue WHERE id = :id AND userid = :userid;
