//! Integration tests: one binary, one module per topic.
//!
//! Each module is marked as test code, so that clippy lets its helpers unwrap.

#[cfg(test)]
mod activity;
#[cfg(test)]
mod activity_findings;
#[cfg(test)]
mod activity_geo;
#[cfg(test)]
mod activity_report;
#[cfg(test)]
mod activity_tell;
#[cfg(test)]
mod ansible_oracle;
#[cfg(test)]
mod audit_signing;
#[cfg(test)]
mod audit_tamper;
#[cfg(test)]
mod distributions;
#[cfg(test)]
mod docs;
#[cfg(test)]
mod docs_reports;
#[cfg(test)]
mod doctor_cmd;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod init;
#[cfg(test)]
mod inventory_cli;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod lab_activity;
#[cfg(test)]
mod lab_adopt;
#[cfg(test)]
mod lab_bypass;
#[cfg(test)]
mod lab_confirm;
#[cfg(test)]
mod lab_disk_full;
#[cfg(test)]
mod lab_disk_full_here;
#[cfg(test)]
mod lab_drift;
#[cfg(test)]
mod lab_enrol;
#[cfg(test)]
mod lab_everyone;
#[cfg(test)]
mod lab_fail2ban;
#[cfg(test)]
mod lab_fanout;
#[cfg(test)]
mod lab_faults;
#[cfg(test)]
mod lab_first;
#[cfg(test)]
mod lab_hostile;
#[cfg(test)]
mod lab_hosts;
#[cfg(test)]
mod lab_key_exchange;
#[cfg(test)]
mod lab_kill;
#[cfg(test)]
mod lab_leak;
#[cfg(test)]
mod lab_month;
#[cfg(test)]
mod lab_oath;
#[cfg(test)]
mod lab_own_code;
#[cfg(test)]
mod lab_penalties;
#[cfg(test)]
mod lab_play;
#[cfg(test)]
mod lab_reaper;
#[cfg(test)]
mod lab_recover;
#[cfg(test)]
mod lab_recovery;
#[cfg(test)]
mod lab_remove;
#[cfg(test)]
mod lab_revoke;
#[cfg(test)]
mod lab_revoke_fleet;
#[cfg(test)]
mod lab_revoke_kill;
#[cfg(test)]
mod lab_revoke_odd;
#[cfg(test)]
mod lab_rollback;
#[cfg(test)]
mod lab_rotate;
#[cfg(test)]
mod lab_rotate_end;
#[cfg(test)]
mod lab_rotate_kill;
#[cfg(test)]
mod lab_self;
#[cfg(test)]
mod lab_shells;
#[cfg(test)]
mod lab_signals;
#[cfg(test)]
mod lab_systemd;
#[cfg(test)]
mod lab_walkthrough;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod pack;
#[cfg(test)]
mod plan_cases;
#[cfg(test)]
mod play_cmd;
#[cfg(test)]
mod play_flags;
#[cfg(test)]
mod playbook_cases;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod report;
#[cfg(test)]
mod report_cmd;
#[cfg(test)]
mod revoke_cli;
#[cfg(test)]
mod scale;
#[cfg(test)]
mod scale_hosts;
#[cfg(test)]
mod scale_reports;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod sheet;
#[cfg(test)]
mod sheet_codes;
#[cfg(test)]
mod sheets_cmd;
#[cfg(test)]
mod support;
#[cfg(test)]
mod token;
#[cfg(test)]
mod vault_cmd;
