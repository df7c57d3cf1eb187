//! `when`: on which hosts a task is done.
//!
//! Expressions are Jinja's, evaluated by minijinja over a host's variables and facts. What Ansible lets pass (a name that
//! is not defined is false inside `default`, a text that is not empty is true) is an error here, because a condition that
//! is quietly false leaves a host without its second factor.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use crate::names::printable;
use crate::text::yaml::{Kind, Node, Resolved};
use crate::text::{FileError, Position, SourceFile};

/// The name under which a host's facts are known.
pub const FACTS: &str = "facts";

/// More steps than any sensible condition takes; ends one that would not end.
const FUEL: u64 = 20_000;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment
});

/// The conditions of a task; all of them have to hold.
#[derive(Debug, Clone, Default)]
pub struct When(Vec<Condition>);

#[derive(Debug, Clone)]
struct Condition {
    expression: String,
    /// Names of variables that it asks for.
    names: BTreeSet<String>,
    file: SourceFile,
    position: Position,
}

impl When {
    /// Reads `when`: an expression, a boolean, or a list of them that all have to hold.
    ///
    /// # Errors
    /// What is no expression, at its position.
    pub fn read(source: &SourceFile, node: &Node) -> Result<Self, FileError> {
        let conditions = match node.as_sequence() {
            Some(list) => list.iter().map(|n| condition(source, n)).collect(),
            None => condition(source, node).map(|c| vec![c]),
        };
        Ok(Self(conditions?))
    }

    /// Returns whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether only a look at the host tells.
    pub fn needs_facts(&self) -> bool {
        self.0.iter().any(|c| c.names.contains(FACTS))
    }

    /// Returns whether all conditions hold. `variable` knows the value of a name; [`None`] is one that is not defined.
    ///
    /// # Errors
    /// A condition that cannot be told, or is neither true nor false, at its position.
    pub fn holds(&self, variable: impl Fn(&str) -> Option<Value>) -> Result<bool, FileError> {
        for condition in &self.0 {
            if !condition.holds(&variable)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Condition {
    fn holds(&self, variable: &impl Fn(&str) -> Option<Value>) -> Result<bool, FileError> {
        let known = self.names.iter();
        let known = known.filter_map(|n| variable(n).map(|value| (Value::from(n.as_str()), value)));
        let context = Value::from_pairs(known);
        let value = ENVIRONMENT
            .compile_expression(&self.expression)
            .and_then(|e| e.eval(context))
            .and_then(|v| match v.is_undefined() {
                true => Err(ErrorKind::UndefinedError.into()),
                false => Ok(v),
            })
            .map_err(|e| self.error(&e))?;
        match bool::try_from(value.clone()) {
            Ok(holds) => Ok(holds),
            Err(_) => Err(self
                .file
                .error(
                    self.position,
                    format!("`when` is neither true nor false, but {}", value.kind()),
                )
                .hinted("compare it, as in `ROLE == 'db'`, or ask whether it `is defined`")),
        }
    }

    fn error(&self, error: &minijinja::Error) -> FileError {
        let undefined = (error.kind() == ErrorKind::UndefinedError).then(|| {
            format!(
                "names are {}; a variable that some hosts lack: `NAME is defined and …`",
                self.listed()
            )
        });
        self.file
            .error(
                self.position,
                format!("`when` cannot be told: {}", said(error)),
            )
            .hinted_if(undefined)
    }

    fn listed(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|n| format!("`{n}`")).collect();
        names.join(", ")
    }
}

fn condition(source: &SourceFile, node: &Node) -> Result<Condition, FileError> {
    let expression = match &node.kind {
        Kind::Scalar(scalar) => match scalar.resolved {
            Resolved::Null => None,
            // YAML's many words for true and false, by the two that expressions have.
            Resolved::Bool(value) => Some(value.to_string()),
            Resolved::Int(_) | Resolved::Float(_) | Resolved::Timestamp | Resolved::Text => {
                Some(scalar.text.clone())
            }
        },
        Kind::Sequence(_) | Kind::Mapping(_) => None,
    };
    let expression = expression.filter(|e| !e.trim().is_empty()).ok_or_else(|| {
        source.error(
            node.position,
            format!("`when` is an expression, not {}", node.describe()),
        )
    })?;
    if ["{{", "{%"].iter().any(|mark| expression.contains(mark)) {
        return Err(source
            .error(
                node.position,
                "`when` is an expression and takes no template marks",
            )
            .hinted("write it without the braces: `when: role == 'db'`"));
    }
    let names = ENVIRONMENT
        .compile_expression(&expression)
        .map(|e| e.undeclared_variables(false).into_iter().collect())
        .map_err(|e| {
            source.error(
                node.position,
                format!("`when` is no expression: {}", said(&e)),
            )
        })?;
    Ok(Condition {
        expression,
        names,
        file: source.clone(),
        position: node.position,
    })
}

/// What the library says of an error, without the name of a template that it does not have.
fn said(error: &minijinja::Error) -> String {
    let detail = error.detail().map(|d| format!(": {d}")).unwrap_or_default();
    printable(&format!("{}{detail}", error.kind()), 200)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::yaml;

    fn read(text: &str) -> Result<When, FileError> {
        let source = SourceFile::new("p.yml", text);
        When::read(&source, &yaml::parse(&source).unwrap())
    }

    fn variable(name: &str) -> Option<Value> {
        match name {
            "role" => Some("db".into()),
            "count" => Some(3.into()),
            "retired" => Some(false.into()),
            "group_names" => Some(vec!["prod", "web"].into()),
            "facts" => Some(Value::from_pairs([("openssh", 9.2)])),
            _ => None,
        }
    }

    #[test]
    fn conditions_hold_or_do_not() {
        for (text, holds) in [
            ("role == 'db'", true),
            ("role != 'db'", false),
            ("\"'web' in group_names and not retired\"", true),
            ("count > 2", true),
            ("yes", true),
            ("false", false),
            ("[role == 'db', count == 4]", false),
            ("[role == 'db', count == 3]", true),
            ("nothing is defined", false),
            ("nothing is not defined or nothing == 1", true),
            ("nothing | default(false)", false),
            ("facts.openssh < 10", true),
            ("retired", false),
            ("count in [1, 2, 3]", true),
        ] {
            assert_eq!(
                read(text).unwrap().holds(variable).unwrap(),
                holds,
                "{text}"
            );
        }
        assert!(When::default().holds(variable).unwrap());
    }

    #[test]
    fn what_cannot_be_told_is_an_error_at_its_place() {
        for (text, says) in [
            (
                "nothing == 1",
                "p.yml:1:1: `when` cannot be told: undefined value",
            ),
            ("role", "neither true nor false, but string"),
            ("count", "neither true nor false, but number"),
            ("facts.nothing", "cannot be told"),
        ] {
            let error = read(text).unwrap().holds(variable).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error_before_anything_runs() {
        for (text, says) in [
            ("role ==", "p.yml:1:1: `when` is no expression: "),
            ("'{{ role }}'", "takes no template marks"),
            ("{a: 1}", "an expression, not a mapping"),
            ("~", "an expression, not nothing"),
            ("role = 'db'", "is no expression"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn only_those_that_name_facts_wait_for_them() {
        assert!(read("facts.openssh < 10").unwrap().needs_facts());
        assert!(!read("role == 'facts'").unwrap().needs_facts());
    }
}
