//! From an inventory's connection variables and the command line's flags to ssh's arguments.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::askpass::Whose;
use crate::fleet::fanout::Kind;
use crate::fleet::way::Configured;
use crate::fleet::{FleetError, arguments, way};
use crate::host::program::Elevation;
use crate::inventory::model::{Connection, Host};
use crate::names::{HostName, Login};
use crate::project::HostKey;
use crate::token::secret::Secret;

/// What the command line and the project say about connections; inventory variables win, as in Ansible.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// `-u`.
    pub user: Option<String>,
    /// `-b`.
    pub sudo: bool,
    /// `--private-key`.
    pub private_key: Option<PathBuf>,
    /// `--host-key` or the project's setting.
    pub host_key: HostKey,
    /// How long a connection may take to be authenticated.
    pub connect_timeout: Duration,
}

/// A host as it is connected to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The name in the inventory.
    pub name: HostName,
    /// This machine: no SSH.
    pub local: bool,
    /// Where fresh connections for proofs go.
    pub address: Option<String>,
    /// The port, ssh's own where absent.
    pub port: Option<u16>,
    /// The connecting login, ssh's own where absent.
    pub user: Option<String>,
    /// How the program becomes root.
    pub elevation: Elevation,
    /// For sudo.
    pub sudo_password: Option<Secret>,
    /// How long a connection may take to be authenticated.
    pub connect_timeout: Duration,
    /// The last try to reach it failed: it is not the one to go first.
    pub doubtful: bool,
    key_file: Option<PathBuf>,
    extra: Vec<String>,
    host_key: HostKey,
    /// The way that ssh's own configuration names.
    way: Option<String>,
    /// Nobody has chosen how keys are exchanged.
    usual_kex: bool,
}

/// A key exchange that every sshd of the last ten years knows and that costs a fraction of what OpenSSH prefers since 9.0
/// (sntrup761, against computers yet to come). It goes before ssh's own list and takes nothing out of it (ssh_config(5)).
const QUICK_KEX: &str = "-oKexAlgorithms=^curve25519-sha256";

impl Target {
    /// Resolves how a host is connected to.
    ///
    /// # Errors
    /// When the inventory asks for a way of becoming root that is not sudo to root.
    pub fn new(host: &Host, defaults: &Defaults) -> Result<Self, FleetError> {
        Self::of(&host.name, &host.connection, defaults)
    }

    fn of(name: &HostName, c: &Connection, defaults: &Defaults) -> Result<Self, FleetError> {
        if let Some(user) = c.become_user.as_deref().filter(|u| *u != "root") {
            return Err(FleetError::Settings(format!(
                "ansible_become_user is {user}; fleetotp needs root"
            )));
        }
        let user = c.user.clone().or_else(|| defaults.user.clone());
        let elevation = match (c.use_sudo.unwrap_or(defaults.sudo), &c.become_password) {
            (false, _) => Elevation::None,
            (true, None) => Elevation::Sudo,
            (true, Some(_)) => Elevation::SudoWithPassword,
        };
        // Only the connecting side knows that `no` was meant; strictness is not given up for an inventory variable.
        let address = if c.local {
            c.confirm_host.clone()
        } else {
            Some(c.address.clone().unwrap_or_else(|| name.to_string()))
        };
        if address
            .as_deref()
            .is_some_and(|a| a.starts_with('-') || a.contains(char::is_whitespace))
        {
            return Err(FleetError::Settings(
                "ansible_host is no address".to_owned(),
            ));
        }
        arguments::check(&c.ssh_args, defaults.host_key).map_err(FleetError::Settings)?;
        Ok(Self {
            name: name.clone(),
            local: c.local,
            address,
            port: c.port,
            user,
            elevation,
            sudo_password: c.become_password.clone(),
            connect_timeout: c.connect_timeout.unwrap_or(defaults.connect_timeout),
            doubtful: false,
            key_file: c
                .private_key_file
                .clone()
                .or_else(|| defaults.private_key.clone()),
            extra: c.ssh_args.clone(),
            host_key: defaults.host_key,
            way: None,
            usual_kex: false,
        })
    }

    /// Returns how the host is connected to, without secrets, so that it can be reached when no inventory names it any
    /// more. Arguments for ssh that look like a password are left out.
    pub fn record(&self) -> serde_json::Value {
        let may_hold_secret = |word: &String| {
            let word = word.to_ascii_lowercase();
            ["pass", "secret", "token"].iter().any(|w| word.contains(w))
        };
        let extra: &[String] = if self.extra.iter().any(may_hold_secret) {
            &[]
        } else {
            &self.extra
        };
        serde_json::json!({
            "address": self.address,
            "port": self.port,
            "user": self.user,
            "local": self.local,
            "sudo": self.elevation != Elevation::None,
            "key_file": self.key_file,
            "ssh_args": extra,
        })
    }

    /// Makes a target of what [`Self::record`] gave.
    ///
    /// # Errors
    /// When it does not say enough, or says what may not be used.
    pub fn from_record(
        name: &HostName,
        record: &serde_json::Value,
        defaults: &Defaults,
    ) -> Result<Self, FleetError> {
        let text = |key: &str| record.get(key).and_then(serde_json::Value::as_str);
        let flag = |key: &str| record.get(key).and_then(serde_json::Value::as_bool);
        let words = record
            .get("ssh_args")
            .and_then(serde_json::Value::as_array)
            .map(|list| {
                list.iter()
                    .filter_map(|w| w.as_str().map(str::to_owned))
                    .collect()
            });
        let connection = Connection {
            local: flag("local").unwrap_or(false),
            address: text("address").map(str::to_owned),
            confirm_host: text("address").map(str::to_owned),
            port: record
                .get("port")
                .and_then(serde_json::Value::as_u64)
                .and_then(|p| u16::try_from(p).ok()),
            user: text("user").map(str::to_owned),
            private_key_file: text("key_file").map(PathBuf::from),
            ssh_args: words.unwrap_or_default(),
            use_sudo: flag("sudo"),
            ..Connection::default()
        };
        Self::of(name, &connection, defaults)
    }

    /// Returns whether a fresh connection can be made to confirm a change.
    pub const fn can_confirm(&self) -> bool {
        self.address.is_some()
    }

    /// Returns what decides whether this login is accepted, apart from the host.
    pub(crate) fn kind(&self) -> Kind {
        let told = self.told();
        let mut words = told.identity;
        words.push(format!("way={}", told.way.unwrap_or_default()));
        words.extend(self.user.iter().map(|u| format!("user={u}")));
        let key = self.key_file.iter();
        words.extend(key.map(|k| format!("key={}", k.display())));
        Kind::Login(words)
    }

    /// Returns where connections to this host meet those to others: its jump host, else its own address.
    pub(crate) fn door(&self) -> String {
        self.told()
            .way
            .or_else(|| self.address.clone())
            .unwrap_or_default()
    }

    /// Returns whose questions for a code are this host's, asked of `login`. A jump host on the way may ask for one as well,
    /// and is told apart by the address; it gets none.
    pub(crate) fn whose(&self, login: &str) -> Whose {
        let way = self.told().way;
        Whose {
            login: login.to_owned(),
            host: way.and_then(|_| self.address.clone()),
        }
    }

    fn told(&self) -> arguments::Told {
        let mut told = arguments::told(&self.extra, self.address.as_deref());
        told.way = told.way.or_else(|| self.way.clone());
        told
    }

    /// Finds out what only ssh's own configuration can say; `configured` tells what that may name.
    ///
    /// # Errors
    /// When ssh cannot be started.
    pub(crate) async fn find_way(&mut self, configured: Configured) -> Result<(), FleetError> {
        let told = self.told();
        self.usual_kex = !(told.configured || told.key_exchange || configured.key_exchange);
        if !self.local && told.way.is_none() && (told.configured || configured.way) {
            self.way = way::configured(self).await?;
        }
        Ok(())
    }

    /// Returns the connecting login, where it is known before connecting.
    pub fn connecting_login(&self) -> Option<Login> {
        self.user.as_deref().and_then(|u| Login::new(u).ok())
    }

    /// Returns ssh's options for the tool's own logins, without destination; with `asks`, hosts may ask for a code, once.
    pub(crate) fn options(&self, asks: bool) -> Vec<OsString> {
        let mut options = self.common_options();
        let more: &[&str] = if asks {
            &[
                "-oBatchMode=no",
                "-oNumberOfPasswordPrompts=1",
                "-oPreferredAuthentications=publickey,keyboard-interactive",
                "-oPasswordAuthentication=no",
            ]
        } else {
            &["-oBatchMode=yes"]
        };
        options.extend(more.iter().map(Into::into));
        if let Some(user) = &self.user {
            options.extend(["-l".into(), user.into()]);
        }
        if let Some(key) = &self.key_file {
            let mut identity = OsString::from("-oIdentityFile=");
            identity.push(key);
            options.push(identity);
        }
        options.extend(self.extra.iter().map(Into::into));
        options
    }

    /// Returns ssh's options for the login that confirms a change. What it sends is worth nothing once it was sent, but for a
    /// password.
    pub(crate) fn options_to_confirm(&self, asks: bool) -> Vec<OsString> {
        let mut options = self.options(asks);
        if self.usual_kex && self.sudo_password.is_none() {
            options.push(QUICK_KEX.into());
        }
        options
    }

    /// Returns ssh's options for the temporary member's logins: nothing of the tool's own identity, and nothing that is worth
    /// anything once it was sent.
    pub(crate) fn options_for_proof(&self) -> Vec<OsString> {
        let mut options = self.common_options();
        if self.usual_kex {
            options.push(QUICK_KEX.into());
        }
        options.extend(self.extra.iter().map(Into::into));
        options
    }

    /// The first value given wins in ssh, so what must not be weakened comes first.
    fn common_options(&self) -> Vec<OsString> {
        let strict = match self.host_key {
            HostKey::Strict => "yes",
            HostKey::AcceptNew => "accept-new",
        };
        let mut options: Vec<OsString> = vec![
            format!("-oStrictHostKeyChecking={strict}").into(),
            format!("-oConnectTimeout={}", self.connect_timeout.as_secs().max(1)).into(),
            "-oServerAliveInterval=15".into(),
            "-oServerAliveCountMax=3".into(),
            "-oForwardAgent=no".into(),
            "-oForwardX11=no".into(),
            "-oClearAllForwardings=yes".into(),
            "-oPermitLocalCommand=no".into(),
            "-oLogLevel=ERROR".into(),
            "-T".into(),
        ];
        if let Some(port) = self.port {
            options.extend(["-p".into(), port.to_string().into()]);
        }
        options
    }

    /// Returns the destination, protected from being taken for an option.
    pub(crate) fn destination(&self) -> Result<[OsString; 2], FleetError> {
        let address = self
            .address
            .as_ref()
            .ok_or_else(|| FleetError::Settings("a local host needs confirm_host".to_owned()))?;
        Ok(["--".into(), address.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(connection: &Connection) -> Target {
        let defaults = Defaults {
            user: None,
            sudo: false,
            private_key: None,
            host_key: HostKey::Strict,
            connect_timeout: Duration::from_secs(10),
        };
        Target::of(&HostName::new("web1").unwrap(), connection, &defaults).unwrap()
    }

    /// Whether keys are exchanged cheaply: by the first connection, the one that confirms, those of a proof.
    async fn cheap(connection: Connection, key_exchange: bool) -> [bool; 3] {
        let mut target = target(&connection);
        let configured = Configured {
            way: false,
            key_exchange,
        };
        target.find_way(configured).await.unwrap();
        let has = |options: Vec<OsString>| options.iter().any(|o| o == QUICK_KEX);
        [
            has(target.options(false)),
            has(target.options_to_confirm(false)),
            has(target.options_for_proof()),
        ]
    }

    #[tokio::test]
    async fn what_somebody_chose_and_what_carries_a_password_keep_their_key_exchange() {
        let of = |connection: Connection| cheap(connection, false);
        assert_eq!(of(Connection::default()).await, [false, true, true]);
        assert_eq!(cheap(Connection::default(), true).await, [false; 3]);
        let told = Connection {
            ssh_args: vec!["-oKexAlgorithms=ecdh-sha2-nistp256".to_owned()],
            ..Connection::default()
        };
        assert_eq!(of(told).await, [false; 3]);
        let with_password = Connection {
            use_sudo: Some(true),
            become_password: Some(Secret::from("of sudo")),
            ..Connection::default()
        };
        assert_eq!(of(with_password).await, [false, false, true]);
    }
}
