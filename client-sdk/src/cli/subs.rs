//! `anyport subs`.

use serde_json::{Value, json};

use super::args::Common;
use super::exit::{Exit, Failure};
use super::tell::say;
use super::{output, words};
use crate::protocol::WallMs;
use crate::protocol::message::SubscriptionReport;

pub(super) async fn run(common: &Common) -> Result<Exit, Failure> {
    let client = super::connect_registered(common).await?;
    let list = super::in_time(common, client.subscriptions()).await?;
    super::close(client).await;
    let now = list.server_time;
    if common.json {
        let lines = list.subscriptions.iter().map(|report| format!("{}\n", as_json(report, now)));
        output::print(lines.collect::<String>()).await?;
    } else if list.subscriptions.is_empty() {
        let name = &common.client;
        say(&format!("client {name:?} has no subscriptions"));
        say(&format!("next: anyport sub --client {name} --name NAME --filter EXPRESSION"));
    } else {
        output::print(table(&list.subscriptions, now)).await?;
    }
    Ok(Exit::Done)
}

const TITLES: [&str; 6] = ["NAME", "WAITING", "BEHIND", "GAP", "EXPIRES", "FILTER"];

fn table(reports: &[SubscriptionReport], now: WallMs) -> String {
    let rows = reports.iter().map(|report| row(report, now));
    let rows: Vec<_> = std::iter::once(TITLES.map(str::to_owned)).chain(rows).collect();
    words::table(&rows)
}

fn row(report: &SubscriptionReport, now: WallMs) -> [String; 6] {
    let none = || "-".to_owned();
    let bound = if report.waiting_is_exact { "" } else { "at most " };
    [
        report.name.to_string(),
        format!("{bound}{}", report.waiting_max),
        report.behind(now).map_or_else(none, words::age),
        if report.gone > 0 { format!("at most {}", report.gone) } else { none() },
        format!("in {}", words::age(words::between(now, report.expires()))),
        if report.filter.trim().is_empty() { "(everything)".to_owned() } else { report.filter.clone() },
    ]
}

/// Its members are a promise to scripts: see docs/cli.md.
fn as_json(report: &SubscriptionReport, now: WallMs) -> Value {
    json!({
        "name": report.name,
        "incarnation": report.incarnation,
        "filter": report.filter,
        "waiting": report.waiting_max,
        "waiting_is_exact": report.waiting_is_exact,
        "behind_secs": report.behind(now).map(|behind| behind.as_secs_f64()),
        "oldest_waiting": report.oldest_waiting.and_then(words::timestamp),
        "gone": report.gone,
        "last_used": words::timestamp(report.last_used),
        "expires": words::timestamp(report.expires()),
        "inactive_expiry_secs": report.inactive_expiry_secs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Incarnation;

    const NOW: WallMs = WallMs(1_000_000_000);

    fn report() -> SubscriptionReport {
        SubscriptionReport {
            name: "strong".parse().expect("a name"),
            incarnation: Incarnation(4),
            filter: "data.mag >= 4.5".into(),
            waiting_max: 1_204,
            waiting_is_exact: false,
            oldest_waiting: Some(WallMs(NOW.0 - 7_200_500)),
            gone: 40,
            inactive_expiry_secs: 30 * 86_400,
            last_used: WallMs(NOW.0 - 3_000),
        }
    }

    #[test]
    fn a_bound_is_told_as_one_and_an_exact_count_as_it_is() {
        let nothing =
            SubscriptionReport { waiting_max: 0, waiting_is_exact: true, oldest_waiting: None, gone: 0, ..report() };
        let everything = SubscriptionReport {
            waiting_is_exact: true,
            filter: " ".into(),
            name: "all".parse().expect("a name"),
            ..report()
        };
        let told = table(&[everything, nothing, report()], NOW);
        let expected = "\
NAME    WAITING       BEHIND  GAP         EXPIRES  FILTER
all     1204          2 h     at most 40  in 30 d  (everything)
strong  0             -       -           in 30 d  data.mag >= 4.5
strong  at most 1204  2 h     at most 40  in 30 d  data.mag >= 4.5
";
        assert_eq!(told, expected);
    }

    #[test]
    fn scripts_get_the_same_in_members_that_stay() {
        let expected = json!({
            "name": "strong", "incarnation": 4, "filter": "data.mag >= 4.5", "waiting": 1204, "waiting_is_exact": false,
            "behind_secs": 7200.5, "oldest_waiting": "1970-01-12T11:46:39.5Z", "gone": 40,
            "last_used": "1970-01-12T13:46:37Z", "expires": "1970-02-11T13:46:37Z", "inactive_expiry_secs": 2_592_000,
        });
        assert_eq!(as_json(&report(), NOW), expected);
    }
}
