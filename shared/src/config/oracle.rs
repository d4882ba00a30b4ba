//! The tree agrees with `serde_yaml` on what a document says; tests only.
//! It does not know our settings; the test runner calls it.

use proptest::prelude::*;
use serde_yaml::Value as Yaml;

use super::fault::Gathered;
use super::tree::{Kind, Node, parse};

/// Whether our node says what theirs says.
fn agrees(ours: &Node, theirs: &Yaml) -> bool {
    match (&ours.kind, theirs) {
        (Kind::Scalar { .. }, Yaml::Null) => ours.is_null(),
        (Kind::Scalar { text, plain: true }, Yaml::Bool(value)) => {
            text.to_lowercase() == value.to_string()
        }
        (Kind::Scalar { text, plain: true }, Yaml::Number(number)) => {
            let same = number.as_f64().zip(text.parse::<f64>().ok());
            same.is_none_or(|(a, b)| a == b || a.is_nan())
        }
        (Kind::Scalar { text, .. }, Yaml::String(value)) => text == value && !ours.is_null(),
        (Kind::List(ours), Yaml::Sequence(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| agrees(a, b))
        }
        (Kind::Map(ours), Yaml::Mapping(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|entry| {
                    let value = theirs.get(entry.key.as_str());
                    value.is_some_and(|value| agrees(&entry.value, value))
                })
        }
        _ => false,
    }
}

fn tree(text: &str) -> (Option<Node>, String) {
    let faults = Gathered::default();
    let node = parse(text, &faults);
    (node, format!("{:?}", faults.into_vec()))
}

#[test]
fn written_documents_mean_the_same() {
    for text in [
        "a: 1\nb: [x, 'y', \"z\\n\"]\nc:\n  - {d: ~, e: true}\n  - f: |\n      two\n      lines\n",
        "listen: [\"0.0.0.0:25\", \"[::]:25\"]\nmode: least-connections\n",
        "# a comment\n---\nkey: value # another\n'quoted: key': >-\n  folded\n  text\n...\n",
        "time: 200ms\nsize: 25 MiB\nurl: sqlite:///var/lib/x.db\nempty: ''\nnothing:\n",
        "deep: {a: {b: {c: [[1], [2, [3]]]}}}\n",
        "text: a long\n  plain scalar\n  over lines\n",
    ] {
        let theirs: Yaml = serde_yaml::from_str(text).expect("a good document");
        let (ours, faults) = tree(text);
        let ours = ours.unwrap_or_else(|| panic!("{faults} in {text}"));
        assert!(agrees(&ours, &theirs), "{ours:?}\n{theirs:?}\nin {text}");
    }
}

fn any_value() -> impl Strategy<Value = Yaml> {
    let leaf = prop_oneof![
        Just(Yaml::Null),
        any::<bool>().prop_map(Yaml::from),
        any::<i64>().prop_map(Yaml::from),
        "[ -~äß€\n\t]{0,20}".prop_map(Yaml::from),
        "[a-z${}:#0-9.]{1,8}".prop_map(Yaml::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = "[a-z_ :#-]{1,8}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Yaml::Sequence),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|map| {
                Yaml::Mapping(map.into_iter().map(|(k, v)| (Yaml::from(k), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn made_documents_mean_the_same(value in any_value()) {
        let text = serde_yaml::to_string(&value).expect("it can be written");
        let theirs: Yaml = serde_yaml::from_str(&text).expect("it can be read");
        let (ours, faults) = tree(&text);
        match ours {
            Some(ours) => prop_assert!(agrees(&ours, &theirs), "{ours:?}\n{theirs:?}\n{text}"),
            None => prop_assert!(false, "{faults}\n{text}"),
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n\t]{0,60}|\\PC{0,40}") {
        let _ = tree(&text);
    }
}
