//! The marked block in a PAM service file.
//!
//! Facts: pam.d(5); in Linux-PAM `@include` and `include` run in the same stack, so a block before the first auth line
//! decides before anything else does; a jump (`default=2`) counts module lines.

use crate::inventory::model::Module;

/// The PAM service file of sshd.
pub const SERVICE_FILE: &str = "/etc/pam.d/sshd";
/// First line of the block.
pub const BEGIN: &str = "# BEGIN fleetotp";
/// Last line of the block.
pub const END: &str = "# END fleetotp";

/// The block for sshd, ends with a newline.
pub const SSHD_BLOCK: &str = include_str!("../../templates/pam.d/sshd");

/// The block where everyone is asked but the exempt.
pub const EVERYONE_BLOCK: &str = include_str!("../../templates/pam.d/sshd-everyone");

const OATH_BLOCK: &str = include_str!("../../templates/pam.d/sshd-oath");
/// The widest window that a policy may have.
const MAX_WINDOW: u8 = 8;

/// Returns the block by which a module asks.
pub fn block(module: Module, window: u8) -> String {
    match module {
        Module::GoogleAuthenticator => SSHD_BLOCK.to_owned(),
        Module::Oath => OATH_BLOCK.replace("@WINDOW@", &window.to_string()),
    }
}

/// Tells by which module the block asks that stands in a text, if it stands there as it must.
pub fn module_in(text: &str) -> Option<Module> {
    let stands = |block: &str| with_block(text, block).is_ok_and(|t| t == text);
    if stands(SSHD_BLOCK) || stands(EVERYONE_BLOCK) {
        return Some(Module::GoogleAuthenticator);
    }
    (0..=MAX_WINDOW)
        .any(|window| stands(&block(Module::Oath, window)))
        .then_some(Module::Oath)
}

/// Why a service file cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PamError {
    /// There is no auth line to stand before.
    #[error("it has no auth line")]
    NoAuthLine,
    /// A begin marker has no end marker, or the other way round.
    #[error("fleetotp's markers in it are damaged")]
    DamagedMarkers,
}

/// Returns the text with the block before the first auth line, everything else untouched.
///
/// # Errors
/// When the place for the block cannot be told.
pub fn with_block(text: &str, block: &str) -> Result<String, PamError> {
    let bare = without_block(text)?;
    let mut out = String::with_capacity(bare.len() + block.len());
    let mut placed = false;
    for line in bare.split_inclusive('\n') {
        if !placed && is_auth(line) {
            out.push_str(block);
            placed = true;
        }
        out.push_str(line);
    }
    if placed {
        Ok(out)
    } else {
        Err(PamError::NoAuthLine)
    }
}

/// Returns the text as it was without the block.
///
/// # Errors
/// When the markers do not pair.
pub fn without_block(text: &str) -> Result<String, PamError> {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        match (line.trim_end(), inside) {
            (BEGIN, false) => inside = true,
            (END, true) => inside = false,
            (BEGIN, true) | (END, false) => return Err(PamError::DamagedMarkers),
            (_, true) => {}
            (_, false) => out.push_str(line),
        }
    }
    if inside {
        Err(PamError::DamagedMarkers)
    } else {
        Ok(out)
    }
}

/// An auth line, or an include that can hold auth lines.
fn is_auth(line: &str) -> bool {
    let mut words = line.split_whitespace();
    // Linux-PAM does not mind the case of a type (pam_handlers.c).
    match words.next().map(str::to_ascii_lowercase).as_deref() {
        Some("auth" | "-auth") => true,
        Some("@include") => words.next().is_some_and(|file| {
            !file.contains("account") && !file.contains("session") && !file.contains("password")
        }),
        _ => false,
    }
}

/// A line of a service file in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'t> {
    /// `auth`, `account`, ...
    pub kind: &'t str,
    /// A word, or results and actions in brackets.
    pub control: &'t str,
    /// The module's file.
    pub module: &'t str,
    /// Its options.
    pub args: Vec<&'t str>,
}

/// Reads a line that names a module (pam.conf(5)): what follows a `#` is a comment.
pub fn entry(line: &str) -> Option<Entry<'_>> {
    let line = line.split('#').next()?.trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (control, rest) = if rest.starts_with('[') {
        rest.split_at_checked(rest.find(']')? + 1)?
    } else {
        rest.split_once(char::is_whitespace)?
    };
    let mut words = rest.split_whitespace();
    Some(Entry {
        kind,
        control,
        module: words.next()?,
        args: words.collect(),
    })
}

/// Modules that are a second factor; what else asks questions (`pam_sss`, `pam_exec`) may or may not be one.
const SECOND_FACTORS: [&str; 9] = [
    "pam_google_auth",
    "pam_oath",
    "pam_duo",
    "pam_yubico",
    "pam_u2f",
    "pam_radius",
    "pam_ussh",
    "pam_privacyidea",
    "pam_otp",
];

/// Whether a line names a module that is a second factor.
pub fn is_second_factor(line: &str) -> bool {
    SECOND_FACTORS.iter().any(|m| line.contains(m))
}

/// Returns the lines outside the block that are no comments, without the blanks at their ends.
pub fn outside_block(text: &str) -> impl Iterator<Item = &str> {
    numbered_outside_block(text).map(|(_, line)| line)
}

/// The same with their numbers, from 1.
pub fn numbered_outside_block(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let mut inside = false;
    let lines = text.lines().map(str::trim_end);
    (1..).zip(lines).filter(move |(_, line)| {
        match *line {
            BEGIN => inside = true,
            END => inside = false,
            _ => {}
        }
        !inside && !line.trim_start().starts_with('#')
    })
}

/// Returns lines outside the block that name another second-factor module.
pub fn other_mfa(text: &str) -> Vec<&str> {
    outside_block(text)
        .filter(|line| is_second_factor(line))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "# PAM configuration for sshd\n\n# Standard Un*x authentication.\n@include common-auth\naccount    required     pam_nologin.so\n@include common-account\n";

    #[test]
    fn the_block_stands_before_the_first_auth_line_and_can_be_taken_out() {
        let with = with_block(DEBIAN, SSHD_BLOCK).unwrap();
        assert!(with.contains("# END fleetotp\n@include common-auth\n"));
        assert_eq!(without_block(&with).unwrap(), DEBIAN);
        assert_eq!(
            with_block(&with, SSHD_BLOCK).unwrap(),
            with,
            "a second time changes nothing"
        );
    }

    #[test]
    fn red_hats_layout_has_its_place_too() {
        let text = "#%PAM-1.0\nauth       substack     password-auth\nauth       include      postlogin\naccount    required     pam_sepermit.so\n";
        assert!(
            with_block(text, SSHD_BLOCK)
                .unwrap()
                .starts_with("#%PAM-1.0\n# BEGIN fleetotp\n")
        );
    }

    #[test]
    fn an_include_of_another_type_is_no_place() {
        assert_eq!(
            with_block(
                "@include common-account\n@include common-session\n",
                SSHD_BLOCK
            ),
            Err(PamError::NoAuthLine)
        );
    }

    #[test]
    fn damaged_markers_are_not_guessed_at() {
        assert_eq!(
            with_block("# BEGIN fleetotp\nauth required x\n", SSHD_BLOCK),
            Err(PamError::DamagedMarkers)
        );
    }

    #[test]
    fn a_control_in_brackets_is_one_part() {
        let line = "auth\t[user_unknown=ignore success=ok]  /lib/pam_oath.so usersfile=/x # y";
        let read = entry(line).unwrap();
        assert_eq!(read.control, "[user_unknown=ignore success=ok]");
        assert_eq!(read.module, "/lib/pam_oath.so");
        assert_eq!(read.args, ["usersfile=/x"]);
        for none in [
            "",
            "# auth required x.so",
            "@include common-auth",
            "auth [a=b",
            "auth",
        ] {
            assert_eq!(entry(none), None, "{none}");
        }
    }

    #[test]
    fn other_second_factors_are_seen_but_not_ours() {
        let text = format!(
            "{SSHD_BLOCK}auth required pam_google_authenticator.so\n# auth required pam_oath.so\n"
        );
        assert_eq!(
            other_mfa(&text),
            ["auth required pam_google_authenticator.so"]
        );
    }

    /// Everything a block holds fails closed (facts: pam_succeed_if(8), `notingroup` with a missing group is true).
    #[test]
    fn the_blocks_fail_closed() {
        for module in [Module::GoogleAuthenticator, Module::Oath] {
            let block = block(module, 1);
            let lines: Vec<&str> = block.lines().filter(|l| l.starts_with("auth")).collect();
            assert_eq!(lines.len(), 3);
            assert!(
                lines[0].contains("[success=ignore default=2]") && lines[0].contains(" ingroup ")
            );
            assert!(
                lines[2].contains("[success=done default=die]") && !lines[2].contains("nullok")
            );
            for open in ["notingroup", "sufficient", "pam_permit", "alwaysok", "@"] {
                assert!(!block.contains(open), "{open}");
            }
            assert_eq!(
                module_in(&with_block(DEBIAN, &block).unwrap()),
                Some(module)
            );
            assert_eq!(module_in(&block), None, "nothing is left to stand before");
        }
        assert_eq!(module_in(DEBIAN), None);
        let other = block(Module::Oath, 1).replace("window=1", "window=1 alwaysok");
        assert_eq!(module_in(&with_block(DEBIAN, &other).unwrap()), None);
    }
}
