//! A phone that comes to the foreground: counted in round trips, not by the clock.

use anyhow::Result;
use anyport_loadtest::bench::foreground::{Memory, Scene};

/// One way. Long beside what a busy machine takes between receiving a packet and answering it.
const DELAY_MS: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_missed_event_is_here_after_two_round_trips_cold_and_one_with_early_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::set(&folder.path().join("broker")).await?;
    for (memory, hops_max) in [(Memory::Cold, 4), (Memory::Resumed, 4), (Memory::EarlyData, 2)] {
        let back = scene.come_back(memory, DELAY_MS).await?;
        assert!(back.hops <= hops_max, "{memory:?}: {back:?}");
        assert!(back.took.as_millis() >= u128::from(u64::from(back.hops) * DELAY_MS), "{memory:?}: {back:?}");
    }
    Ok(())
}
