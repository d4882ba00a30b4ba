//! Log lines on standard error: one event, one line, as JSON or as text.
//! It does not know what is logged; each `main` starts it once.

mod ration;
mod writer;

use std::fmt::{self, Write as _};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use self::ration::Ration;
use self::writer::Lines;
use crate::config::{Map, Value};

/// The target of lines that come in thousands, one for each connection: they may gather for two
/// milliseconds and are written together. `tracing::info!(target: MANY, …)`.
pub const MANY: &str = "many";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `{"timestamp","level","message",fields…}`, flat.
    #[default]
    Json,
    /// `TIMESTAMP LEVEL message field=value …`
    Text,
}

impl Value for LogFormat {
    const ALLOWED: &'static str = "json, text";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "json" => Some(Self::Json),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}

/// The least important lines that are still written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(Level);

impl Value for LogLevel {
    const ALLOWED: &'static str = "error, warn, info, debug, trace";

    fn parse(text: &str) -> Option<Self> {
        let level = match text {
            "error" => Level::ERROR,
            "warn" => Level::WARN,
            "info" => Level::INFO,
            "debug" => Level::DEBUG,
            "trace" => Level::TRACE,
            _ => return None,
        };
        Some(Self(level))
    }
}

/// What the settings say of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// The least important lines that are still written.
    pub level: LogLevel,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: LogLevel(Level::INFO) }
    }
}

impl LogConfig {
    /// Takes the key `log: {format, level}` out of the root of a settings file.
    pub fn read(root: &mut Map<'_>) -> Self {
        let default = Self::default();
        let Some(mut log) = root.map("log") else { return default };
        Self { format: log.or("format", default.format), level: log.or("level", default.level) }
    }
}

/// Sends every event of this process to standard error from now on. A second call does nothing.
pub fn start(config: &LogConfig) {
    let lines = match Lines::start(io::stderr()) {
        Ok(lines) => lines,
        Err(error) => {
            eprintln!("nothing is logged: no thread can be started: {error}");
            return;
        }
    };
    let level = LevelFilter::from_level(config.level.0);
    let layer = tracing_subscriber::fmt::layer().with_writer(Writers(lines));
    let started = match config.format {
        LogFormat::Json => {
            let layer = layer.fmt_fields(JsonFields::new()).event_format(json_lines());
            tracing_subscriber::registry().with(level).with(layer).try_init()
        }
        LogFormat::Text => {
            let layer = layer.event_format(TextLines);
            tracing_subscriber::registry().with(level).with(layer).try_init()
        }
    };
    // A test may have started one already; the first stays.
    drop(started);
}

/// Makes a writer for each event.
struct Writers(Lines);

/// Takes one event's line.
struct LineWriter<'a> {
    lines: &'a Lines,
    many: bool,
}

impl<'a> MakeWriter<'a> for Writers {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { lines: &self.0, many: false }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        LineWriter { lines: &self.0, many: metadata.target() == MANY }
    }
}

impl io::Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.lines.take(line, self.many);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn json_lines() -> Format<Json, SystemTime> {
    let format = tracing_subscriber::fmt::format().json();
    let format = format.flatten_event(true).with_target(false);
    format.with_current_span(false).with_span_list(false)
}

/// `TIMESTAMP LEVEL message field=value …`, with control characters escaped: what a client sent
/// can neither begin a line of its own nor drive a terminal.
struct TextLines;

impl<S, N> FormatEvent<S, N> for TextLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        let mut line = TextLine::default();
        event.record(&mut line);
        writeln!(writer, " {:5} {}{}", event.metadata().level(), line.message, line.fields)
    }
}

#[derive(Default)]
struct TextLine {
    message: String,
    fields: String,
}

impl TextLine {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            push_escaped(&mut self.message, value);
        } else {
            let _ = write!(self.fields, " {}=", field.name());
            push_escaped(&mut self.fields, value);
        }
    }
}

impl Visit for TextLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        if quoted && field.name() != "message" {
            self.add(field, &format!("\"{}\"", value.replace('"', "\\\"")));
        } else {
            self.add(field, value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(text: bool, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        if text {
            let layer = layer.event_format(TextLines);
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        } else {
            let layer = layer.fmt_fields(JsonFields::new()).event_format(json_lines());
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        }
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_text_line_stays_one_line() {
        let line = logged(true, || {
            let helo = "a\r\nQUIT\u{1b}[2J";
            tracing::info!(helo, bytes = 5, at = %"127.0.0.1:25", note = "two words", "hello\nyou");
        });
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let rest = "INFO  hello\\nyou helo=a\\r\\nQUIT\\u{1b}[2J bytes=5 at=127.0.0.1:25 \
                    note=\"two words\"\n";
        assert!(line.ends_with(rest), "{line:?}");
    }

    #[test]
    fn a_json_line_is_flat() {
        let line = logged(false, || tracing::warn!(helo = "a\r\n", bytes = 5, "hello"));
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        let rest = "\"level\":\"WARN\",\"message\":\"hello\",\"helo\":\"a\\r\\n\",\"bytes\":5}\n";
        assert!(line.starts_with("{\"timestamp\":\"") && line.ends_with(rest), "{line:?}");
    }
}
