use anyhow::Result;
use anyport_loadtest::churn::{self, ChurnArguments, Preset};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_brokers_are_killed_one_after_the_other_roaming_clients_lose_nothing() -> Result<()> {
    let preset = if std::env::var_os("ANYPORT_TORTURE").is_some() { Preset::Full } else { Preset::Quick };
    assert!(churn::run(ChurnArguments { preset, seed: None }).await?, "the verdict is above");
    Ok(())
}
