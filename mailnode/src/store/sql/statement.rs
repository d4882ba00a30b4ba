//! A statement with its values, written once for all three databases: `$1`, `$2`, ... stand for
//! values, `{now}` and its like for what each database spells in its own way.
//! It does not know what it asks; `connection` runs it.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::dialect::Kind;

/// What may stand for a `$n`: nothing else goes in or out, so that all three agree on it.
#[derive(Debug, Clone)]
pub(in crate::store) enum Value {
    Int(i64),
    Text(String),
    /// An array: PostgreSQL only.
    Ints(Vec<i64>),
    /// An array: PostgreSQL only.
    Texts(Vec<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<i64>> for Value {
    fn from(value: Vec<i64>) -> Self {
        Self::Ints(value)
    }
}

impl From<Vec<String>> for Value {
    fn from(value: Vec<String>) -> Self {
        Self::Texts(value)
    }
}

/// A statement and its values.
#[derive(Debug, Clone)]
pub(in crate::store) struct Statement {
    text: Cow<'static, str>,
    values: Vec<Value>,
}

impl Statement {
    /// From its text, which never holds a value that came from outside.
    pub(in crate::store) fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// Gives the next `$n` its value.
    #[must_use]
    pub(in crate::store) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Writes more of the text.
    pub(in crate::store) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// Writes the next `$n` with its value.
    pub(in crate::store) fn push_value(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let number = self.values.len();
        // Writing to a String cannot fail.
        let _ = write!(self.text.to_mut(), "${number}");
        self
    }

    /// Writes `($n, $m, ...)` with these numbers. The list is filled up to a power of two by its
    /// last number, so that few different texts are prepared and kept.
    ///
    /// `numbers` is never empty.
    pub(in crate::store) fn push_list(&mut self, numbers: &[i64]) -> &mut Self {
        let last = numbers.last().copied().into_iter().cycle();
        let filled = numbers.iter().copied().chain(last);
        self.push("(");
        for (index, number) in filled.take(numbers.len().next_power_of_two()).enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.push_value(number);
        }
        self.push(")")
    }

    /// The text as it was written.
    #[cfg(test)]
    pub(in crate::store) fn text(&self) -> &str {
        &self.text
    }

    /// The same behind a word such as EXPLAIN.
    #[cfg(test)]
    pub(in crate::store) fn after(&self, word: &str) -> Self {
        Self {
            text: format!("{word}{}", self.text.trim_start()).into(),
            values: self.values.clone(),
        }
    }

    /// A text of several statements, each for itself.
    #[cfg(test)]
    pub(in crate::store) fn parted(&self) -> Vec<Self> {
        let parts = self.text.split(';').filter(|part| !part.trim().is_empty());
        let part = |text: &str| Self { text: text.to_owned().into(), values: self.values.clone() };
        parts.map(part).collect()
    }

    /// The text as a database reads it, and the values in the order of its placeholders.
    pub(super) fn spelled(&self, kind: Kind) -> (Cow<'_, str>, Vec<&Value>) {
        let plain = kind != Kind::MySql && !self.text.contains('{');
        if plain {
            return (Cow::Borrowed(&self.text), self.values.iter().collect());
        }
        let mut spelled = String::with_capacity(self.text.len() + 80);
        let mut order = Vec::with_capacity(self.values.len());
        let mut rest: &str = &self.text;
        while let Some(at) = rest.find(['{', '$']) {
            spelled.push_str(&rest[..at]);
            let found = &rest[at..];
            if let Some(word) = found.strip_prefix('{').and_then(|word| word.split('}').next()) {
                spelled.push_str(kind.word(word));
                rest = &found[word.len() + 2..];
                continue;
            }
            let digits = found[1..].bytes().take_while(u8::is_ascii_digit).count();
            let number = found[1..=digits].parse::<usize>().unwrap_or(0);
            match (kind, self.values.get(number.wrapping_sub(1))) {
                (Kind::MySql, Some(value)) => {
                    spelled.push('?');
                    order.push(value);
                }
                _ => spelled.push_str(&found[..=digits]),
            }
            rest = &found[1 + digits..];
        }
        spelled.push_str(rest);
        if kind != Kind::MySql {
            order = self.values.iter().collect();
        }
        (Cow::Owned(spelled), order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(statement: &Statement, kind: Kind) -> String {
        let (text, values) = statement.spelled(kind);
        format!("{text} {values:?}")
    }

    #[test]
    fn a_value_used_twice_is_given_twice_where_placeholders_have_no_numbers() {
        let statement = Statement::new("a $2 b $1 c $1{lock}").bind(7).bind("x");
        assert_eq!(
            spelled(&statement, Kind::MySql),
            "a ? b ? c ? FOR UPDATE [Text(\"x\"), Int(7), Int(7)]"
        );
        assert_eq!(
            spelled(&statement, Kind::Postgres),
            "a $2 b $1 c $1 FOR UPDATE [Int(7), Text(\"x\")]"
        );
        assert_eq!(spelled(&statement, Kind::Sqlite), "a $2 b $1 c $1 [Int(7), Text(\"x\")]");
    }

    #[test]
    fn a_list_has_few_lengths() {
        let mut statement = Statement::new("in ");
        statement.push_list(&[5, 6, 7]);
        assert_eq!(
            spelled(&statement, Kind::Sqlite),
            "in ($1, $2, $3, $4) [Int(5), Int(6), Int(7), Int(7)]"
        );
    }
}
