//! Figures of several rounds, told twice: as a table for people and as one `name=value ...` line
//! for each figure.
//!
//! It does not know what was measured. Called by the scenarios; `record` keeps what it prints.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A ratio that is formed in every round: its name, above, below the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    /// `ratio`, `ratio_to_nginx`, ...
    pub(crate) name: &'static str,
    /// The contender above the line.
    pub(crate) of: &'static str,
    /// The contender below the line.
    pub(crate) to: &'static str,
}

/// One figure under one load, for all contenders and rounds.
#[derive(Clone, Debug)]
struct Series {
    figure: &'static str,
    load: String,
    unit: &'static str,
    /// Values by contender; one for each round in which it was measured.
    values: BTreeMap<&'static str, Vec<f64>>,
}

/// All figures of a bench.
pub(crate) struct Report {
    bench: &'static str,
    /// The order of the columns.
    contenders: Vec<&'static str>,
    ratios: Vec<Ratio>,
    series: Vec<Series>,
    /// What every contender was set to, printed beside the figures: name and words without blanks.
    settings: Vec<(&'static str, String)>,
    /// Sentences under the table.
    notes: Vec<String>,
}

/// The middle value; the mean of the two in the middle; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

impl Series {
    /// The median of the ratios of each round, where both were measured.
    fn ratio(&self, ratio: Ratio) -> Option<f64> {
        let pairs = self.values.get(ratio.of)?.iter().zip(self.values.get(ratio.to)?);
        let ratios: Vec<f64> = pairs.filter(|(_, to)| **to > 0.0).map(|(of, to)| of / to).collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    fn rounds(&self) -> usize {
        self.values.values().map(Vec::len).max().unwrap_or(0)
    }
}

/// Three digits that count, without an exponent.
fn digits(value: f64) -> String {
    match value {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.3}"),
    }
}

/// A bench's figures as they are shown and kept.
pub(crate) struct Printed {
    /// For people; well-formed Markdown.
    pub(crate) table: String,
    /// Settings and notes as a Markdown list.
    pub(crate) remarks: String,
    /// One line for each figure, for programs.
    pub(crate) lines: String,
    /// Figures that are missing.
    pub(crate) gaps: Vec<String>,
}

/// A Markdown table; the first row is its head.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let Some(head) = rows.first() else { return String::new() };
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = String::new();
    for row in [head, &rule].into_iter().chain(&rows[1..]) {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
    }
    text
}

impl Report {
    /// An empty report; a ratio with a contender that is not there is left out.
    pub(crate) fn new(
        bench: &'static str,
        contenders: Vec<&'static str>,
        mut ratios: Vec<Ratio>,
    ) -> Self {
        ratios.retain(|r| contenders.contains(&r.of) && contenders.contains(&r.to));
        Self { bench, contenders, ratios, series: vec![], settings: vec![], notes: vec![] }
    }

    /// Says how a contender was set, or what holds for all; without blanks, to fit in a line.
    pub(crate) fn setting(&mut self, name: &'static str, words: impl Into<String>) {
        self.settings.push((name, words.into().replace(' ', "_")));
    }

    /// Adds a sentence under the table.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds the value of one round.
    pub(crate) fn add(
        &mut self,
        figure: &'static str,
        load: &str,
        unit: &'static str,
        contender: &'static str,
        value: f64,
    ) {
        let found = self.series.iter().position(|s| s.figure == figure && s.load == load);
        let at = found.unwrap_or(self.series.len());
        if found.is_none() {
            self.series.push(Series {
                figure,
                load: load.to_owned(),
                unit,
                values: BTreeMap::new(),
            });
        }
        self.series[at].values.entry(contender).or_default().push(value);
    }

    /// As it is shown and kept.
    pub(crate) fn printed(&self) -> Printed {
        let (table, remarks) = (self.table(), self.remarks());
        Printed { table, remarks, lines: self.lines(), gaps: self.gaps() }
    }

    /// The figures that are missing for a contender, or zero, or not a number.
    fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for series in &self.series {
            for (contender, values) in &series.values {
                if values.iter().any(|value| !value.is_finite() || *value <= 0.0) {
                    gaps.push(format!("{} {} of {contender}", series.figure, series.load));
                }
            }
        }
        gaps
    }

    /// A table that is well-formed Markdown, medians of all rounds.
    fn table(&self) -> String {
        let mut rows = vec![vec!["figure".to_owned(), "load".to_owned(), "unit".to_owned()]];
        rows[0].extend(self.contenders.iter().map(ToString::to_string));
        rows[0].extend(self.ratios.iter().map(|ratio| format!("{}/{}", ratio.of, ratio.to)));
        for series in &self.series {
            let mut row =
                vec![series.figure.to_owned(), series.load.clone(), series.unit.to_owned()];
            row.extend(self.contenders.iter().map(|contender| {
                let values = series.values.get(contender);
                values.map_or_else(|| "-".to_owned(), |values| digits(median(values)))
            }));
            row.extend(self.ratios.iter().map(|ratio| {
                let value = series.ratio(*ratio);
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
            }));
            rows.push(row);
        }
        aligned(&rows)
    }

    /// One line for each figure, for programs.
    fn lines(&self) -> String {
        let mut text = String::new();
        for series in &self.series {
            let _ = write!(text, "bench={} figure={}", self.bench, series.figure);
            for pair in series.load.split_ascii_whitespace() {
                let _ = write!(text, " {pair}");
            }
            for contender in &self.contenders {
                if let Some(values) = series.values.get(contender) {
                    let _ = write!(text, " {contender}_{}={}", series.unit, digits(median(values)));
                }
            }
            for ratio in &self.ratios {
                if let Some(value) = series.ratio(*ratio) {
                    let _ = write!(text, " {}={value:.3}", ratio.name);
                }
            }
            let _ = write!(text, " rounds={}", series.rounds());
            for (name, words) in &self.settings {
                let absent = self.contenders.contains(name) && !series.values.contains_key(name);
                if !absent {
                    let _ = write!(text, " {name}={words}");
                }
            }
            text.push('\n');
        }
        text
    }

    /// Settings and notes as a Markdown list.
    fn remarks(&self) -> String {
        let settings = self.settings.iter().map(|(name, words)| format!("- {name}: {words}\n"));
        let notes = self.notes.iter().map(|note| format!("- {note}\n"));
        settings.chain(notes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let ratios = vec![Ratio { name: "ratio", of: "ours", to: "peer" }];
        let mut report = Report::new("proxy", vec!["ours", "peer"], ratios);
        for (ours, peer) in [(10.0, 20.0), (30.0, 30.0), (90.0, 100.0)] {
            report.add("cpu", "c=64", "us", "ours", ours);
            report.add("cpu", "c=64", "us", "peer", peer);
        }
        report
    }

    #[test]
    fn the_ratio_is_the_median_of_each_rounds_ratio() {
        // 0.5, 1.0, 0.9: not the ratio of the medians, which is 1.
        let lines = report().lines();
        let expected =
            "bench=proxy figure=cpu c=64 ours_us=30.0 peer_us=30.0 ratio=0.900 rounds=3\n";
        assert_eq!(lines, expected);
    }

    #[test]
    fn settings_stand_beside_the_figures_of_their_contender() {
        let mut report = report();
        report.add("bulk", "", "s", "ours", 1.0);
        report.setting("ours", "two words");
        report.setting("peer", "none");
        report.setting("disk", "ext4");
        let lines = report.lines();
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines[0].ends_with(" ours=two_words peer=none disk=ext4"), "{lines:?}");
        assert!(lines[1].ends_with(" ours=two_words disk=ext4"), "{lines:?}");
    }

    #[test]
    fn the_table_is_markdown() {
        let table = report().table();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 3, "{table}");
        assert!(rows.iter().all(|row| row.matches('|').count() == 7), "{table}");
        assert!(rows[1].starts_with("| ---"), "{table}");
    }

    #[test]
    fn a_zero_is_a_gap() {
        let mut report = report();
        assert_eq!(report.gaps(), Vec::<String>::new());
        report.add("rate", "c=1", "s", "peer", 0.0);
        assert_eq!(report.gaps(), ["rate c=1 of peer"]);
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
