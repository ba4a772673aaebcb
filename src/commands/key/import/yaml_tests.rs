use std::fmt::Write as _;

use super::*;

/// The tree as JSON would have it, with every text quoted.
fn written(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Text(text) => format!("{:?}", text.as_str()),
        Value::List(items) => format!("[{}]", items.iter().map(|i| written(i)).collect::<Vec<_>>().join(",")),
        Value::Map(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| format!("{}:{}", written(name), written(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
    }
}

fn read(text: &str) -> Result<String, String> {
    let documents = parse(text).map_err(|wrong| format!("{}: {}", wrong.line, wrong.why))?;
    Ok(documents.iter().map(|document| written(document)).collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn same(text: &str, tree: &str) {
    assert_eq!(read(text).as_deref(), Ok(tree));
}

#[test]
fn yaml_becomes_a_tree() {
    same(
        "a: 1\nb: [x, 'y y', \"z\\n\"]\nc:\n- d: ~\n  e:\n",
        r#"{"a":"1","b":["x","y y","z\n"],"c":[{"d":null,"e":null}]}"#,
    );
    same("a: 'null'\n", r#"{"a":"null"}"#);
    same("a: x\n--- \nb: y\n", r#"{"a":"x"} {"b":"y"}"#);
    same("", "");
    same("# nothing\n#END\n", "");
}

#[test]
fn json_is_read_as_well() {
    same(
        "{\n\t\"a\": [1, true, null],\n\t\"b\": {\"c\": \"x\\u00e9\\/y\"}\n}\n",
        r#"{"a":["1","true",null],"b":{"c":"xé/y"}}"#,
    );
    same(r#"{"a":{"b":[{"c":"d"},{"e":[]}]},"f":"g"}"#, r#"{"a":{"b":[{"c":"d"},{"e":[]}]},"f":"g"}"#);
    let long = "x".repeat(5_000);
    same(&format!(r#"{{"a":"{long}","b":"{long}"}}"#), &format!(r#"{{"a":"{long}","b":"{long}"}}"#));
    same(r#"{"a":"\ud83d\uDE00\u00e9\\ud83d\n","b":"\\\ud83d\ude00"}"#, r#"{"a":"😀é\\ud83d\n","b":"\\😀"}"#);
    assert!(read(r#"{"a":"\ud83d"}"#).is_err());
}

#[test]
fn lines_begin_at_one() {
    let documents = parse("a:\n- b: 1\n\n- c: 2\n").expect("YAML");
    let lines: Vec<_> = documents[0].items_of("a").map(|item| item.line).collect();
    assert_eq!(lines, [2, 4]);
    assert_eq!(parse("a: [1\nb: c\n").err().map(|wrong| wrong.line), Some(2));
}

#[test]
fn aliases_and_merges_are_followed() {
    same("a: &a {x: 1, y: 2}\nb: *a\n", r#"{"a":{"x":"1","y":"2"},"b":{"x":"1","y":"2"}}"#);
    same(
        "a: &a {x: 1, y: 2}\nb: &b {z: 3, y: 4}\nc: {<<: *a, y: 0}\nd: {<<: [*b, *a]}\n",
        r#"{"a":{"x":"1","y":"2"},"b":{"z":"3","y":"4"},"c":{"y":"0","x":"1"},"d":{"z":"3","y":"4","x":"1"}}"#,
    );
}

#[test]
fn what_would_not_end_is_refused() {
    let (deep, lists) = (DEPTH_MAX, "[".repeat(DEPTH_MAX + 1));
    assert_eq!(read(&lists), Err(format!("1: it is nested more than {deep} deep")));
    assert!(read(&format!("{}{}", "[".repeat(DEPTH_MAX), "]".repeat(DEPTH_MAX))).is_ok());
    assert!(read(&"- ".repeat(100_000)).is_err());
    assert!(read(&"{a: ".repeat(100_000)).is_err());
    // Nested by aliases alone, and with them by more than any stack would hold.
    let mut chain = String::from("- &a0 x\n");
    for n in 1..100_000 {
        writeln!(chain, "- &a{n} [*a{}]", n - 1).expect("a String");
    }
    assert!(read(&chain).is_err_and(|why| why.contains("deep")));
    assert!(read("a: &a [*a]\n").is_err());
    assert!(read("a: *nobody\n").is_err());
}

#[test]
fn an_alias_is_no_copy_and_a_merge_counts() {
    // A billion laughs, and as many merges.
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..20 {
        let before = format!("*a{}", n - 1);
        writeln!(laughs, "a{n}: &a{n} [{}]", [before.as_str(); 10].join(", ")).expect("a String");
    }
    assert!(parse(&laughs).is_ok());
    let wide: Vec<_> = (0..100).map(|n| format!("k{n}: 1")).collect();
    let mut merges = format!("a: &a {{{}}}\n", wide.join(", "));
    for n in 0..100 {
        writeln!(merges, "b{n}: {{<<: *a}}").expect("a String");
    }
    assert!(tree(&merges, 11_000).is_ok());
    assert!(tree(&merges, 10_000).is_err_and(|wrong| wrong.why.contains("nodes")));
}

#[test]
fn what_stands_twice_is_refused() {
    assert_eq!(read("a: 1\nb: 2\na: 3\n"), Err("3: a name stands twice in one map".into()));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[-a:\\[\\]{}&*!|>'\"#%@`<,?~ \\n\\t]{0,60}") {
        let _ = parse(&text);
    }
}
