//! What `/metrics` said at one moment, in Prometheus' text form.
//! It does not know any metric by name; tests ask it for counts.

use crate::http;

/// One answer of `/metrics`.
#[derive(Debug, Clone)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Asks an admin port.
    ///
    /// # Panics
    /// When there is no answer 200.
    #[track_caller]
    pub fn of(port: u16) -> Self {
        let answer = http::get(port, "/metrics").expect("an answer of /metrics");
        assert_eq!(answer.status, 200, "/metrics said {answer:?}");
        Self { text: answer.body }
    }

    /// The text itself, as promtool reads it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sum of all series of this name that carry all these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).iter().map(|line| value_of(line)).sum()
    }

    /// Whether the metric stands in the text at all.
    pub fn knows(&self, name: &str) -> bool {
        !self.series(name, &[]).is_empty()
    }

    /// The lines of a metric, for messages.
    pub fn series(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&str> {
        let wanted: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
        let lines = self.text.lines().filter(|line| {
            let (found, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
            found == name && wanted.iter().all(|label| rest.contains(label.as_str()))
        });
        lines.collect()
    }
}

fn value_of(line: &str) -> f64 {
    let value = line.rsplit(' ').next().and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no value at the end of {line:?}"))
}
