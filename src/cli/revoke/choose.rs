//! Who is revoked: by name, by list, by absence from a list; and the guards against mistakes that would lock a company
//! out.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{List, MatchOn, Row};
use super::people::{People, Person};
use crate::error::Error;
use crate::names::{AdminName, Login, printable};
use crate::text::suggest;

/// Whom a command revokes.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// With the reason and ticket of their line, where the list has some.
    pub(crate) admins: BTreeMap<AdminName, (Option<String>, Option<String>)>,
    /// Names that neither inventory nor ledger know.
    pub(crate) unknown: Vec<String>,
    /// Who was meant and is not revoked, and why.
    pub(crate) kept: BTreeMap<AdminName, String>,
}

impl Chosen {
    /// Adds people by their names.
    ///
    /// # Errors
    /// A name that is not known, unless that is allowed.
    pub(crate) fn add_names(
        &mut self,
        people: &People,
        names: &[String],
        allow_unknown: bool,
    ) -> Result<(), Error> {
        for name in names {
            match people.by_name.get_key_value(name.as_str()) {
                Some((name, _)) => {
                    self.admins.insert(name.clone(), (None, None));
                }
                None if allow_unknown => self.unknown.push(printable(name, 60)),
                None => {
                    let known = people.by_name.keys().map(AdminName::as_str);
                    return Err(Error::failed(format!(
                        "neither the inventory nor the ledger knows an admin `{}`",
                        printable(name, 60)
                    ))
                    .hinted_if(suggest::hint(name, known))
                    .hinted("--allow-unknown goes on without"));
                }
            }
        }
        Ok(())
    }

    /// Adds those whom a list of leavers names; others stand among the unknown.
    pub(crate) fn add_leavers(&mut self, people: &People, list: List) {
        for row in list.rows {
            let found = find(people, list.column, &row);
            if found.is_empty() {
                self.unknown.push(printable(&row.value, 60));
            }
            for name in found {
                self.admins
                    .insert(name, (row.reason.clone(), row.ticket.clone()));
            }
        }
    }

    /// Adds those whom a list of current staff does not name.
    pub(crate) fn add_orphans(&mut self, people: &People, staff: &List) {
        let values: BTreeSet<String> = staff
            .rows
            .iter()
            .map(|row| match staff.column {
                MatchOn::Email => row.value.to_lowercase(),
                MatchOn::Admin | MatchOn::Login => row.value.clone(),
            })
            .collect();
        let stays = |name: &AdminName, person: &Person| match staff.column {
            MatchOn::Admin => values.contains(name.as_str()),
            MatchOn::Email => {
                let email = person.email.as_ref().map(|e| e.to_lowercase());
                email.is_some_and(|e| values.contains(&e))
            }
            MatchOn::Login => person.logins.iter().any(|l| values.contains(l.as_str())),
        };
        for (name, person) in &people.by_name {
            if person.is_gone() || stays(name, person) {
                continue;
            }
            if staff.column == MatchOn::Email && person.email.is_none() {
                let why = "no address is known by which the list could name them";
                self.kept.insert(name.clone(), why.to_owned());
            } else {
                self.admins.insert(name.clone(), (None, None));
            }
        }
    }

    /// Adds who has a token and left the inventory.
    pub(crate) fn add_undeclared(&mut self, people: &People) {
        for (name, person) in &people.by_name {
            if !person.declared && !person.is_gone() {
                self.admins.insert(name.clone(), (None, None));
            }
        }
    }

    /// Takes out, of those whom nobody named one by one, who must not go by mistake; then refuses if too many are left.
    ///
    /// # Errors
    /// More than `max` would be revoked; the error names them.
    pub(crate) fn guard(
        &mut self,
        people: &People,
        protected: &[Login],
        max: MaxRevoke,
    ) -> Result<(), Error> {
        for name in self.admins.keys().cloned().collect::<Vec<_>>() {
            let Some(person) = people.by_name.get(&name) else {
                continue;
            };
            if let Some(why) = untouchable(person, people, protected) {
                self.keep(&name, why);
            }
        }
        for (host, active) in &people.active_on {
            if active.iter().all(|name| self.admins.contains_key(name)) {
                for name in active {
                    self.keep(
                        name,
                        format!("no other admin of {host} has a confirmed token"),
                    );
                }
            }
        }
        let going: Vec<&str> = self
            .admins
            .keys()
            .filter(|name| people.by_name.get(*name).is_some_and(|p| !p.is_gone()))
            .map(AdminName::as_str)
            .collect();
        let limit = max.of(people.present());
        if going.len() > limit {
            return Err(Error::failed(format!(
                "{} of {} admins would be revoked, and at most {limit} may be at once: {}",
                going.len(),
                people.present(),
                going.join(", ")
            ))
            .hinted(
                "is the list complete? If this is meant: --max-revoke, as a number or in per cent",
            ));
        }
        Ok(())
    }

    fn keep(&mut self, name: &AdminName, why: String) {
        if self.admins.remove(name).is_some() {
            self.kept.insert(name.clone(), why);
        }
    }
}

fn untouchable(person: &Person, people: &People, protected: &[Login]) -> Option<String> {
    if let Some(login) = person
        .logins
        .iter()
        .find(|l| people.connecting.contains(*l))
    {
        return Some(format!("fleetotp itself logs in as {login}"));
    }
    person
        .logins
        .iter()
        .find(|l| l.as_str() == "root" || protected.contains(l))
        .map(|login| format!("{login} is protected"))
}

/// Everybody whom a line means: one login or address can be several admins'.
fn find(people: &People, column: MatchOn, row: &Row) -> Vec<AdminName> {
    let is_meant = |(name, person): &(&AdminName, &Person)| match column {
        MatchOn::Admin => name.as_str() == row.value,
        MatchOn::Email => person
            .email
            .as_ref()
            .is_some_and(|e| e.to_lowercase() == row.value.to_lowercase()),
        MatchOn::Login => person.logins.iter().any(|l| l.as_str() == row.value),
    };
    people
        .by_name
        .iter()
        .filter(is_meant)
        .map(|(name, _)| name.clone())
        .collect()
}

/// How many may be revoked at once without being named one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxRevoke {
    /// So many.
    Number(usize),
    /// So many in a hundred, and at least three.
    Percent(usize),
}

impl MaxRevoke {
    fn of(self, all: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (all.saturating_mul(percent) / 100).max(3),
        }
    }
}

impl std::str::FromStr for MaxRevoke {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| "write a number, or one from 0 to 100 with `%`".to_owned();
        match text.strip_suffix('%') {
            Some(percent) => percent.parse().map_err(wrong).and_then(|p| {
                if p > 100 {
                    Err("at most 100%".to_owned())
                } else {
                    Ok(Self::Percent(p))
                }
            }),
            None => text.parse().map(Self::Number).map_err(wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::HostName;

    fn people(count: usize) -> People {
        let mut people = People::default();
        for n in 0..count {
            let person = Person {
                declared: n % 2 == 0,
                email: Some(format!("A{n}@example.com")),
                logins: [Login::new(&format!("u{n}")).unwrap()].into(),
                ..Person::default()
            };
            people
                .by_name
                .insert(AdminName::new(&format!("a{n}")).unwrap(), person);
        }
        people
    }

    fn staff(column: MatchOn, values: impl IntoIterator<Item = String>) -> List {
        let rows = values.into_iter().map(|value| Row {
            value,
            reason: None,
            ticket: None,
        });
        List {
            column,
            rows: rows.collect(),
        }
    }

    fn names(chosen: &Chosen) -> Vec<&str> {
        chosen.admins.keys().map(AdminName::as_str).collect()
    }

    #[test]
    fn a_truncated_list_of_staff_revokes_nobody() {
        let people = people(40);
        let mut chosen = Chosen::default();
        chosen.add_orphans(
            &people,
            &staff(MatchOn::Login, (0..20).map(|n| format!("u{n}"))),
        );
        let error = chosen
            .guard(&people, &[], MaxRevoke::Percent(10))
            .unwrap_err();
        assert!(
            error
                .report()
                .contains("20 of 40 admins would be revoked, and at most 4"),
            "{error:?}"
        );
        assert!(error.report().contains("a20, a21"));
        chosen.guard(&people, &[], MaxRevoke::Number(20)).unwrap();
        let mut chosen = Chosen::default();
        chosen.add_orphans(
            &people,
            &staff(MatchOn::Email, (0..36).map(|n| format!("a{n}@EXAMPLE.com"))),
        );
        chosen.guard(&people, &[], MaxRevoke::Percent(10)).unwrap();
        assert_eq!(names(&chosen), ["a36", "a37", "a38", "a39"]);
    }

    #[test]
    fn small_companies_can_lose_three() {
        assert_eq!(MaxRevoke::Percent(10).of(5), 3);
        assert_eq!(MaxRevoke::Percent(10).of(100), 10);
        assert_eq!("12".parse(), Ok(MaxRevoke::Number(12)));
        assert_eq!("5%".parse(), Ok(MaxRevoke::Percent(5)));
        assert!("101%".parse::<MaxRevoke>().is_err() && "many".parse::<MaxRevoke>().is_err());
    }

    #[test]
    fn the_connecting_account_a_protected_one_and_the_last_admin_stay() {
        let mut people = people(5);
        people.connecting.insert(Login::new("u1").unwrap());
        let host = HostName::new("web1").unwrap();
        let active = ["a3"].map(|n| AdminName::new(n).unwrap());
        people.active_on.insert(host, active.into());
        let mut chosen = Chosen::default();
        chosen.add_orphans(&people, &staff(MatchOn::Admin, ["a0".to_owned()]));
        chosen
            .guard(
                &people,
                &[Login::new("u2").unwrap()],
                MaxRevoke::Percent(10),
            )
            .unwrap();
        assert_eq!(names(&chosen), ["a4"]);
        let why: Vec<&str> = chosen.kept.values().map(String::as_str).collect();
        assert_eq!(
            why,
            [
                "fleetotp itself logs in as u1",
                "u2 is protected",
                "no other admin of web1 has a confirmed token"
            ]
        );
    }

    #[test]
    fn who_cannot_be_matched_is_kept() {
        let mut people = people(2);
        people.by_name.get_mut("a1").unwrap().email = None;
        let mut chosen = Chosen::default();
        chosen.add_orphans(
            &people,
            &staff(MatchOn::Email, ["a0@example.com".to_owned()]),
        );
        assert!(names(&chosen).is_empty());
        assert_eq!(chosen.kept.len(), 1);
    }

    #[test]
    fn an_unknown_name_is_an_error_and_a_line_of_a_list_is_not() {
        let people = people(2);
        let mut chosen = Chosen::default();
        let error = chosen
            .add_names(&people, &["a00".to_owned()], false)
            .unwrap_err();
        assert!(error.report().contains("did you mean `a0`?"));
        chosen
            .add_names(&people, &["a00".to_owned()], true)
            .unwrap();
        chosen.add_leavers(
            &people,
            staff(MatchOn::Login, ["u1".to_owned(), "x".to_owned()]),
        );
        assert_eq!(names(&chosen), ["a1"]);
        assert_eq!(chosen.unknown, ["a00", "x"]);
    }

    #[test]
    fn who_left_the_inventory_is_found() {
        let people = people(4);
        let mut chosen = Chosen::default();
        chosen.add_undeclared(&people);
        assert_eq!(names(&chosen), ["a1", "a3"]);
    }
}
