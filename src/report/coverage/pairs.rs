//! Every account of the population and how it stands, one at a time: there may be a million.

use std::io;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::report::model::{Cell, Rows, Tone};
use crate::report::picture::{Host, Place, Token, TokenId};
use crate::report::view::{Known, View};
use crate::token::state::{TokenHostState, TokenState};

macro_rules! standings {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $title:literal, $tone:ident;)+) => {
        /// How an account stands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Standing { $($(#[$doc])* $name),+ }

        impl Standing {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }

            /// For people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// Whether that is good.
            pub const fn tone(self) -> Tone {
                match self { $(Self::$name => Tone::$tone),+ }
            }
        }
    };
}

standings! {
    /// The host demands the code.
    Enforced, "enforced", "Enforced", Good;
    /// The host could not be read: what it has now is not known.
    Unknown, "unknown", "Not known", Unknown;
    /// The secret is there and the host does not demand it.
    Pending, "pending", "Pending: there and not demanded", Warn;
    /// Something is missing.
    Gap, "gap", "Gaps: something is missing", Bad;
    /// Nothing of the token is there.
    Absent, "absent", "Absent: issued and not there", Bad;
    /// No token was issued.
    NotIssued, "not_issued", "No token issued", Bad;
    /// Declared exempt, by somebody and until a date.
    Exempt, "exempt", "Exempt", Warn;
    /// Its exemption is over.
    ExemptionOver, "exemption_over", "Exempt beyond its end", Bad;
    /// The host has it exempt and nobody has declared that.
    ExemptUndeclared, "exempt_undeclared", "Exempt on the host, and not declared", Bad;
    /// It is to be gone and is not proven to be.
    RevocationOpen, "revocation_open", "Revocation open", Bad;
    /// Read back: gone, and the login is closed.
    Revoked, "revoked", "Revoked", Plain;
    /// There is no such account on the host.
    NoAccount, "no_account", "No account on the host", Plain;
}

impl Standing {
    /// Whether a code is demanded, or none need be.
    const fn is_open(self) -> bool {
        !matches!(
            self,
            Self::Enforced | Self::Exempt | Self::Revoked | Self::NoAccount
        )
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|s| *s == self).unwrap_or(0)
    }
}

/// How many accounts stand how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts([u64; 12]);

impl Counts {
    /// Of one kind.
    pub fn of(&self, standing: Standing) -> u64 {
        self.0.get(standing.index()).copied().unwrap_or(0)
    }

    /// Of all kinds.
    pub fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What a code is to be demanded of.
    pub fn required(&self) -> u64 {
        self.all() - self.of(Standing::NoAccount) - self.of(Standing::Revoked)
    }

    /// What `--strict` counts.
    pub fn open(&self) -> u64 {
        let open = Standing::ALL.iter().filter(|s| s.is_open());
        open.map(|s| self.of(*s)).sum()
    }

    fn add(&mut self, standing: Standing) {
        if let Some(number) = self.0.get_mut(standing.index()) {
            *number += 1;
        }
    }
}

/// An account of the population.
struct Pair<'a> {
    host: &'a Arc<str>,
    admin: &'a Arc<str>,
    realm: &'a Arc<str>,
    /// As the inventory says.
    login: Option<&'a Arc<str>>,
    token: Option<&'a Token>,
    known: Option<&'a Host>,
    place: Option<&'a Place>,
    in_inventory: bool,
}

impl Pair<'_> {
    fn standing(&self, view: &View) -> Standing {
        let Some(_) = self.known.filter(|h| h.is_known()) else {
            return Standing::Unknown;
        };
        if let Some(token) = self.token
            && matches!(token.state, TokenState::Revoking | TokenState::Revoked)
        {
            return match self.place.map(|p| p.state) {
                Some(TokenHostState::Revoked) => Standing::Revoked,
                Some(TokenHostState::NoAccount) => Standing::NoAccount,
                None if token.state == TokenState::Revoked => Standing::Absent,
                _ => Standing::RevocationOpen,
            };
        }
        let seen = match (self.token, self.place) {
            (None, _) => Standing::NotIssued,
            // It was read since, and nobody looked for this one.
            (Some(_), None) => Standing::Absent,
            (Some(_), Some(place)) => match place.state {
                TokenHostState::Enforced => return Standing::Enforced,
                TokenHostState::NoAccount => return Standing::NoAccount,
                TokenHostState::Staged => Standing::Pending,
                TokenHostState::Exempt => Standing::ExemptUndeclared,
                TokenHostState::Absent | TokenHostState::Revoked => Standing::Absent,
                TokenHostState::Gap => Standing::Gap,
            },
        };
        match self.exemption(view) {
            Some(until) if until > view.now() => Standing::Exempt,
            Some(_) => Standing::ExemptionOver,
            None => seen,
        }
    }

    /// The end of the longest exemption that names the account on this host.
    fn exemption(&self, view: &View) -> Option<Timestamp> {
        let login = self.login?;
        view.population
            .exemptions
            .iter()
            .filter(|e| e.login == *login && e.hosts.contains(self.host))
            .map(|e| e.expires)
            .max()
    }

    /// When a code of the token was accepted here last; unknown where the host's log was never read.
    fn last_code(&self, view: &View) -> Cell {
        let Some(by_token) = view.accepted.get(self.host) else {
            return Cell::Unknown;
        };
        let last = self.token.and_then(|t| by_token.get(&t.serial));
        Cell::time(last.copied())
    }

    fn cells(&self, view: &View, standing: Standing) -> Vec<Cell> {
        let number = |n: Option<u32>| {
            n.filter(|n| *n > 0)
                .map_or(Cell::Empty, |n| Cell::Count(u64::from(n)))
        };
        let is_unknown = standing == Standing::Unknown;
        let now = |cell: Cell| if is_unknown { Cell::Unknown } else { cell };
        let login = match (self.login, self.token) {
            (Some(login), _) => Cell::Text(Arc::clone(login)),
            (None, Some(token)) => view.login_of(token),
            (None, None) => Cell::Empty,
        };
        let reason = self.place.map(|p| view.picture.reason(p));
        let why = reason
            .filter(|r| !r.is_empty() && !is_unknown)
            .or_else(|| self.known?.detail.clone());
        vec![
            Cell::Text(Arc::clone(self.host)),
            Cell::Text(Arc::clone(self.admin)),
            login,
            Cell::Text(Arc::clone(self.realm)),
            Cell::Status(standing.as_str(), standing.tone()),
            self.place
                .map_or(Cell::Empty, |p| Cell::text(p.state.as_str())),
            why.map_or(Cell::Empty, Cell::Text),
            now(number(self.place.map(|p| p.current))),
            now(number(self.place.map(|p| p.next))),
            Cell::time(self.place.and_then(Place::changed_at)),
            Cell::time(
                self.place
                    .filter(|_| self.known.is_some_and(|h| h.last_seen_at.is_some()))
                    .and_then(Place::observed_at)
                    .or_else(|| self.known?.last_seen_at),
            ),
            self.last_code(view),
            self.known
                .map_or(Cell::Unknown, |h| Cell::Flag(h.reachable)),
            Cell::text(match (self.in_inventory, self.place) {
                (true, Some(_)) => "both",
                (true, None) => "inventory",
                (false, _) => "ledger",
            }),
            self.token
                .map_or(Cell::Empty, |t| Cell::Text(Arc::clone(&t.serial))),
            match standing {
                Standing::Enforced if self.is_asked_in_sudo(view) => Cell::text("sshd, sudo"),
                Standing::Enforced => Cell::text("sshd"),
                Standing::Unknown => Cell::Unknown,
                _ => Cell::Empty,
            },
        ]
    }

    /// Whether the policy has sudo ask for the code, and no service of sudo's was seen there that does not.
    fn is_asked_in_sudo(&self, view: &View) -> bool {
        let is_wanted = view.population.realm(self.realm).is_some_and(|r| r.in_sudo);
        let weaknesses = self.known.and_then(|h| h.weaknesses.as_deref());
        is_wanted
            && weaknesses.is_some_and(|all| {
                let unasked = all.iter().filter(|w| w.kind == "other_services");
                let mut words = unasked.flat_map(|w| w.detail.split([' ', ',']));
                !words.any(|w| matches!(w, "sudo" | "sudo-i"))
            })
    }
}

/// The accounts of the population.
#[derive(Clone)]
pub struct Pairs {
    view: Arc<View>,
    /// By realm and admin, as the inventory numbers them.
    tokens: Vec<Vec<Option<TokenId>>>,
    open_only: bool,
    counts: Counts,
}

impl Pairs {
    /// All of them.
    pub fn of(view: &Arc<View>) -> Self {
        let mut pairs = Self {
            view: Arc::clone(view),
            tokens: view.numbered_tokens(),
            open_only: false,
            counts: Counts::default(),
        };
        let mut counts = Counts::default();
        pairs
            .walk(&mut |pair| {
                counts.add(pair.standing(view));
                Ok(())
            })
            .unwrap_or_default();
        pairs.counts = counts;
        pairs
    }

    /// Only those on which no code is known to be demanded.
    #[must_use]
    pub fn only_open(mut self) -> Self {
        self.open_only = true;
        self
    }

    /// How many stand how.
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    fn walk(&self, to: &mut dyn FnMut(&Pair<'_>) -> io::Result<()>) -> io::Result<()> {
        let view = &*self.view;
        let mut known: Vec<&Host> = view.picture.hosts.iter().collect();
        known.sort_by(|a, b| a.name.cmp(&b.name));
        let (mut seen, mut declared) = (
            known.into_iter().peekable(),
            view.population.hosts.iter().peekable(),
        );
        // Both are sorted by name: a host of either, or of both.
        loop {
            let order = match (declared.peek(), seen.peek()) {
                (None, None) => return Ok(()),
                (Some(d), Some(s)) => d.name.cmp(&s.name),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
            };
            let host = if order.is_le() { declared.next() } else { None };
            let known = if order.is_ge() { seen.next() } else { None };
            self.host(host, known, to)?;
        }
    }

    fn host(
        &self,
        declared: Option<&Known>,
        known: Option<&Host>,
        to: &mut dyn FnMut(&Pair<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let view = &*self.view;
        let Some(name) = declared.map(|d| &d.name).or_else(|| known.map(|k| &k.name)) else {
            return Ok(());
        };
        if !view.wants_host(name) {
            return Ok(());
        }
        let mut pairs = Vec::new();
        let mut taken = Vec::new();
        if let Some((host, realm)) = declared.and_then(|d| Some((d, d.realm?)))
            && let Some(realm_name) = view.population.realms.get(realm).map(|r| &r.name)
        {
            for number in &host.admins {
                let Some(admin) = view.population.admins.get(*number) else {
                    continue;
                };
                let token = self
                    .tokens
                    .get(realm)
                    .and_then(|t| t.get(*number).copied()?);
                taken.extend(token);
                pairs.push(Pair {
                    host: name,
                    admin: &admin.name,
                    realm: realm_name,
                    login: Some(&admin.login),
                    token: token.and_then(|t| view.picture.token(t)),
                    known,
                    place: token.and_then(|t| known?.place(t)),
                    in_inventory: true,
                });
            }
        }
        taken.sort_unstable();
        // Nobody expects anything of a host that does not come back.
        let kept = known.filter(|h| h.retired_at.is_none());
        for (id, place) in kept.map_or(&[][..], |h| &h.places) {
            if let Some(token) = view.picture.token(*id)
                && taken.binary_search(id).is_err()
            {
                pairs.push(Pair {
                    host: name,
                    admin: view.admin_of(token),
                    realm: &token.realm,
                    login: None,
                    token: Some(token),
                    known,
                    place: Some(place),
                    in_inventory: false,
                });
            }
        }
        pairs.retain(|p| view.wants_admin(p.admin));
        pairs.sort_by(|a, b| a.admin.cmp(b.admin));
        pairs.iter().try_for_each(to)
    }
}

impl Rows for Pairs {
    fn count(&self) -> usize {
        let number = if self.open_only {
            self.counts.open()
        } else {
            self.counts.all()
        };
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn each(&self, to: &mut dyn FnMut(&[Cell]) -> io::Result<()>) -> io::Result<()> {
        self.walk(&mut |pair| {
            let standing = pair.standing(&self.view);
            if self.open_only && !standing.is_open() {
                return Ok(());
            }
            to(&pair.cells(&self.view, standing))
        })
    }
}
