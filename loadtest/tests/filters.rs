//! Filters as a user meets them: asked about before subscribing, and in each of the forms in which they can be typed.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess, Cli, CliOutput};
use anyport_loadtest::workload::Recorded;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);
const STRONG: &str = "type = 'gov.usgs.quake' AND data.mag >= 4.5";

/// Runs a command that needs no broker: none is there.
async fn alone(folder: &Path, arguments: &[&str], stdin: &str) -> Result<CliOutput> {
    Cli::new(folder, "127.0.0.1:1")?.run(arguments, stdin, PATIENCE).await
}

fn strong() -> usize {
    Recorded::earthquakes().events().filter(|event| event["data"]["mag"].as_f64().is_some_and(|mag| mag >= 4.5)).count()
}

#[tokio::test]
async fn a_filter_is_checked_without_a_broker() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let quakes = Recorded::earthquakes().ndjson();
    let checked = alone(folder.path(), &["filter", "check", STRONG, "--events", "-"], quakes).await?;
    let begin = format!(
        "valid: CESQL 1.0, extended by paths into the data, decimals\n\n\
         An event passes if\n  all of these hold:\n    type is 'gov.usgs.quake'\n    data.mag is at least 4.5\n\
         It cannot do without data.mag.\n\n\
         How events are found: every event is evaluated (there is no index yet), in at most 68 of 4096 steps each.\n\n\
         {} of 1707 events pass, such as\n  {{\"specversion\":\"1.0\"",
        strong()
    );
    assert!(checked.stdout.starts_with(&begin), "{}", checked.stdout);
    assert_eq!(checked.stdout.matches("\n  {").count(), 3, "{}", checked.stdout);
    assert_eq!((checked.stderr.as_str(), checked.code), ("", Some(0)));

    let wrong = alone(folder.path(), &["filter", "check", "type LIEK 'gov%'"], "").await?;
    assert_eq!((wrong.stdout.as_str(), wrong.code), ("", Some(3)));
    assert!(wrong.stderr.contains("(did you mean LIKE?)\n    type LIEK 'gov%'\n         ^\n"), "{}", wrong.stderr);

    let strict = alone(folder.path(), &["filter", "check", "--strict", STRONG], "").await?;
    assert_eq!(strict.code, Some(3), "{}", strict.stdout);
    let no_file = alone(folder.path(), &["filter", "check", STRONG, "--events", "/nothing/here"], "").await?;
    assert_eq!(no_file.code, Some(1));
    let nothing = alone(folder.path(), &["filter", "check"], "").await?;
    assert_eq!(nothing.code, Some(2));
    Ok(())
}

#[tokio::test]
async fn a_script_gets_the_answer_in_json() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let quakes = Recorded::earthquakes().ndjson();
    let checked =
        alone(folder.path(), &["filter", "check", "--json", "felt > 100 OR mag > 4", "--events", "-"], quakes).await?;
    let answer: Value = serde_json::from_str(&checked.stdout)?;
    assert_eq!((&answer["valid"], &answer["events"]["pass"]), (&true.into(), &0.into()));
    assert_eq!(answer["events"]["errors"]["the event has no felt"], 1707);
    let hints = answer["hints"].to_string();
    assert!(hints.contains("did you mean data.felt?") && hints.contains("did you mean data.mag?"), "{hints}");

    let wrong = alone(folder.path(), &["filter", "check", "--json", "type =="], "").await?;
    let answer: Value = serde_json::from_str(&wrong.stdout)?;
    assert_eq!((&answer["valid"], &answer["column"]), (&false.into(), &6.into()));
    assert_eq!((answer["suggestion"].as_str(), wrong.code), (Some("equality is written ="), Some(3)));
    Ok(())
}

#[tokio::test]
async fn json_and_an_example_subscribe_to_what_the_expression_would() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = BrokerProcess::start(folder.path(), BrokerOptions::default()).await?;
    let cli = Cli::of(&broker)?;
    let published = cli.run(&["pub", "--file", "-"], Recorded::earthquakes().ndjson(), PATIENCE).await?;
    assert_eq!(published.code, Some(0), "{}", published.stderr);

    let example = folder.path().join("example.json");
    std::fs::write(&example, r#"{"subject": "Hawaii", "data": {"magType": "md"}}"#)?;
    let wanted = |event: &Value| event["subject"] == "Hawaii" && event["data"]["magType"] == "md";
    let expected = Recorded::earthquakes().events().filter(wanted).count();
    assert!(expected > 0);
    let forms = [
        ["--filter", "subject = 'Hawaii' AND data.magType = 'md'"],
        ["--filter", r#"[{"prefix": {"subject": "Hawa"}}, {"not": {"sql": "data.magType != 'md'"}}]"#],
        ["--like", example.to_str().expect("a path of text")],
    ];
    for form in forms {
        let arguments = [&["sub", "--from", "earliest", "--until-caught-up"][..], &form[..]].concat();
        let got = cli.run(&arguments, "", PATIENCE).await?;
        assert_eq!((got.stdout.lines().count(), got.code), (expected, Some(0)), "{form:?}: {}", got.stderr);
    }
    let wrong = cli.run(&["sub", "--filter", r#"{"exact": {"subject": ""}}"#], "", PATIENCE).await?;
    assert_eq!(wrong.code, Some(3));
    assert!(wrong.stderr.contains(".exact.subject: expected a text that is not empty"), "{}", wrong.stderr);
    Ok(())
}
