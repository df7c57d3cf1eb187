//! The columns of the coverage report's tables: stable.

use crate::report::columns::{ADMIN, APPROVED_BY, ENDED_AT, HOST, ISSUED_BY, LOGIN, REALM, SERIAL};
use crate::report::model::{Column, Kind};
use crate::report::view::column;

/// Of accounts.
pub fn pair_columns() -> Vec<Column> {
    vec![
        HOST,
        ADMIN,
        LOGIN,
        REALM,
        column(
            "standing",
            "Standing",
            Kind::Status,
            "`enforced`: the host demands the code; `unknown`: the host could not be read; `pending`: the secret is there and not demanded; `gap`; `absent`; `not_issued`; `exempt`: declared, by somebody and until a date; `exemption_over`; `exempt_undeclared`: only the host has it exempt; `revocation_open`; `revoked`; `no_account`.",
        ),
        column(
            "seen",
            "Last seen",
            Kind::Text,
            "The state as last read from the host, however long ago.",
        ),
        column(
            "why",
            "Why",
            Kind::Text,
            "What is missing, or why the host could not be read.",
        ),
        column(
            "generation",
            "Generation",
            Kind::Count,
            "Number of the key in slot `current`; unknown where the host could not be read.",
        ),
        column(
            "next_generation",
            "Next",
            Kind::Count,
            "Number of the key in slot `next`, likewise.",
        ),
        column(
            "since",
            "Since",
            Kind::Time,
            "When this last became different.",
        ),
        column(
            "observed_at",
            "Observed",
            Kind::Time,
            "When this was last read from the host; empty where it never was.",
        ),
        column(
            "last_code_at",
            "Last code",
            Kind::Time,
            "When a code of the token was accepted on the host last, as far as its log was collected; empty where none was; unknown where its log was never read.",
        ),
        column(
            "reachable",
            "Reachable",
            Kind::Flag,
            "Whether the last attempt reached the host.",
        ),
        column(
            "known_from",
            "Known from",
            Kind::Text,
            "`inventory`, `ledger`, or `both`.",
        ),
        SERIAL,
        column(
            "services",
            "Services",
            Kind::Text,
            "Where a code is demanded of an `enforced` account: `sshd`, and `sudo` where the policy has it and the host was seen to ask in it.",
        ),
    ]
}

/// Of hosts that are not known.
pub fn unknown_columns() -> Vec<Column> {
    vec![
        HOST,
        column(
            "last_seen_at",
            "Last read",
            Kind::Time,
            "When it was last read; empty where it never was.",
        ),
        column("unknown_for", "Unknown for", Kind::Span, "Since then."),
        column(
            "last_attempt_at",
            "Last tried",
            Kind::Time,
            "When it was last tried.",
        ),
        column("why", "Why", Kind::Text, "What came of that."),
        column(
            "tokens",
            "Tokens",
            Kind::Count,
            "Tokens that were ever seen there.",
        ),
    ]
}

/// Of ways past the code.
pub fn weakness_columns() -> Vec<Column> {
    vec![
        HOST,
        column(
            "kind",
            "Kind",
            Kind::Text,
            "`nullok`: who has no secret gives no code; `grace_period`: a code is not asked for again for a time; `scratch_codes`: codes that need no phone are left; `exempt_group`: members of `fleetotp-exempt`; `nopasswd`, `no_authenticate`, `sudo_exempt_group`: sudo asks for nothing; `sudo_other_password`, `sudo_other_service`: sudo asks for the password of another account than the caller's, or by another PAM service, and a code in it is not the caller's or not asked for; `sudo_include`: a file of sudo's that was not looked at; `other_services`: PAM services that are there and ask for no code; unknown where nobody has looked.",
        ),
        column(
            "accounts",
            "Accounts",
            Kind::Count,
            "How many accounts it concerns; empty where the detail says whom, or it is everybody.",
        ),
        column(
            "detail",
            "Detail",
            Kind::Text,
            "What was seen, and where: file and line. Accounts are not named.",
        ),
        column(
            "observed_at",
            "Observed",
            Kind::Time,
            "When the host was last read.",
        ),
        column(
            "current",
            "Still so",
            Kind::Flag,
            "Whether the last attempt could read the host: if not, this is what was seen before.",
        ),
    ]
}

/// Of exemptions.
pub fn exception_columns() -> Vec<Column> {
    vec![
        LOGIN,
        column(
            "status",
            "Status",
            Kind::Status,
            "`valid`, or `over`: then it counts as a gap.",
        ),
        column(
            "hosts",
            "Hosts",
            Kind::Text,
            "The pattern of hosts as declared.",
        ),
        column(
            "host_count",
            "Number",
            Kind::Count,
            "How many hosts that selects.",
        ),
        column("owner", "Owner", Kind::Text, "Who answers for it."),
        column("reason", "Reason", Kind::Text, "Why."),
        column("approved_by", "Approved by", Kind::Text, "Who allowed it."),
        column("expires", "Expires", Kind::Time, "When it ends."),
        column(
            "admin",
            "An admin's",
            Kind::Flag,
            "Whether it is the account of an admin of the inventory; any other is outside the population.",
        ),
    ]
}

/// Of one-time codes.
pub fn bypass_columns() -> Vec<Column> {
    vec![
        column(
            "id",
            "Grant",
            Kind::Text,
            "Its id; one grant may cover several hosts.",
        ),
        column("admin", "Admin", Kind::Text, "For whom."),
        column("host", "Host", Kind::Text, "Where."),
        column(
            "state",
            "State",
            Kind::Status,
            "`open`, `used`, `expired`, `revoked`, `failed`, or `gone`: it ended and the host does not say how.",
        ),
        column("granted_at", "Granted", Kind::Time, "When."),
        column(
            "granted_by",
            "By",
            Kind::Text,
            "Who ran the program then, as claimed.",
        ),
        column("due_at", "Ends", Kind::Time, "When it ends unused."),
        column("ended_at", "Ended", Kind::Time, "When its end was seen."),
        column("reason", "Reason", Kind::Text, "Why."),
        column("ticket", "Ticket", Kind::Text, "The ticket."),
    ]
}

/// Of sheets.
pub fn sheet_columns() -> Vec<Column> {
    vec![
        column(
            "sheet",
            "Sheet",
            Kind::Text,
            "Its number, as printed on it.",
        ),
        column("admin", "Admin", Kind::Text, "Whose."),
        column("realm", "Realm", Kind::Text, "Where its code is used."),
        column(
            "state",
            "State",
            Kind::Status,
            "`rendering`, `issued`, `delivered`; `redeemed`: a code of it was verified; `expired`; `void`.",
        ),
        column("issued_at", "Issued", Kind::Time, "When."),
        ISSUED_BY,
        column(
            "encryption",
            "Protected",
            Kind::Text,
            "`plain`, `recipient` or `passphrase`.",
        ),
        column(
            "delivered_at",
            "Delivered",
            Kind::Time,
            "When it was handed over, where that was recorded.",
        ),
        column("delivered_to", "To", Kind::Text, "To whom."),
        column(
            "redeemed_at",
            "Redeemed",
            Kind::Time,
            "When a code of it was verified.",
        ),
        column(
            "expires_at",
            "Expires",
            Kind::Time,
            "When its secret stops working unless that happens.",
        ),
        ENDED_AT,
    ]
}

/// Of keys that one person answers for alone.
pub fn duty_columns() -> Vec<Column> {
    vec![
        column("admin", "Admin", Kind::Text, "Whose key."),
        column("realm", "Realm", Kind::Text, "Where it is used."),
        column("generation", "Generation", Kind::Count, "Its number."),
        column(
            "what",
            "What",
            Kind::Text,
            "`issuer approved`: one person did both; `issued to oneself`.",
        ),
        ISSUED_BY,
        APPROVED_BY,
        column("issued_at", "Issued", Kind::Time, "When."),
    ]
}

/// Of the population.
pub fn population_columns() -> Vec<Column> {
    vec![
        column("what", "What", Kind::Text, "`hosts` or `admins`."),
        column(
            "inventory",
            "Inventory",
            Kind::Count,
            "How many the inventory names.",
        ),
        column(
            "ledger",
            "Ledger",
            Kind::Count,
            "How many the ledger knows: hosts that were ever met or named in a revocation and are not retired, admins who ever had a token.",
        ),
        column("both", "Both", Kind::Count, "How many both know."),
        column(
            "only_inventory",
            "Only inventory",
            Kind::Count,
            "How many only the inventory names.",
        ),
        column(
            "only_ledger",
            "Only ledger",
            Kind::Count,
            "How many only the ledger knows.",
        ),
    ]
}

/// Of the inventory's sources.
pub fn source_columns() -> Vec<Column> {
    vec![
        column("source", "Source", Kind::Text, "The file, program or list."),
        column(
            "kind",
            "Kind",
            Kind::Text,
            "`yaml`, `ini`, `script`, `list` or `csv`.",
        ),
        column(
            "hosts",
            "Hosts",
            Kind::Count,
            "Hosts that it was the first to name.",
        ),
        column("admins", "Admins", Kind::Count, "Admins that it declares."),
    ]
}

/// Of differences.
pub fn difference_columns() -> Vec<Column> {
    vec![
        column(
            "what",
            "What",
            Kind::Text,
            "`host`, `admin`, or `unmanaged_host`: one that no realm covers.",
        ),
        column("name", "Name", Kind::Text, "Which."),
        column("only_in", "Only in", Kind::Text, "`inventory` or `ledger`."),
    ]
}
