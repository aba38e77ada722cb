-- Jobs in progress of one host: lost jobs, aborts and detaching ask for them on nearly every scheduler RPC,
-- and a host's finished results may number thousands (docs/decisions/0010-scheduler-claim.md).
ALTER TABLE `result` ADD KEY res_host_state (hostid, server_state);
