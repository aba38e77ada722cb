package main

// The texts follow spec 01 section 6.1 and spec 04 section 5.3.

const requestHead = `<scheduler_request>
    <authenticator>%s</authenticator>
    <hostid>%d</hostid>
    <rpc_seqno>%d</rpc_seqno>
    <core_client_major_version>8</core_client_major_version>
    <core_client_minor_version>2</core_client_minor_version>
    <core_client_release>15</core_client_release>
    <resource_share_fraction>1.000000</resource_share_fraction>
    <rrs_fraction>1.000000</rrs_fraction>
    <prrs_fraction>1.000000</prrs_fraction>
    <duration_correction_factor>1.000000</duration_correction_factor>
    <allow_multiple_clients>0</allow_multiple_clients>
    <sandbox>0</sandbox>
    <dont_send_work>0</dont_send_work>
    <work_req_seconds>%d.000000</work_req_seconds>
    <cpu_req_secs>%d.000000</cpu_req_secs>
    <cpu_req_instances>%d.000000</cpu_req_instances>
    <estimated_delay>0.000000</estimated_delay>
    <client_cap_plan_class>1</client_cap_plan_class>
    <platform_name>x86_64-pc-linux-gnu</platform_name>
    <alt_platform>
        <name>i686-pc-linux-gnu</name>
    </alt_platform>
<working_global_preferences>
<global_preferences>
   <source_project>http://boinc.test/proj/</source_project>
   <mod_time>1787000000.000000</mod_time>
   <battery_charge_min_pct>90.000000</battery_charge_min_pct>
   <battery_max_temperature>40.000000</battery_max_temperature>
   <run_on_batteries>0</run_on_batteries>
   <run_if_user_active>1</run_if_user_active>
   <run_gpu_if_user_active>0</run_gpu_if_user_active>
   <suspend_if_no_recent_input>0.000000</suspend_if_no_recent_input>
   <suspend_cpu_usage>0.000000</suspend_cpu_usage>
   <start_hour>0.000000</start_hour>
   <end_hour>0.000000</end_hour>
   <net_start_hour>0.000000</net_start_hour>
   <net_end_hour>0.000000</net_end_hour>
   <leave_apps_in_memory>0</leave_apps_in_memory>
   <confirm_before_connecting>0</confirm_before_connecting>
   <hangup_if_dialed>0</hangup_if_dialed>
   <dont_verify_images>0</dont_verify_images>
   <work_buf_min_days>0.100000</work_buf_min_days>
   <work_buf_additional_days>0.500000</work_buf_additional_days>
   <max_ncpus_pct>100.000000</max_ncpus_pct>
   <niu_max_ncpus_pct>100.000000</niu_max_ncpus_pct>
   <niu_cpu_usage_limit>100.000000</niu_cpu_usage_limit>
   <niu_suspend_cpu_usage>0.000000</niu_suspend_cpu_usage>
   <cpu_scheduling_period_minutes>60.000000</cpu_scheduling_period_minutes>
   <disk_interval>60.000000</disk_interval>
   <disk_max_used_gb>0.000000</disk_max_used_gb>
   <disk_max_used_pct>90.000000</disk_max_used_pct>
   <disk_min_free_gb>1.000000</disk_min_free_gb>
   <vm_max_used_pct>75.000000</vm_max_used_pct>
   <ram_max_used_busy_pct>50.000000</ram_max_used_busy_pct>
   <ram_max_used_idle_pct>90.000000</ram_max_used_idle_pct>
   <idle_time_to_run>3.000000</idle_time_to_run>
   <max_bytes_sec_up>0.000000</max_bytes_sec_up>
   <max_bytes_sec_down>0.000000</max_bytes_sec_down>
   <cpu_usage_limit>100.000000</cpu_usage_limit>
   <daily_xfer_limit_mb>0.000000</daily_xfer_limit_mb>
   <daily_xfer_period_days>0</daily_xfer_period_days>
   <override_file_present>0</override_file_present>
   <network_wifi_only>0</network_wifi_only>
</global_preferences>
</working_global_preferences>
<time_stats>
    <on_frac>0.981200</on_frac>
    <connected_frac>-1.000000</connected_frac>
    <cpu_and_network_available_frac>0.999100</cpu_and_network_available_frac>
    <active_frac>0.998700</active_frac>
    <gpu_active_frac>0.998700</gpu_active_frac>
    <client_start_time>1787100000.120000</client_start_time>
    <total_start_time>1786900000.000000</total_start_time>
    <total_duration>205000.000000</total_duration>
    <total_active_duration>204700.000000</total_active_duration>
    <total_gpu_active_duration>204700.000000</total_gpu_active_duration>
    <now>1787108640.500000</now>
    <previous_uptime>86000.000000</previous_uptime>
    <session_active_duration>8630.000000</session_active_duration>
    <session_gpu_active_duration>8630.000000</session_gpu_active_duration>
</time_stats>
<net_stats>
    <bwup>812345.100000</bwup>
    <avg_up>51234.000000</avg_up>
    <avg_time_up>1787108000.000000</avg_time_up>
    <bwdown>5512345.000000</bwdown>
    <avg_down>9123456.000000</avg_down>
    <avg_time_down>1787108000.000000</avg_time_down>
</net_stats>
<host_info>
    <timezone>7200</timezone>
    <ip_addr>10.1.%d.%d</ip_addr>
    <domain_name>bench-%d</domain_name>
    <host_cpid>%s</host_cpid>
    <p_ncpus>4</p_ncpus>
    <p_vendor>GenuineIntel</p_vendor>
    <p_model>Intel(R) Core(TM) i5-6500 CPU @ 3.20GHz [Family 6 Model 94 Stepping 3]</p_model>
    <p_features>fpu vme de pse tsc msr sse sse2 ssse3 sse4_1 sse4_2 avx avx2 fma vmx</p_features>
    <p_fpops>4123456789.000000</p_fpops>
    <p_iops>15123456789.000000</p_iops>
    <p_membw>1000000000.000000</p_membw>
    <p_calculated>1786900100.000000</p_calculated>
    <p_vm_extensions_disabled>0</p_vm_extensions_disabled>
    <m_nbytes>16682045440.000000</m_nbytes>
    <m_cache>6291456.000000</m_cache>
    <m_swap>2147479552.000000</m_swap>
    <d_total>250438021120.000000</d_total>
    <d_free>%d.000000</d_free>
    <os_name>Linux Ubuntu</os_name>
    <os_version>Ubuntu 24.04.3 LTS [6.8.0-79-generic|libc 2.39]</os_version>
    <n_usable_coprocs>0</n_usable_coprocs>
    <docker_version>28.3.3</docker_version>
    <docker_type>1</docker_type>
    <docker_compose_version>2.39.1</docker_compose_version>
    <docker_compose_type>1</docker_compose_type>
</host_info>
    <disk_usage>
        <d_boinc_used_total>812345678.000000</d_boinc_used_total>
        <d_boinc_used_project>612345678.000000</d_boinc_used_project>
        <d_project_share>160000000000.000000</d_project_share>
    </disk_usage>
`

const requestResult = `<result>
    <name>%s</name>
    <final_cpu_time>3571.480000</final_cpu_time>
    <final_elapsed_time>3602.110000</final_elapsed_time>
    <exit_status>0</exit_status>
    <state>5</state>
    <platform>x86_64-pc-linux-gnu</platform>
    <version_num>100</version_num>
    <final_peak_working_set_size>314572800</final_peak_working_set_size>
    <final_peak_swap_size>415236096</final_peak_swap_size>
    <final_peak_disk_usage>10485760</final_peak_disk_usage>
    <app_version_num>100</app_version_num>
<stderr_out>
<core_client_version>8.2.15</core_client_version>
<![CDATA[
<stderr_txt>
2026-11-21 15:00:00 (1234): wrapper: starting
2026-11-21 16:00:00 (1234): called boinc_finish(0)

</stderr_txt>
]]>
</stderr_out>
`

const requestFile = `<file_info>
    <name>%s</name>
    <nbytes>%d.000000</nbytes>
    <max_nbytes>%s</max_nbytes>
    <md5_cksum>%s</md5_cksum>
    <upload_url>%s</upload_url>
</file_info>
`

const requestVersions = `<app_versions>
<app_version>
    <app_name>bench</app_name>
    <version_num>100</version_num>
    <platform>x86_64-pc-linux-gnu</platform>
    <avg_ncpus>1.000000</avg_ncpus>
    <flops>4123456789.000000</flops>
    <api_version>8.3.0</api_version>
</app_version>
</app_versions>
`

const requestOther = `    <other_result>
        <name>%s</name>
        <app_version>0</app_version>
    </other_result>
`

const uploadHead = `<data_server_request>
    <core_client_major_version>8</core_client_major_version>
    <core_client_minor_version>2</core_client_minor_version>
    <core_client_release>15</core_client_release>
<file_upload>
<file_info>
<name>%s</name>
<xml_signature>
%s
</xml_signature>
<max_nbytes>%s</max_nbytes>
</file_info>
<nbytes>%d</nbytes>
<md5_cksum>%s</md5_cksum>
<offset>0</offset>
<data>
`
