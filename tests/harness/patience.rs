//! Waiting for a condition, with a deadline and a name.

use std::time::{Duration, Instant};

/// How long anything may take that is not itself the subject of a test.
pub const LONG: Duration = Duration::from_secs(60);

/// Asks `condition` again and again until it gives a value. Panics with `what` when `LONG` is over.
pub async fn until<T, F, Fut>(what: &str, condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    until_within(LONG, what, condition).await
}

/// [`until`] with a deadline of its own.
pub async fn until_within<T, F, Fut>(limit: Duration, what: &str, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(
            begun.elapsed() < limit,
            "waited {limit:?} in vain for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
