//! `${NAME}` in a value becomes what the environment says.
//! It does not know where the environment is; `map` passes a function in.

/// A value with its variables filled in, and whether there were any.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    pub(super) used: bool,
}

/// Fills in `${NAME}`; `$${` stands for `${` itself, any other `$` for itself.
///
/// # Errors
/// A sentence that names the variable that is not set, or shows what is not a variable.
pub(super) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Expanded, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut used = false;
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            expanded += before;
            expanded += "${";
            rest = &from[2..];
            continue;
        }
        expanded += before;
        let Some(end) = from.find('}') else {
            return Err(format!("`{from}` has no closing brace; allowed: ${{NAME}}"));
        };
        let name = &from[2..end];
        if !is_name(name) {
            let allowed = "allowed: ${NAME} of letters, digits and _, not beginning with a digit";
            return Err(format!("`${{{name}}}` is not a variable; {allowed}"));
        }
        let Some(value) = env(name) else {
            return Err(format!("the environment variable `{name}` is not set (or not UTF-8)"));
        };
        expanded += &value;
        used = true;
        rest = &from[end + 1..];
    }
    expanded += rest;
    Ok(Expanded { text: expanded, used })
}

fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::expand;

    fn with_node(name: &str) -> Option<String> {
        (name == "NODE").then(|| "node1".to_owned())
    }

    #[test]
    fn variables_are_filled_in_once() {
        for (text, expected) in [
            ("plain", "plain"),
            ("${NODE}", "node1"),
            ("/srv/${NODE}/temp", "/srv/node1/temp"),
            ("${NODE}${NODE}", "node1node1"),
            ("$${NODE}", "${NODE}"),
            ("$NODE costs 5$", "$NODE costs 5$"),
        ] {
            let expanded = expand(text, &with_node).expect(text);
            assert_eq!(expanded.text, expected);
        }
        // What a variable holds is never looked at again.
        let nested = expand("${A}", &|_| Some("${B}".to_owned())).expect("A is set");
        assert_eq!(nested.text, "${B}");
    }

    #[test]
    fn what_is_not_set_is_named() {
        let error = expand("x${MISSING}", &with_node).expect_err("it is not set");
        assert!(error.contains("`MISSING` is not set"), "{error}");
        for text in ["${", "${NODE", "${}", "${1A}", "${A-B}", "${ö}"] {
            expand(text, &with_node).expect_err(text);
        }
    }
}
