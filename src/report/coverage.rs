//! `report coverage`: on how much of the population a code is demanded, and everything that gets past it.

mod columns;
mod exceptions;
mod pairs;
mod population;

use std::sync::Arc;

pub use columns::{
    bypass_columns, difference_columns, duty_columns, exception_columns, pair_columns,
    population_columns, sheet_columns, source_columns, unknown_columns, weakness_columns,
};
pub use pairs::{Counts, Pairs, Standing};

use crate::report::model::{Body, Cell, Figure, Report, Section};
use crate::report::view::{Judged, View, figure, table};

/// Computes the report. `before` are the counts at the beginning of its period.
pub fn coverage(view: &Arc<View>, before: Option<&Counts>) -> Judged {
    let pairs = Pairs::of(view);
    let counts = pairs.counts();
    let open = counts.open();
    let mut sections = vec![Section {
        id: "summary",
        title: "Summary".to_owned(),
        about: "An admin's account on a host is one of the population. Coverage is enforced over required; required is the population without accounts that are not there and without those that were revoked.".to_owned(),
        body: Body::Figures(figures(&counts)),
    }];
    if let Some(before) = before {
        sections.push(Section {
            id: "at_start",
            title: "At the beginning of the period".to_owned(),
            about: "The same counts, of the state in which the period begins. The inventory is read as its files are now.".to_owned(),
            body: Body::Figures(figures(before)),
        });
    }
    sections.extend([
        table("open", "Not enforced", "Every account on which no code is known to be demanded, for whatever reason.", pair_columns(), pairs.clone().only_open()),
        table("unknown_hosts", "Hosts that are not known", "Hosts that the last attempt did not reach or could not read, or that were never read: with the date of the last reading, and nothing said of what they have now.", unknown_columns(), population::unknown_hosts(view)),
        table("weaknesses", "Ways past the code", "Seen on hosts when they were last read: in the PAM text of sshd and the shared stacks, in /etc/sudoers and /etc/sudoers.d, and in the services that are there of login, remote, su, su-l, sudo, sudo-i, polkit-1, cockpit, vsftpd, proftpd, pure-ftpd, dovecot, openvpn, webmin, xrdp-sesman, gdm-password, lightdm, sddm. Others are not looked at, nor is sudo's configuration in a directory service.", weakness_columns(), exceptions::weaknesses(view)),
        table("exceptions", "Exceptions", "Accounts that the inventory declares exempt. One that is over is a gap.", exception_columns(), exceptions::exceptions(view)),
        table("codes", "One-time codes", "Every one-time code that was granted; in a report of a period, those that were open in it.", bypass_columns(), exceptions::bypasses(view)),
        Section {
            id: "sheet_summary",
            title: "Sheets in numbers".to_owned(),
            about: "What became of sheets; in a report of a period, of those that were issued in it.".to_owned(),
            body: Body::Figures(exceptions::sheet_figures(view)),
        },
        table("sheets", "Sheets", "Every sheet, the newest last.", sheet_columns(), exceptions::sheets(view)),
        table("duties", "Separation of duties", "Keys whose issuer also approved them, or holds them.", duty_columns(), exceptions::duties(view)),
        table("population", "Population", "How many hosts and admins the inventory and the ledger know.", population_columns(), population::population(view)),
        table("sources", "Sources", "What the inventory was read from.", source_columns(), population::sources(view)),
        table("differences", "Differences", "Hosts and admins that only the inventory or only the ledger knows, and hosts that no realm covers.", difference_columns(), population::differences(view)),
        table("accounts", "Accounts", "Every account of the population, as its host was last seen to have it, by host and admin.", pair_columns(), pairs),
    ]);
    let mut limits = view.limits();
    limits.extend([
        "TOTP is not resistant to phishing, and a code seen on one host can be used on another for up to 90 seconds where both have the same key.".to_owned(),
        "Logins are collected from hosts' own logs and stand outside the event log, which has their number only: who can change a host's log can change when a code was accepted last.".to_owned(),
    ]);
    Judged {
        report: Report {
            name: "coverage",
            title: "Coverage".to_owned(),
            scope: view.scope.clone(),
            sections,
            limits,
        },
        open,
    }
}

fn figures(counts: &Counts) -> Vec<Figure> {
    let mut figures = vec![
        figure(
            "coverage",
            "Enforced of required",
            percent(counts.of(Standing::Enforced), counts.required()),
        ),
        figure("population", "Accounts", Cell::Count(counts.all())),
        figure("required", "Required", Cell::Count(counts.required())),
        figure(
            "not_enforced",
            "Not enforced or not known",
            Cell::Count(counts.open()),
        ),
    ];
    for standing in Standing::ALL {
        figures.push(figure(
            standing.as_str(),
            standing.title(),
            Cell::Count(counts.of(*standing)),
        ));
    }
    figures
}

/// `97.5 %`, rounded down: never more than it is.
fn percent(part: u64, whole: u64) -> Cell {
    if whole == 0 {
        return Cell::Empty;
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    Cell::text(format!("{}.{} %", tenths / 10, tenths % 10))
}
