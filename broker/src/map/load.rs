//! How loaded this broker is, told to the metadata so that the map says it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A load is told when it differs by a tenth of itself, or by this much: every change goes to every client.
const STEP_MIN: u16 = 5;

/// Of so many connections where so many are taken.
pub fn thousandths(connections: usize, connections_max: usize) -> u16 {
    u16::try_from(connections.saturating_mul(1000) / connections_max.max(1)).unwrap_or(u16::MAX)
}

fn is_worth_telling(told: u16, now: u16) -> bool {
    now.abs_diff(told) >= STEP_MIN.max(told / 10) || (now == 0) != (told == 0)
}

/// Tells, by `tell`, each load in thousandths that differs much from the last one that was taken.
pub async fn report_load<F: Future<Output = bool> + Send>(
    load: impl Fn() -> u16 + Send,
    tell: impl Fn(u16) -> F + Send,
    stop: CancellationToken,
) {
    let mut told = None;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = load();
        if told.is_none_or(|told| is_worth_telling(told, now)) && tell(now).await {
            told = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_in_thousandths_and_may_be_above_them() {
        assert_eq!([50, 300, usize::MAX].map(|connections| thousandths(connections, 200)), [250, 1500, u16::MAX]);
        assert_eq!(thousandths(0, 0), 0);
    }

    #[test]
    fn a_small_change_is_kept_to_itself() {
        assert!(is_worth_telling(0, 1), "somebody has come");
        assert!(!is_worth_telling(10, 14));
        assert!(is_worth_telling(10, 15));
        assert!(!is_worth_telling(500, 549));
        assert!(is_worth_telling(500, 450));
    }
}
