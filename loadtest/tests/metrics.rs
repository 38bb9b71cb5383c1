//! docs/metrics.md, the board and the alerts name the metrics that there are, and none of them has a label that grows with clients.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use anyport_loadtest::raw::{RawClient, RawHttp};
use anyport_protocol::Code;
use support::{Scene, WANTED, earliest};

const PAGE: &str = include_str!("../../docs/metrics.md");
const BOARD: &str = include_str!("../../docs/grafana/anyport.json");
const ALERTS: &str = include_str!("../../docs/grafana/anyport.rules.yml");
const RUNBOOK: &str = include_str!("../../docs/operations.md");

/// What Prometheus makes of a summary, beside its quantiles.
const OF_SUMMARY: [&str; 2] = ["_sum", "_count"];

/// A row of the page.
#[derive(Debug)]
struct Documented {
    kind: &'static str,
    about: &'static str,
}

fn documented() -> BTreeMap<&'static str, Documented> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let row = |(name, rest): (&'static str, &'static str)| {
        let mut cells = rest.trim_end_matches(" |").splitn(3, " | ");
        let (kind, unit) = (cells.next().expect("a type"), cells.next().expect("a unit"));
        assert!(!unit.is_empty(), "{name} has no unit");
        (name, Documented { kind, about: cells.next().expect("what it counts") })
    };
    rows.map(row).collect()
}

/// Every name of ours in a text; of a summary's sum and count, the summary.
fn names_in(text: &str) -> BTreeSet<&str> {
    let page = documented();
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("anyport_"));
    let base = |word| OF_SUMMARY.iter().find_map(|ending| str::strip_suffix(word, ending));
    ours.map(|word| base(word).filter(|base| page.get(base).is_some_and(|row| row.kind == "summary")).unwrap_or(word))
        .collect()
}

#[test]
fn the_board_shows_every_metric_and_the_alerts_name_none_that_is_not_there() {
    let page: BTreeSet<_> = documented().into_keys().collect();
    assert_eq!(names_in(BOARD), page);
    let of_alerts = names_in(ALERTS);
    assert!(of_alerts.is_subset(&page), "not in docs/metrics.md: {:?}", of_alerts.difference(&page));
    let of_runbook = names_in(RUNBOOK);
    assert!(of_runbook.is_subset(&page), "not in docs/metrics.md: {:?}", of_runbook.difference(&page));
}

#[test]
fn every_panel_says_what_it_shows() -> Result<()> {
    let board: serde_json::Value = serde_json::from_str(BOARD)?;
    for panel in board["panels"].as_array().context("panels")?.iter().filter(|panel| panel["type"] != "row") {
        let said = ["title", "description"].map(|member| panel[member].as_str().unwrap_or_default());
        assert!(
            said.iter().all(|said| !said.is_empty()) && panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{panel}"
        );
    }
    Ok(())
}

#[test]
fn the_runbook_says_what_to_do_about_every_alert() {
    let named = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let rows = RUNBOOK.lines().filter_map(|line| line.strip_prefix("| Anyport")?.split_once(' '));
    let rows: BTreeSet<_> = rows.map(|(name, _)| format!("Anyport{name}")).collect();
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), rows);
}

/// Every metric that the programs touch, with the labels it is given.
fn in_the_code() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for folder in ["../broker/src", "../storage/src"] {
        for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))? {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            for touched in text.split("metrics::").skip(1) {
                let Some((macro_name, rest)) = touched.split_once("!(") else { continue };
                if !["counter", "gauge", "histogram"].contains(&macro_name) {
                    continue;
                }
                let arguments = rest.split_once(')').context("the end of a macro")?.0;
                let mut quoted = arguments.split('"').skip(1).step_by(2);
                // Named by a variable: of metrics that are named elsewhere.
                let Some(name) = quoted.next() else { continue };
                let labels = arguments.split(',').skip(1).filter_map(|label| label.split('"').nth(1));
                found.entry(name.to_owned()).or_default().extend(labels.map(str::to_owned));
            }
        }
    }
    Ok(found)
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(sources(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

#[test]
fn the_page_has_every_metric_of_the_code_and_every_label() -> Result<()> {
    let (page, code) = (documented(), in_the_code()?);
    assert_eq!(page.keys().copied().collect::<Vec<_>>(), sorted(code.keys()));
    for (name, labels) in &code {
        let about = page[name.as_str()].about;
        assert_eq!(about.matches("label `").count(), labels.len(), "{name}: {about}");
        for label in labels {
            assert!(
                about.contains(&format!("label `{label}`")),
                "{name} has a label {label} that the page does not know"
            );
        }
    }
    Ok(())
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    names.map(String::as_str).collect()
}

/// One line of what is served: name, labels with their values.
fn sample(line: &str) -> Result<(&str, Vec<(&str, &str)>)> {
    let (series, _) = line.rsplit_once(' ').with_context(|| format!("a value in {line}"))?;
    let Some((name, labels)) = series.split_once('{') else { return Ok((series, Vec::new())) };
    let labels = labels.trim_end_matches('}').split(',');
    let labels = labels.map(|label| label.split_once("=\"").map(|(name, value)| (name, value.trim_end_matches('"'))));
    Ok((name, labels.collect::<Option<_>>().with_context(|| format!("labels of {line}"))?))
}

/// Whether a label has one of a fixed number of values: those that its row lists, codes, quantiles.
fn is_bounded(row: &Documented, label: &str, value: &str) -> bool {
    match label {
        "quantile" => row.kind == "summary",
        "code" => Code::ALL.iter().any(|code| code.name() == value),
        _ => row.about.contains(&format!("`{value}`")),
    }
}

#[tokio::test]
async fn every_counter_without_labels_is_there_before_it_counts() -> Result<()> {
    let served = Scene::set().await?.metrics().await?;
    for (name, row) in documented() {
        if row.kind == "counter" && !row.about.contains("label `") {
            assert!(served.contains(&format!("\n{name} ")), "{name} is not there");
        }
    }
    Ok(())
}

/// Makes the broker count as much as one client and one bad one can.
async fn busy(scene: &Scene) -> Result<()> {
    let listener = scene.attend(scene.client("phone").await?, earliest("wanted", WANTED), scene.wanted).await?;
    scene.producer().await?.publish(0..30).await?;
    listener.has_received(10).await?;
    listener.leave().await?;
    let mut http = RawHttp::connect(scene.broker.http_address()).await?;
    http.post("no token", &[], b"{}").await?;
    let bad = RawClient::connect(&scene.broker).await?;
    bad.open_silent().await?.send(&[77]).await?;
    assert_eq!(bad.closed_by_broker().await?.0, Code::MalformedFrame as u16);
    Ok(())
}

#[tokio::test]
async fn a_broker_serves_what_the_page_says_and_no_label_grows_with_clients() -> Result<()> {
    let scene = Scene::set().await?;
    busy(&scene).await?;
    let (page, served) = (documented(), scene.metrics().await?);
    let types = served.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut seen = 0;
    for (name, kind) in types {
        let row = page.get(name).with_context(|| format!("{name} is not in docs/metrics.md"))?;
        assert_eq!(row.kind, kind, "{name}");
        seen += 1;
    }
    ensure!(seen >= 12, "only {seen} metrics were served:\n{served}");
    for line in served.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, labels) = sample(line)?;
        let name = *names_in(name).first().with_context(|| format!("{name} is not ours"))?;
        for (label, value) in labels {
            assert!(is_bounded(&page[name], label, value), "{line}");
        }
    }
    Ok(())
}
