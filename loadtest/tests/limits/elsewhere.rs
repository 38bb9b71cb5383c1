//! Limits that a test beside their code shows: what nobody can pass from outside, and what must not wait for its time here.

/// What a limit does, by the file and the name of the test that shows it.
pub struct ShownBy {
    pub name: &'static str,
    /// Where the constant is, for those that are not in `protocol/src/limits.rs`.
    pub constant_in: &'static str,
    pub file: &'static str,
    pub test: &'static str,
}

const fn row(name: &'static str, constant_in: &'static str, file: &'static str, test: &'static str) -> ShownBy {
    ShownBy { name, constant_in, file, test }
}

const LIMITS: &str = "protocol/src/limits.rs";
const STORIES: &str = "storage/src/registry/stories.rs";
const METADATA: &str = "storage/src/metadata/stories.rs";
const MAP: &str = "storage/src/metadata/map_stories.rs";

/// Constants of `protocol/src/limits.rs` that are targets, defaults or lives, for which nothing is refused, and those of a cluster,
/// of which a client hears nothing.
pub const CONSTANTS: [ShownBy; 12] = [
    row("BROKERS_MAX", LIMITS, METADATA, "a_cluster_of_sixty_four_brokers_takes_no_other"),
    row("ADDRESS_BYTES_MAX", LIMITS, METADATA, "an_address_or_a_zone_that_is_too_long_is_refused_with_the_limit"),
    row("MAP_NAME_BYTES_MAX", LIMITS, "protocol/src/map/names.rs", "names_are_short_and_plain"),
    row("MAP_POINTS_MAX", LIMITS, MAP, "all_that_is_advertised_together_is_bounded_so_that_the_map_fits_a_frame"),
    row("MAP_ROW_BYTES_MAX", LIMITS, MAP, "a_row_that_is_too_long_or_speaks_for_the_cluster_is_refused"),
    row("MAP_OTHERS_BYTES_MAX", LIMITS, MAP, "all_that_is_advertised_together_is_bounded_so_that_the_map_fits_a_frame"),
    row("ZONE_BYTES_MAX", LIMITS, METADATA, "an_address_or_a_zone_that_is_too_long_is_refused_with_the_limit"),
    row(
        "ENTRY_BYTES_TARGET",
        LIMITS,
        "client-sdk/src/publisher/queues/mod.rs",
        "a_batch_is_closed_before_it_passes_its_target",
    ),
    row(
        "RECORD_BYTES_TARGET",
        LIMITS,
        "storage/src/partition/builder.rs",
        "an_entry_gives_back_the_events_it_was_built_of",
    ),
    row("TOMBSTONES_PER_CLIENT_MAX", LIMITS, STORIES, "the_oldest_of_too_many_tombstones_is_dropped"),
    row("TOMBSTONE_SECS_MAX", LIMITS, STORIES, "a_tombstone_is_dropped_when_it_has_stood_for_its_time"),
    row(
        "INACTIVE_EXPIRY_SECS_DEFAULT",
        LIMITS,
        "loadtest/tests/limits/elsewhere.rs",
        "who_names_no_expiry_gets_the_default",
    ),
];

const BUDGET: &str = "broker/src/partition/budget.rs";
const HTTP_LISTENER: &str = "broker/src/http/listener.rs";
const HTTP_BODY: &str = "broker/src/http/body.rs";
const CONNECTION: &str = "broker/src/session/connection.rs";

/// Limits of time and of memory.
pub const BUDGETS: [ShownBy; 8] = [
    row(
        "LOGIN_TIMEOUT",
        "broker/src/session/control.rs",
        "loadtest/tests/hostile.rs",
        "who_says_hello_and_never_logs_in_is_hung_up_on",
    ),
    row(
        "FIRST_STREAM_TIMEOUT",
        CONNECTION,
        "loadtest/tests/floods.rs",
        "connections_that_send_nothing_cost_little_and_are_closed",
    ),
    row(
        "handshakes_unvalidated_max",
        CONNECTION,
        "loadtest/tests/floods.rs",
        "where_many_handshakes_stay_open_a_sender_must_first_show_its_address",
    ),
    row("SHARE", BUDGET, BUDGET, "one_partition_gets_a_quarter_and_the_rest_is_left_for_others"),
    row("bytes_max", BUDGET, BUDGET, "the_whole_is_bounded_however_many_partitions_there_are"),
    row("bodies_bytes_max", HTTP_LISTENER, HTTP_BODY, "bodies_share_a_budget_and_give_it_back"),
    row("body_timeout", HTTP_LISTENER, HTTP_BODY, "a_body_that_does_not_come_is_not_waited_for_without_end"),
    row(
        "PARKED_BYTES_MAX",
        "client-sdk/src/subscription/chain.rs",
        "client-sdk/src/subscription/chain.rs",
        "too_much_ahead_is_dropped_and_asked_for_again",
    ),
];

mod tests {
    use std::fs;
    use std::path::PathBuf;

    use anyhow::{Context, Result, ensure};
    use anyport_protocol::limits::INACTIVE_EXPIRY_SECS_DEFAULT;

    use super::{BUDGETS, CONSTANTS, ShownBy};
    use crate::broker::Stage;

    fn read(file: &str) -> Result<String> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    #[test]
    fn every_test_that_a_row_points_to_is_there() -> Result<()> {
        for ShownBy { name, constant_in, file, test } in CONSTANTS.iter().chain(&BUDGETS) {
            ensure!(read(constant_in)?.contains(name), "{name} is not in {constant_in}");
            ensure!(read(file)?.contains(&format!("fn {test}(")), "{name}: no test {test} in {file}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn who_names_no_expiry_gets_the_default() -> Result<()> {
        let subscribed = Stage::set().await?.subscribed_with_expiry(0).await?;
        assert_eq!(subscribed.map(|state| state.inactive_expiry_secs), Ok(INACTIVE_EXPIRY_SECS_DEFAULT));
        Ok(())
    }
}
