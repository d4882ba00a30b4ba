//! Hears the warnings that PostgreSQL sends beside an answer; sqlx gives them to `tracing` only.
//! It does not know what they say: a warning at a commit means that its outcome is not known
//! ("canceling wait for synchronous replication": done here, perhaps not on the standby).

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, span};

/// An ear for one connection.
#[derive(Debug, Clone)]
pub(in crate::store) struct Notices {
    ear: Dispatch,
    heard: Arc<Mutex<Option<String>>>,
}

impl Notices {
    pub(super) fn new() -> Self {
        let heard = Arc::new(Mutex::new(None));
        Self { ear: Dispatch::new(Ear { heard: heard.clone() }), heard }
    }

    /// Awaits `work` and tells what was warned of meanwhile.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> (T, Option<String>) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let outcome = work.with_subscriber(self.ear.clone()).await;
        (outcome, self.heard.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}

struct Ear {
    heard: Arc<Mutex<Option<String>>>,
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::postgres::notice" && *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(words.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
