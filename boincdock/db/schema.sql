-- The complete schema of a fresh project: BOINC's tables and columns (spec 05 A2-A9) in upstream's column order,
-- with a default for every column and bigint ids where 32 bits can run out. A test proves that it equals
-- the sum of all migrations; change it only together with a new file in migrations/.

CREATE TABLE `platform` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `name` VARCHAR(191) NOT NULL DEFAULT '',
    `user_friendly_name` VARCHAR(254) NOT NULL DEFAULT '',
    `deprecated` TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `app` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `name` VARCHAR(191) NOT NULL DEFAULT '',
    `min_version` INT NOT NULL DEFAULT 0,
    `deprecated` SMALLINT NOT NULL DEFAULT 0,
    `user_friendly_name` VARCHAR(254) NOT NULL DEFAULT '',
    `homogeneous_redundancy` SMALLINT NOT NULL DEFAULT 0,
    `weight` DOUBLE NOT NULL DEFAULT 1,
    `beta` SMALLINT NOT NULL DEFAULT 0,
    `target_nresults` SMALLINT NOT NULL DEFAULT 0,
    `min_avg_pfc` DOUBLE NOT NULL DEFAULT 1,
    `host_scale_check` TINYINT NOT NULL DEFAULT 0,
    `homogeneous_app_version` TINYINT NOT NULL DEFAULT 0,
    `non_cpu_intensive` TINYINT NOT NULL DEFAULT 0,
    `locality_scheduling` INT NOT NULL DEFAULT 0,
    `n_size_classes` SMALLINT NOT NULL DEFAULT 0,
    `fraction_done_exact` TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `app_version` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `appid` INT NOT NULL DEFAULT 0,
    `version_num` INT NOT NULL DEFAULT 0,
    `platformid` INT NOT NULL DEFAULT 0,
    `xml_doc` MEDIUMBLOB NULL DEFAULT NULL,
    `min_core_version` INT NOT NULL DEFAULT 0,
    `max_core_version` INT NOT NULL DEFAULT 0,
    `deprecated` TINYINT NOT NULL DEFAULT 0,
    `plan_class` VARCHAR(128) NOT NULL DEFAULT '',
    `pfc_n` DOUBLE NOT NULL DEFAULT 0,
    `pfc_avg` DOUBLE NOT NULL DEFAULT 0,
    `pfc_scale` DOUBLE NOT NULL DEFAULT 0,
    `expavg_credit` DOUBLE NOT NULL DEFAULT 0,
    `expavg_time` DOUBLE NOT NULL DEFAULT 0,
    `beta` TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY apvp (appid, platformid, version_num, plan_class)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `user` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `email_addr` VARCHAR(191) NOT NULL DEFAULT '',
    `name` VARCHAR(191) NULL DEFAULT NULL,
    `authenticator` VARCHAR(191) NULL DEFAULT NULL,
    `country` VARCHAR(254) NULL DEFAULT NULL,
    `postal_code` VARCHAR(254) NULL DEFAULT NULL,
    `total_credit` DOUBLE NOT NULL DEFAULT 0,
    `expavg_credit` DOUBLE NOT NULL DEFAULT 0,
    `expavg_time` DOUBLE NOT NULL DEFAULT 0,
    `global_prefs` BLOB NULL DEFAULT NULL,
    `project_prefs` BLOB NULL DEFAULT NULL,
    `teamid` INT NOT NULL DEFAULT 0,
    `venue` VARCHAR(254) NOT NULL DEFAULT '',
    `url` VARCHAR(254) NULL DEFAULT NULL,
    `send_email` SMALLINT NOT NULL DEFAULT 0,
    `show_hosts` SMALLINT NOT NULL DEFAULT 0,
    `posts` SMALLINT NOT NULL DEFAULT 0,
    `seti_id` INT NOT NULL DEFAULT 0,
    `seti_nresults` INT NOT NULL DEFAULT 0,
    `seti_last_result_time` INT NOT NULL DEFAULT 0,
    `seti_total_cpu` DOUBLE NOT NULL DEFAULT 0,
    `signature` VARCHAR(254) NULL DEFAULT NULL,
    `has_profile` SMALLINT NOT NULL DEFAULT 0,
    `cross_project_id` VARCHAR(254) NOT NULL DEFAULT '',
    `passwd_hash` VARCHAR(254) NOT NULL DEFAULT '',
    `email_validated` SMALLINT NOT NULL DEFAULT 0,
    `donated` SMALLINT NOT NULL DEFAULT 0,
    `login_token` CHAR(32) NOT NULL DEFAULT '',
    `login_token_time` DOUBLE NOT NULL DEFAULT 0,
    `previous_email_addr` VARCHAR(254) NOT NULL DEFAULT '',
    `email_addr_change_time` DOUBLE NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY email_addr (email_addr),
    UNIQUE KEY name (name),
    UNIQUE KEY authenticator (authenticator),
    KEY ind_tid (teamid),
    KEY user_tot (total_credit),
    KEY user_avg (expavg_credit),
    KEY user_email_time (email_addr_change_time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `team` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `userid` INT NOT NULL DEFAULT 0,
    `name` VARCHAR(191) NOT NULL DEFAULT '',
    `name_lc` VARCHAR(254) NULL DEFAULT NULL,
    `url` VARCHAR(254) NULL DEFAULT NULL,
    `type` INT NOT NULL DEFAULT 0,
    `name_html` VARCHAR(254) NULL DEFAULT NULL,
    `description` TEXT NULL DEFAULT NULL,
    `nusers` INT NOT NULL DEFAULT 0,
    `country` VARCHAR(254) NULL DEFAULT NULL,
    `total_credit` DOUBLE NOT NULL DEFAULT 0,
    `expavg_credit` DOUBLE NOT NULL DEFAULT 0,
    `expavg_time` DOUBLE NOT NULL DEFAULT 0,
    `seti_id` INT NOT NULL DEFAULT 0,
    `ping_user` INT NOT NULL DEFAULT 0,
    `ping_time` INT UNSIGNED NOT NULL DEFAULT 0,
    `joinable` TINYINT NOT NULL DEFAULT 1,
    `mod_time` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    PRIMARY KEY (`id`),
    UNIQUE KEY name (name),
    KEY team_avg (expavg_credit),
    KEY team_tot (total_credit),
    KEY team_userid (userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `host` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `userid` INT NOT NULL DEFAULT 0,
    `rpc_seqno` INT NOT NULL DEFAULT 0,
    `rpc_time` INT NOT NULL DEFAULT 0,
    `total_credit` DOUBLE NOT NULL DEFAULT 0,
    `expavg_credit` DOUBLE NOT NULL DEFAULT 0,
    `expavg_time` DOUBLE NOT NULL DEFAULT 0,
    `timezone` INT NOT NULL DEFAULT 0,
    `domain_name` VARCHAR(254) NULL DEFAULT NULL,
    `serialnum` VARCHAR(254) NULL DEFAULT NULL,
    `last_ip_addr` VARCHAR(254) NULL DEFAULT NULL,
    `nsame_ip_addr` INT NOT NULL DEFAULT 0,
    `on_frac` DOUBLE NOT NULL DEFAULT 0,
    `connected_frac` DOUBLE NOT NULL DEFAULT 0,
    `active_frac` DOUBLE NOT NULL DEFAULT 0,
    `cpu_efficiency` DOUBLE NOT NULL DEFAULT 0,
    `duration_correction_factor` DOUBLE NOT NULL DEFAULT 0,
    `p_ncpus` INT NOT NULL DEFAULT 0,
    `p_vendor` VARCHAR(254) NULL DEFAULT NULL,
    `p_model` VARCHAR(254) NULL DEFAULT NULL,
    `p_fpops` DOUBLE NOT NULL DEFAULT 0,
    `p_iops` DOUBLE NOT NULL DEFAULT 0,
    `p_membw` DOUBLE NOT NULL DEFAULT 0,
    `os_name` VARCHAR(254) NULL DEFAULT NULL,
    `os_version` VARCHAR(254) NULL DEFAULT NULL,
    `m_nbytes` DOUBLE NOT NULL DEFAULT 0,
    `m_cache` DOUBLE NOT NULL DEFAULT 0,
    `m_swap` DOUBLE NOT NULL DEFAULT 0,
    `d_total` DOUBLE NOT NULL DEFAULT 0,
    `d_free` DOUBLE NOT NULL DEFAULT 0,
    `d_boinc_used_total` DOUBLE NOT NULL DEFAULT 0,
    `d_boinc_used_project` DOUBLE NOT NULL DEFAULT 0,
    `d_boinc_max` DOUBLE NOT NULL DEFAULT 0,
    `n_bwup` DOUBLE NOT NULL DEFAULT 0,
    `n_bwdown` DOUBLE NOT NULL DEFAULT 0,
    `credit_per_cpu_sec` DOUBLE NOT NULL DEFAULT 0,
    `venue` VARCHAR(254) NOT NULL DEFAULT '',
    `nresults_today` INT NOT NULL DEFAULT 0,
    `avg_turnaround` DOUBLE NOT NULL DEFAULT 0,
    `host_cpid` VARCHAR(254) NULL DEFAULT NULL,
    `external_ip_addr` VARCHAR(254) NULL DEFAULT NULL,
    `max_results_day` INT NOT NULL DEFAULT 0,
    `error_rate` DOUBLE NOT NULL DEFAULT 0,
    `product_name` VARCHAR(254) NOT NULL DEFAULT '',
    `gpu_active_frac` DOUBLE NOT NULL DEFAULT 0,
    `p_ngpus` INT NOT NULL DEFAULT 0,
    `p_gpu_fpops` DOUBLE NOT NULL DEFAULT 0,
    `misc` TEXT NOT NULL DEFAULT (''),
    PRIMARY KEY (`id`),
    KEY host_userid_cpid (userid, host_cpid),
    KEY host_domain_name (domain_name),
    KEY host_avg (expavg_credit),
    KEY host_tot (total_credit)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `host_app_version` (
    `host_id` INT NOT NULL DEFAULT 0,
    `app_version_id` INT NOT NULL DEFAULT 0,
    `pfc_n` DOUBLE NOT NULL DEFAULT 0,
    `pfc_avg` DOUBLE NOT NULL DEFAULT 0,
    `et_n` DOUBLE NOT NULL DEFAULT 0,
    `et_avg` DOUBLE NOT NULL DEFAULT 0,
    `et_var` DOUBLE NOT NULL DEFAULT 0,
    `et_q` DOUBLE NOT NULL DEFAULT 0,
    `max_jobs_per_day` INT NOT NULL DEFAULT 0,
    `n_jobs_today` INT NOT NULL DEFAULT 0,
    `turnaround_n` DOUBLE NOT NULL DEFAULT 0,
    `turnaround_avg` DOUBLE NOT NULL DEFAULT 0,
    `turnaround_var` DOUBLE NOT NULL DEFAULT 0,
    `turnaround_q` DOUBLE NOT NULL DEFAULT 0,
    `consecutive_valid` INT NOT NULL DEFAULT 0,
    UNIQUE KEY hap (host_id, app_version_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `workunit` (
    `id` BIGINT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `appid` INT NOT NULL DEFAULT 0,
    `name` VARCHAR(191) NOT NULL DEFAULT '',
    `xml_doc` BLOB NULL DEFAULT NULL,
    `batch` INT NOT NULL DEFAULT 0,
    `rsc_fpops_est` DOUBLE NOT NULL DEFAULT 0,
    `rsc_fpops_bound` DOUBLE NOT NULL DEFAULT 0,
    `rsc_memory_bound` DOUBLE NOT NULL DEFAULT 0,
    `rsc_disk_bound` DOUBLE NOT NULL DEFAULT 0,
    `need_validate` SMALLINT NOT NULL DEFAULT 0,
    `canonical_resultid` BIGINT NOT NULL DEFAULT 0,
    `canonical_credit` DOUBLE NOT NULL DEFAULT 0,
    `transition_time` INT NOT NULL DEFAULT 0,
    `delay_bound` INT NOT NULL DEFAULT 0,
    `error_mask` INT NOT NULL DEFAULT 0,
    `file_delete_state` INT NOT NULL DEFAULT 0,
    `assimilate_state` INT NOT NULL DEFAULT 0,
    `hr_class` INT NOT NULL DEFAULT 0,
    `opaque` DOUBLE NOT NULL DEFAULT 0,
    `min_quorum` INT NOT NULL DEFAULT 0,
    `target_nresults` INT NOT NULL DEFAULT 0,
    `max_error_results` INT NOT NULL DEFAULT 0,
    `max_total_results` INT NOT NULL DEFAULT 0,
    `max_success_results` INT NOT NULL DEFAULT 0,
    `result_template_file` VARCHAR(63) NOT NULL DEFAULT '',
    `priority` INT NOT NULL DEFAULT 0,
    `mod_time` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    `rsc_bandwidth_bound` DOUBLE NOT NULL DEFAULT 0,
    `fileset_id` INT NOT NULL DEFAULT 0,
    `app_version_id` INT NOT NULL DEFAULT 0,
    `transitioner_flags` TINYINT NOT NULL DEFAULT 0,
    `size_class` SMALLINT NOT NULL DEFAULT -1,
    `keywords` VARCHAR(254) NOT NULL DEFAULT '',
    `app_version_num` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY name (name),
    KEY wu_val (appid, need_validate),
    KEY wu_timeout (transition_time),
    KEY wu_filedel (file_delete_state),
    KEY wu_assim (appid, assimilate_state),
    KEY wu_batch (batch)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `result` (
    `id` BIGINT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `workunitid` BIGINT NOT NULL DEFAULT 0,
    `server_state` INT NOT NULL DEFAULT 0,
    `outcome` INT NOT NULL DEFAULT 0,
    `client_state` INT NOT NULL DEFAULT 0,
    `hostid` INT NOT NULL DEFAULT 0,
    `userid` INT NOT NULL DEFAULT 0,
    `report_deadline` INT NOT NULL DEFAULT 0,
    `sent_time` INT NOT NULL DEFAULT 0,
    `received_time` INT NOT NULL DEFAULT 0,
    `name` VARCHAR(191) NOT NULL DEFAULT '',
    `cpu_time` DOUBLE NOT NULL DEFAULT 0,
    `xml_doc_in` BLOB NULL DEFAULT NULL,
    `xml_doc_out` BLOB NULL DEFAULT NULL,
    `stderr_out` BLOB NULL DEFAULT NULL,
    `batch` INT NOT NULL DEFAULT 0,
    `file_delete_state` INT NOT NULL DEFAULT 0,
    `validate_state` INT NOT NULL DEFAULT 0,
    `claimed_credit` DOUBLE NOT NULL DEFAULT 0,
    `granted_credit` DOUBLE NOT NULL DEFAULT 0,
    `opaque` DOUBLE NOT NULL DEFAULT 0,
    `random` INT NOT NULL DEFAULT 0,
    `app_version_num` INT NOT NULL DEFAULT 0,
    `appid` INT NOT NULL DEFAULT 0,
    `exit_status` INT NOT NULL DEFAULT 0,
    `teamid` INT NOT NULL DEFAULT 0,
    `priority` INT NOT NULL DEFAULT 0,
    `mod_time` TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    `elapsed_time` DOUBLE NOT NULL DEFAULT 0,
    `flops_estimate` DOUBLE NOT NULL DEFAULT 0,
    `app_version_id` INT NOT NULL DEFAULT 0,
    `runtime_outlier` TINYINT NOT NULL DEFAULT 0,
    `size_class` SMALLINT NOT NULL DEFAULT -1,
    `peak_working_set_size` DOUBLE NOT NULL DEFAULT 0,
    `peak_swap_size` DOUBLE NOT NULL DEFAULT 0,
    `peak_disk_usage` DOUBLE NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY name (name),
    KEY res_wuid (workunitid),
    KEY ind_res_st (server_state, priority),
    KEY res_dispatch (server_state, appid, priority DESC, id),
    KEY res_app_state (appid, server_state),
    KEY res_filedel (file_delete_state),
    KEY res_userid_id (userid, id),
    KEY res_userid_val (userid, validate_state),
    KEY res_hostid_id (hostid, id),
    KEY res_batch (batch),
    KEY res_host_state (hostid, server_state)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `batch` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    `user_id` INT NOT NULL DEFAULT 0,
    `create_time` INT NOT NULL DEFAULT 0,
    `logical_start_time` DOUBLE NOT NULL DEFAULT 0,
    `logical_end_time` DOUBLE NOT NULL DEFAULT 0,
    `est_completion_time` DOUBLE NOT NULL DEFAULT 0,
    `njobs` INT NOT NULL DEFAULT 0,
    `fraction_done` DOUBLE NOT NULL DEFAULT 0,
    `nerror_jobs` INT NOT NULL DEFAULT 0,
    `state` INT NOT NULL DEFAULT 0,
    `completion_time` DOUBLE NOT NULL DEFAULT 0,
    `credit_estimate` DOUBLE NOT NULL DEFAULT 0,
    `credit_canonical` DOUBLE NOT NULL DEFAULT 0,
    `credit_total` DOUBLE NOT NULL DEFAULT 0,
    `name` VARCHAR(255) NOT NULL DEFAULT '',
    `app_id` INT NOT NULL DEFAULT 0,
    `project_state` INT NOT NULL DEFAULT 0,
    `description` VARCHAR(255) NOT NULL DEFAULT '',
    `expire_time` DOUBLE NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    KEY batch_user (user_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `user_submit` (
    `user_id` INT NOT NULL DEFAULT 0,
    `quota` DOUBLE NOT NULL DEFAULT 0,
    `logical_start_time` DOUBLE NOT NULL DEFAULT 0,
    `submit_all` TINYINT NOT NULL DEFAULT 0,
    `manage_all` TINYINT NOT NULL DEFAULT 0,
    `max_jobs_in_progress` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`user_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `user_submit_app` (
    `user_id` INT NOT NULL DEFAULT 0,
    `app_id` INT NOT NULL DEFAULT 0,
    `manage` TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`user_id`, `app_id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `job_file` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `name` VARCHAR(191) NOT NULL DEFAULT '',
    `create_time` DOUBLE NOT NULL DEFAULT 0,
    `delete_time` DOUBLE NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY jf_name (name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `msg_from_host` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `hostid` INT NOT NULL DEFAULT 0,
    `variety` VARCHAR(254) NOT NULL DEFAULT '',
    `handled` SMALLINT NOT NULL DEFAULT 0,
    `xml` MEDIUMTEXT NULL DEFAULT NULL,
    PRIMARY KEY (`id`),
    KEY message_handled (handled),
    KEY message_hostid (hostid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `msg_to_host` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `hostid` INT NOT NULL DEFAULT 0,
    `variety` VARCHAR(254) NOT NULL DEFAULT '',
    `handled` SMALLINT NOT NULL DEFAULT 0,
    `xml` MEDIUMTEXT NULL DEFAULT NULL,
    PRIMARY KEY (`id`),
    KEY msg_to_host (hostid, handled)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `assignment` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `create_time` INT NOT NULL DEFAULT 0,
    `target_id` INT NOT NULL DEFAULT 0,
    `target_type` INT NOT NULL DEFAULT 0,
    `multi` TINYINT NOT NULL DEFAULT 0,
    `workunitid` BIGINT NOT NULL DEFAULT 0,
    `resultid` BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    KEY asgn_target (target_type, target_id),
    KEY asgn_wu (workunitid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `profile` (
    `userid` INT NOT NULL DEFAULT 0,
    `language` VARCHAR(254) NULL DEFAULT NULL,
    `response1` TEXT NULL DEFAULT NULL,
    `response2` TEXT NULL DEFAULT NULL,
    `has_picture` SMALLINT NOT NULL DEFAULT 0,
    `recommend` INT NOT NULL DEFAULT 0,
    `reject` INT NOT NULL DEFAULT 0,
    `posts` INT NOT NULL DEFAULT 0,
    `uotd_time` INT NULL DEFAULT NULL,
    `verification` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`userid`),
    KEY pro_uotd (uotd_time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `category` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `orderID` INT NOT NULL DEFAULT 0,
    `lang` INT NOT NULL DEFAULT 0,
    `name` VARCHAR(180) NOT NULL DEFAULT '',
    `is_helpdesk` SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY cat1 (name, is_helpdesk)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `forum` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `category` INT NOT NULL DEFAULT 0,
    `orderID` INT NOT NULL DEFAULT 0,
    `title` VARCHAR(175) NOT NULL DEFAULT '',
    `description` VARCHAR(254) NOT NULL DEFAULT '',
    `timestamp` INT NOT NULL DEFAULT 0,
    `threads` INT NOT NULL DEFAULT 0,
    `posts` INT NOT NULL DEFAULT 0,
    `rate_min_expavg_credit` INT NOT NULL DEFAULT 0,
    `rate_min_total_credit` INT NOT NULL DEFAULT 0,
    `post_min_interval` INT NOT NULL DEFAULT 0,
    `post_min_expavg_credit` INT NOT NULL DEFAULT 0,
    `post_min_total_credit` INT NOT NULL DEFAULT 0,
    `is_dev_blog` TINYINT NOT NULL DEFAULT 0,
    `parent_type` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY pct (parent_type, category, title)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `thread` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `forum` INT NOT NULL DEFAULT 0,
    `owner` INT NOT NULL DEFAULT 0,
    `status` INT NOT NULL DEFAULT 0,
    `title` VARCHAR(254) NOT NULL DEFAULT '',
    `timestamp` INT NOT NULL DEFAULT 0,
    `views` INT NOT NULL DEFAULT 0,
    `replies` INT NOT NULL DEFAULT 0,
    `activity` DOUBLE NOT NULL DEFAULT 0,
    `sufferers` INT NOT NULL DEFAULT 0,
    `score` DOUBLE NOT NULL DEFAULT 0,
    `votes` INT NOT NULL DEFAULT 0,
    `create_time` INT NOT NULL DEFAULT 0,
    `hidden` INT NOT NULL DEFAULT 0,
    `sticky` TINYINT NOT NULL DEFAULT 0,
    `locked` TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    KEY thread_forum (forum)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `post` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `thread` INT NOT NULL DEFAULT 0,
    `user` INT NOT NULL DEFAULT 0,
    `timestamp` INT NOT NULL DEFAULT 0,
    `content` TEXT NOT NULL DEFAULT (''),
    `modified` INT NOT NULL DEFAULT 0,
    `parent_post` INT NOT NULL DEFAULT 0,
    `score` DOUBLE NOT NULL DEFAULT 0,
    `votes` INT NOT NULL DEFAULT 0,
    `signature` TINYINT NOT NULL DEFAULT 0,
    `hidden` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    KEY post_user (user),
    KEY post_thread (thread)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `subscriptions` (
    `userid` INT NOT NULL DEFAULT 0,
    `threadid` INT NOT NULL DEFAULT 0,
    `notified_time` INT NOT NULL DEFAULT 0,
    UNIQUE KEY sub_unique (userid, threadid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `forum_preferences` (
    `userid` INT NOT NULL DEFAULT 0,
    `signature` VARCHAR(254) NOT NULL DEFAULT '',
    `posts` INT NOT NULL DEFAULT 0,
    `last_post` INT NOT NULL DEFAULT 0,
    `avatar` VARCHAR(254) NOT NULL DEFAULT '',
    `hide_avatars` TINYINT NOT NULL DEFAULT 0,
    `forum_sorting` INT NOT NULL DEFAULT 0,
    `thread_sorting` INT NOT NULL DEFAULT 0,
    `no_signature_by_default` TINYINT NOT NULL DEFAULT 1,
    `images_as_links` TINYINT NOT NULL DEFAULT 0,
    `link_popup` TINYINT NOT NULL DEFAULT 0,
    `mark_as_read_timestamp` INT NOT NULL DEFAULT 0,
    `special_user` CHAR(12) NOT NULL DEFAULT '0',
    `jump_to_unread` TINYINT NOT NULL DEFAULT 1,
    `hide_signatures` TINYINT NOT NULL DEFAULT 0,
    `rated_posts` VARCHAR(254) NOT NULL DEFAULT '',
    `low_rating_threshold` INT NOT NULL DEFAULT -25,
    `high_rating_threshold` INT NOT NULL DEFAULT 5,
    `minimum_wrap_postcount` INT NOT NULL DEFAULT 100,
    `display_wrap_postcount` INT NOT NULL DEFAULT 75,
    `ignorelist` VARCHAR(254) NOT NULL DEFAULT '',
    `ignore_sticky_posts` TINYINT NOT NULL DEFAULT 0,
    `banished_until` INT NOT NULL DEFAULT 0,
    `pm_notification` TINYINT NOT NULL DEFAULT 0,
    `highlight_special` TINYINT NOT NULL DEFAULT 1,
    PRIMARY KEY (`userid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `forum_logging` (
    `userid` INT NOT NULL DEFAULT 0,
    `threadid` INT NOT NULL DEFAULT 0,
    `timestamp` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`userid`, `threadid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `post_ratings` (
    `post` INT NOT NULL DEFAULT 0,
    `user` INT NOT NULL DEFAULT 0,
    `rating` TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`post`, `user`),
    KEY post_ratings_user (user)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `sent_email` (
    `userid` INT NOT NULL DEFAULT 0,
    `time_sent` INT NOT NULL DEFAULT 0,
    `email_type` SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`userid`),
    KEY sent_email_userid (userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `private_messages` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `userid` INT NOT NULL DEFAULT 0,
    `senderid` INT NOT NULL DEFAULT 0,
    `date` INT NOT NULL DEFAULT 0,
    `opened` TINYINT NOT NULL DEFAULT 0,
    `subject` VARCHAR(255) NOT NULL DEFAULT '',
    `content` TEXT NOT NULL DEFAULT (''),
    PRIMARY KEY (`id`),
    KEY userid (userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `credited_job` (
    `userid` INT NOT NULL DEFAULT 0,
    `workunitid` BIGINT NOT NULL DEFAULT 0,
    UNIQUE KEY credited_job_user_wu (userid, workunitid),
    KEY credited_job_user (userid),
    KEY credited_job_wu (workunitid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `donation_items` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `item_name` VARCHAR(32) NOT NULL DEFAULT '',
    `title` VARCHAR(255) NOT NULL DEFAULT '',
    `description` VARCHAR(255) NOT NULL DEFAULT '',
    `required` DOUBLE NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `donation_paypal` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `order_time` INT NOT NULL DEFAULT 0,
    `userid` INT NOT NULL DEFAULT 0,
    `email_addr` VARCHAR(255) NOT NULL DEFAULT '',
    `order_amount` DOUBLE(6,2) NOT NULL DEFAULT 0,
    `processed` TINYINT NOT NULL DEFAULT 0,
    `payment_time` INT NOT NULL DEFAULT 0,
    `item_name` VARCHAR(255) NOT NULL DEFAULT '',
    `item_number` VARCHAR(255) NOT NULL DEFAULT '',
    `payment_status` VARCHAR(255) NOT NULL DEFAULT '',
    `payment_amount` DOUBLE(6,2) NOT NULL DEFAULT 0,
    `payment_fee` DOUBLE(5,2) NULL DEFAULT NULL,
    `payment_currency` VARCHAR(255) NOT NULL DEFAULT '',
    `txn_id` VARCHAR(255) NOT NULL DEFAULT '',
    `receiver_email` VARCHAR(255) NOT NULL DEFAULT '',
    `payer_email` VARCHAR(255) NOT NULL DEFAULT '',
    `payer_name` VARCHAR(255) NOT NULL DEFAULT '',
    PRIMARY KEY (`id`),
    KEY donation_paypal_userid (userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `team_delta` (
    `userid` INT NOT NULL DEFAULT 0,
    `teamid` INT NOT NULL DEFAULT 0,
    `timestamp` INT NOT NULL DEFAULT 0,
    `joining` TINYINT NOT NULL DEFAULT 0,
    `total_credit` DOUBLE NOT NULL DEFAULT 0,
    KEY team_delta_teamid (teamid, timestamp),
    KEY team_delta_userid (userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `banishment_vote` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    `userid` INT NOT NULL DEFAULT 0,
    `modid` INT NOT NULL DEFAULT 0,
    `start_time` INT NOT NULL DEFAULT 0,
    `end_time` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    KEY banishment_vote_userid (userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `banishment_votes` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    `voteid` INT NOT NULL DEFAULT 0,
    `modid` INT NOT NULL DEFAULT 0,
    `time` INT NOT NULL DEFAULT 0,
    `yes` TINYINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `team_admin` (
    `teamid` INT NOT NULL DEFAULT 0,
    `userid` INT NOT NULL DEFAULT 0,
    `create_time` INT NOT NULL DEFAULT 0,
    `rights` INT NOT NULL DEFAULT 0,
    UNIQUE KEY teamid (teamid, userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `friend` (
    `user_src` INT NOT NULL DEFAULT 0,
    `user_dest` INT NOT NULL DEFAULT 0,
    `message` VARCHAR(255) NOT NULL DEFAULT '',
    `create_time` INT NOT NULL DEFAULT 0,
    `reciprocated` TINYINT NOT NULL DEFAULT 0,
    UNIQUE KEY friend_u (user_src, user_dest)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `notify` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    `userid` INT NOT NULL DEFAULT 0,
    `create_time` INT NOT NULL DEFAULT 0,
    `type` INT NOT NULL DEFAULT 0,
    `opaque` BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    UNIQUE KEY notify_un (userid, type, opaque)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `badge` (
    `id` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    `create_time` DOUBLE NOT NULL DEFAULT 0,
    `type` TINYINT NOT NULL DEFAULT 0,
    `name` VARCHAR(255) NOT NULL DEFAULT '',
    `title` VARCHAR(255) NOT NULL DEFAULT '',
    `description` VARCHAR(255) NOT NULL DEFAULT '',
    `image_url` VARCHAR(255) NOT NULL DEFAULT '',
    `level` VARCHAR(255) NOT NULL DEFAULT '',
    `tags` VARCHAR(255) NOT NULL DEFAULT '',
    `sql_rule` VARCHAR(255) NOT NULL DEFAULT '',
    PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `badge_user` (
    `badge_id` INT NOT NULL DEFAULT 0,
    `user_id` INT NOT NULL DEFAULT 0,
    `create_time` DOUBLE NOT NULL DEFAULT 0,
    `reassign_time` DOUBLE NOT NULL DEFAULT 0,
    UNIQUE KEY user_id (user_id, badge_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `badge_team` (
    `badge_id` INT NOT NULL DEFAULT 0,
    `team_id` INT NOT NULL DEFAULT 0,
    `create_time` DOUBLE NOT NULL DEFAULT 0,
    `reassign_time` DOUBLE NOT NULL DEFAULT 0,
    UNIQUE KEY team_id (team_id, badge_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `credit_user` (
    `userid` INT NOT NULL DEFAULT 0,
    `appid` INT NOT NULL DEFAULT 0,
    `njobs` INT NOT NULL DEFAULT 0,
    `total` DOUBLE NOT NULL DEFAULT 0,
    `expavg` DOUBLE NOT NULL DEFAULT 0,
    `expavg_time` DOUBLE NOT NULL DEFAULT 0,
    `credit_type` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`userid`, `appid`, `credit_type`),
    KEY cu_total (appid, total),
    KEY cu_avg (appid, expavg)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `credit_team` (
    `teamid` INT NOT NULL DEFAULT 0,
    `appid` INT NOT NULL DEFAULT 0,
    `njobs` INT NOT NULL DEFAULT 0,
    `total` DOUBLE NOT NULL DEFAULT 0,
    `expavg` DOUBLE NOT NULL DEFAULT 0,
    `expavg_time` DOUBLE NOT NULL DEFAULT 0,
    `credit_type` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`teamid`, `appid`, `credit_type`),
    KEY ct_total (appid, total),
    KEY ct_avg (appid, expavg)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `token` (
    `token` VARCHAR(64) NOT NULL DEFAULT '',
    `userid` INT NOT NULL DEFAULT 0,
    `type` CHAR(1) NOT NULL DEFAULT '',
    `create_time` INT NOT NULL DEFAULT 0,
    `expire_time` INT NULL DEFAULT NULL,
    PRIMARY KEY (`token`),
    KEY token_userid (userid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `user_deleted` (
    `userid` INT NOT NULL DEFAULT 0,
    `public_cross_project_id` VARCHAR(254) NOT NULL DEFAULT '',
    `create_time` DOUBLE NOT NULL DEFAULT 0,
    PRIMARY KEY (`userid`),
    KEY user_deleted_create (create_time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `host_deleted` (
    `hostid` INT NOT NULL DEFAULT 0,
    `public_cross_project_id` VARCHAR(254) NOT NULL DEFAULT '',
    `create_time` DOUBLE NOT NULL DEFAULT 0,
    PRIMARY KEY (`hostid`),
    KEY host_deleted_create (create_time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `consent_type` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `shortname` VARCHAR(191) NOT NULL DEFAULT '',
    `description` VARCHAR(255) NOT NULL DEFAULT '',
    `enabled` INT NOT NULL DEFAULT 0,
    `project_specific` INT NOT NULL DEFAULT 0,
    `privacypref` INT NOT NULL DEFAULT 0,
    PRIMARY KEY (`id`),
    KEY consent_name (shortname)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `consent` (
    `id` INT NOT NULL AUTO_INCREMENT,
    `userid` INT NOT NULL DEFAULT 0,
    `consent_type_id` INT NOT NULL DEFAULT 0,
    `consent_time` INT NOT NULL DEFAULT 0,
    `consent_flag` TINYINT NOT NULL DEFAULT 0,
    `consent_not_required` TINYINT NOT NULL DEFAULT 0,
    `source` VARCHAR(255) NOT NULL DEFAULT '',
    PRIMARY KEY (`id`),
    KEY userid_ctid_timestamp (userid, consent_type_id, consent_time),
    KEY consent_timestamp (consent_time),
    KEY flag_ctid (consent_flag, consent_type_id),
    CONSTRAINT consent_type_fk FOREIGN KEY (consent_type_id) REFERENCES consent_type (id) ON UPDATE CASCADE ON DELETE RESTRICT
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE `batch_file_assoc` (
    `job_file_id` INT NOT NULL DEFAULT 0,
    `batch_id` INT NOT NULL DEFAULT 0,
    UNIQUE KEY bfa (job_file_id, batch_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE VIEW `latest_consent` AS
    SELECT c.userid, c.consent_type_id, c.consent_flag
      FROM consent c
     WHERE NOT EXISTS (SELECT 1 FROM consent n
                        WHERE n.userid = c.userid AND n.consent_type_id = c.consent_type_id
                          AND n.consent_time > c.consent_time);

INSERT INTO consent_type (shortname, description, enabled, project_specific, privacypref) VALUES
    ('ENROLL', 'I agree to take part in this project under its terms of use.', 0, 0, 0),
    ('STATSEXPORT', 'My name, computers and credit may be published in statistics exports.', 0, 0, 1);
