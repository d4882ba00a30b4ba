//! A bell that anybody may ring and one messenger hears.
//! It does not know what for. Nodes have them (`backends`), `probe` and `interview` listen.

use tokio::sync::Notify;

/// Rung while nobody listens it is heard by whoever listens next, once.
#[derive(Debug, Default)]
pub struct Bell(Notify);

impl Bell {
    /// Rings. Never waits.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Waits until it rings.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}
