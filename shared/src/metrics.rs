//! The recorder behind the `metrics` macros, rendered as Prometheus text.
//! It does not know any metric: names and help stand in each binary's own `metrics` file.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Samples of histograms pile up until somebody takes them; this often somebody does.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Upper bounds of every histogram, in seconds: from a dial within a machine room to a slow client.
const SECONDS: [f64; 18] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// The metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("metrics cannot be recorded: {0}")]
pub struct MetricsError(#[from] BuildError);

/// All that was counted in this process.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Recorder {
    /// Records what the macros count from now on. Every histogram is in seconds.
    ///
    /// # Errors
    /// When this process has a recorder already.
    pub fn install() -> Result<Self, MetricsError> {
        let handle = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
        let recorder = Self(handle);
        let upkeep = recorder.clone();
        let spawned = std::thread::Builder::new().name("metrics".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                upkeep.0.run_upkeep();
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for metrics; samples are taken at each scrape only");
        }
        Ok(recorder)
    }

    /// The text that Prometheus reads.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }
}
