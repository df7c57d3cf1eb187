use serde::Deserialize;

use super::*;
use crate::text::SourceFile;

fn file(text: &str) -> SourceFile {
    SourceFile::new("x.yml", text)
}

fn error(text: &str) -> String {
    let source = file(text);
    let error = parse(&source).unwrap_err();
    format!("{error}\n{}", error.hints.join("\n"))
}

fn keys(node: &Node) -> Vec<&str> {
    node.as_mapping()
        .unwrap()
        .entries
        .iter()
        .map(|e| e.key.scalar.text.as_str())
        .collect()
}

#[test]
fn nodes_know_where_they_stand() {
    let node = parse(&file("all:\n  hosts:\n    é1: {port: 22}\n")).unwrap();
    let all = node.as_mapping().unwrap().get("all").unwrap();
    let hosts = all.value.as_mapping().unwrap().get("hosts").unwrap();
    let host = hosts.value.as_mapping().unwrap().get("é1").unwrap();
    let port = host.value.as_mapping().unwrap().get("port").unwrap();
    assert_eq!(
        (
            hosts.key.position.line,
            hosts.key.position.column,
            hosts.key.position.width
        ),
        (2, 3, 5)
    );
    assert_eq!(
        (port.value.position.line, port.value.position.column),
        (3, 16)
    );
}

#[test]
fn merge_keys_are_merged_in_pyyamls_order() {
    let node = parse(&file(
        "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  w: 0\n  <<: [*a, *b]\n  z: 9\n",
    ))
    .unwrap();
    let c = &node.as_mapping().unwrap().get("c").unwrap().value;
    assert_eq!(keys(c), ["y", "z", "x", "w"]);
    let value = |k: &str| {
        c.as_mapping()
            .unwrap()
            .get(k)
            .unwrap()
            .value
            .as_text()
            .unwrap()
            .to_owned()
    };
    assert_eq!([value("x"), value("y"), value("z")], ["1", "2", "9"]);
    assert_eq!(keys(&parse(&file("'<<': 1\n")).unwrap()), ["<<"]);
}

#[test]
fn tags_are_kept_and_core_tags_applied() {
    let node = parse(&file(
        "a: !vault |\n  x\nb: !!str 12\nc: !unsafe 12\nd: !!int '12'\n",
    ))
    .unwrap();
    let get = |k: &str| &node.as_mapping().unwrap().get(k).unwrap().value;
    assert_eq!(get("a").tag.as_ref().unwrap().as_str(), "!vault");
    let resolved = |k: &str| match &get(k).kind {
        Kind::Scalar(s) => s.resolved,
        _ => panic!("{k} is no scalar"),
    };
    assert_eq!(resolved("b"), Resolved::Text);
    assert_eq!(resolved("c"), Resolved::Int(12));
    assert_eq!(resolved("d"), Resolved::Int(12));
}

#[test]
fn hostile_files_are_refused_with_a_position() {
    insta::assert_snapshot!(error("a: 1\nb: 2\na: 3\n"), @r"
    x.yml:3:1: duplicate `a` (first at line 1, column 1)
       |
     3 | a: 3
       | ^
    ");
    let bomb: String = std::iter::once("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned())
        .chain((1..12).map(|i| {
            let before = format!("*a{}", i - 1);
            format!("a{i}: &a{i} [{}]\n", vec![before; 9].join(","))
        }))
        .collect();
    assert!(
        error(&bomb).contains("aliases multiply"),
        "{}",
        error(&bomb)
    );
    assert!(error("a: &a [*a]\n").contains("x.yml:1:8: this alias stands inside"));
    assert!(error("a: *nothing\n").contains("x.yml:1:"));
    assert!(error(&"[".repeat(100_000)).contains("x.yml:1:"));
    assert!(error(&format!("{}x", "- ".repeat(300))).contains("nested more than 128"));
    let deep: String = std::iter::once("a0: &a0 [x]\n".to_owned())
        .chain((1..300).map(|i| format!("a{i}: &a{i} [*a{}]\n", i - 1)))
        .collect();
    assert!(error(&deep).contains("nested more than 128"));
    assert!(error("? [a]\n: b\n").contains("cannot be a key"));
    assert!(error("[a]: b\n").contains("cannot be a key"));
    assert!(error("a: 1\n---\nb: 2\n").contains("x.yml:2:1: a second document"));
    assert!(error("a: {b: c\n").contains("wrong YAML"));
    assert!(error(&format!("a: {}\n", "9".repeat(80))).contains("too large"));
    assert!(error("a: !!binary aGk=\n").contains("`!!binary` is not supported"));
}

#[test]
fn an_empty_file_is_null_and_json_is_json() {
    assert!(parse(&file("")).unwrap().is_null());
    assert!(parse(&file("# nothing\n")).unwrap().is_null());
    let node = parse(&file("{\"a\": 1e5}")).unwrap();
    let a = &node.as_mapping().unwrap().get("a").unwrap().value;
    assert!(matches!(&a.kind, Kind::Scalar(s) if s.resolved == Resolved::Float(100_000.0)));
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    list: Vec<String>,
    #[serde(default)]
    how: Option<How>,
    #[serde(default)]
    login: Option<crate::names::Login>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum How {
    OnConfirm,
    OnIssue,
}

fn typed(text: &str) -> Result<Sample, String> {
    from_source(&file(text)).map_err(|e| format!("{e}\n{}", e.hints.join("\n")))
}

#[test]
fn text_fields_take_plain_scalars_as_they_stand() {
    let sample =
        typed("name: no\nport: 0x16\non: yes\nlist: [0755, 22, 1_0, on]\nhow: on_issue\n").unwrap();
    assert_eq!(sample.name, "no");
    assert_eq!(sample.port, Some(22));
    assert!(sample.on);
    assert_eq!(sample.list, ["0755", "22", "1_0", "on"]);
    assert_eq!(sample.how, Some(How::OnIssue));
}

#[test]
fn every_error_points_at_its_cause() {
    insta::assert_snapshot!(typed("name: a\nprot: 22\n").unwrap_err(), @r"
    x.yml:2:1: unknown key `prot`
       |
     2 | prot: 22
       | ^^^^
    did you mean `port`?
    ");
    insta::assert_snapshot!(typed("name: a\nport: 99999\n").unwrap_err(), @r"
    x.yml:2:7: expected a whole number from 0 to 65535, found 99999
       |
     2 | port: 99999
       |       ^^^^^
    ");
    insta::assert_snapshot!(typed("port: 1\n").unwrap_err(), @r"
    x.yml:1:1: the key `name` is missing
       |
     1 | port: 1
       | ^
    ");
    insta::assert_snapshot!(typed("name: a\nhow: on_isue\n").unwrap_err(), @r"
    x.yml:2:6: unknown value `on_isue`
       |
     2 | how: on_isue
       |      ^^^^^^^
    did you mean `on_issue`?
    ");
    insta::assert_snapshot!(typed("name: a\nlist: x\n").unwrap_err(), @r"
    x.yml:2:7: expected a list, found text
       |
     2 | list: x
       |       ^
    ");
    insta::assert_snapshot!(typed("name: a\nlogin: a b\n").unwrap_err(), @r"
    x.yml:2:8: login `a b` may only hold letters, digits and `._-`
       |
     2 | login: a b
       |        ^^^
    ");
    assert!(
        typed("[a, b]")
            .unwrap_err()
            .contains("expected a mapping, found a list")
    );
    assert!(
        typed("name: [a]")
            .unwrap_err()
            .contains("x.yml:1:7: expected text, found a list")
    );
    assert!(
        typed("name: !vault x")
            .unwrap_err()
            .contains("`!vault` is not supported here")
    );
    assert!(
        typed("name:\n")
            .unwrap_err()
            .contains("expected text, found nothing")
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        drop(parse(&file(&text)));
    }

    #[test]
    fn no_yaml_like_text_panics(text in "[-a0:#&*!|>'\"%@`{}\\[\\],?<~ \t\n]{0,60}") {
        drop(parse(&file(&text)).map(|node| from_node::<Sample>(&file(&text), &node).is_ok()));
    }
}
