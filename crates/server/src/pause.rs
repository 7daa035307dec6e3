//! The one place that waits for time to pass.

use std::time::Duration;

/// Waits at least this long, and up to a millisecond or two longer.
#[expect(
    clippy::disallowed_methods,
    reason = "lateness is harmless here: time-outs may come late, and updates are not paced by this"
)]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
