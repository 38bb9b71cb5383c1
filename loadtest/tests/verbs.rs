//! A user's first day at the command line: every verb, beside a command that runs, without a broker, with a name that is wrong.

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess, Cli, CliOutput, Program, RunningCli, free_loopback_port};
use serde_json::{Value, json};
use support::PATIENCE;
use tokio::time::{Duration, Instant, sleep};

struct Desk {
    // Before the folder, so that the process is gone when its files are removed.
    broker: BrokerProcess,
    cli: Cli,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn set(arguments: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let options = BrokerOptions { arguments, ..BrokerOptions::default() };
        let broker = BrokerProcess::start(folder.path(), options).await?;
        Ok(Self { cli: Cli::of(&broker)?, broker, folder })
    }

    /// Another device, which knows nothing yet.
    fn other_device(&self) -> Result<Cli> {
        let home = self.folder.path().join("other device");
        std::fs::create_dir_all(&home)?;
        Cli::new(&home, &self.broker.address().to_string())
    }

    /// Publishes events of these ids, all of one type.
    async fn publish(&self, kind: &str, ids: std::ops::Range<u64>) -> Result<()> {
        let lines = ids.map(|id| {
            let event = json!({"specversion": "1.0", "id": id.to_string(), "source": "/desk", "type": kind, "subject": id.to_string()});
            format!("{event}\n")
        });
        let lines: String = lines.collect();
        done(self.cli.run(&["--client", "producer", "pub", "--file", "-"], &lines, PATIENCE).await?)?;
        Ok(())
    }
}

async fn run(cli: &Cli, line: &str) -> Result<CliOutput> {
    cli.run(&line.split(' ').collect::<Vec<_>>(), "", PATIENCE).await
}

fn done(output: CliOutput) -> Result<CliOutput> {
    ensure!(output.code == Some(0), "{output:?}");
    Ok(output)
}

fn objects(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))).collect()
}

/// The one object that a command prints.
async fn object(cli: &Cli, line: &str) -> Result<Value> {
    let output = done(run(cli, line).await?)?;
    let mut objects = objects(&output.stdout)?;
    ensure!(objects.len() == 1, "not one object: {output:?}");
    Ok(objects.remove(0))
}

/// The subscription of that name as `subs` shows it, once it is as wanted.
async fn listed(cli: &Cli, client: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = done(run(cli, &format!("--client {client} --json subs")).await?)?;
        let found = objects(&output.stdout)?.into_iter().find(|report| report["name"] == name);
        if let Some(found) = found.clone().filter(&wanted) {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{name} is {found:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn subscribed(cli: &Cli, line: &str) -> Result<RunningCli> {
    let command = cli.spawn(&line.split(' ').collect::<Vec<_>>())?;
    command.notice("subscribed", PATIENCE).await?;
    Ok(command)
}

fn id_of(line: &str) -> Result<u64> {
    let event: Value = serde_json::from_str(line)?;
    Ok(event["id"].as_str().context("an id")?.parse()?)
}

#[tokio::test]
async fn what_waits_is_listed_beside_a_running_sub_which_notices_nothing() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    let mut sub = subscribed(&desk.cli, "--client phone sub --name all").await?;
    desk.publish("any", 0..3).await?;
    for _ in 0..3 {
        sub.next_line(PATIENCE).await?.context("an event")?;
    }
    let all = listed(&desk.cli, "phone", "all", |report| report["waiting"] == 0).await?;
    assert_eq!((&all["waiting_is_exact"], &all["behind_secs"], &all["gone"]), (&json!(true), &Value::Null, &json!(0)));
    let status = object(&desk.cli, "--client phone --json status").await?;
    assert_eq!((&status["session"]["is_open_here"], &status["session"]["epoch"]), (&json!(true), &json!(1)));
    assert_eq!(status["subscriptions"], 1);

    desk.publish("any", 3..4).await?;
    assert_eq!(id_of(&sub.next_line(PATIENCE).await?.context("it goes on")?)?, 3);
    assert!(!sub.stderr().contains("connection lost"), "{}", sub.stderr());
    listed(&desk.cli, "phone", "all", |report| report["waiting"] == 0).await?;
    sub.interrupt().await?;
    assert_eq!(sub.wait(PATIENCE).await?.code(), Some(130));

    let status = object(&desk.cli, "--client phone --json status").await?;
    assert_eq!(status["session"]["is_open_here"], false, "it was closed in good order");
    Ok(())
}

#[tokio::test]
async fn what_waits_is_counted_exactly_where_everything_matches_and_bounded_elsewhere() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    for name in ["all", "never --filter type='never'"] {
        done(run(&desk.cli, &format!("--client phone sub --until-caught-up --name {name}")).await?)?;
    }
    desk.publish("any", 0..5).await?;
    let all = listed(&desk.cli, "phone", "all", |_| true).await?;
    assert_eq!((&all["waiting"], &all["waiting_is_exact"]), (&json!(5), &json!(true)));
    assert!(all["behind_secs"].as_f64().is_some_and(|secs| (0.0..60.0).contains(&secs)), "{all}");
    assert!(all["expires"].as_str() > all["last_used"].as_str(), "{all}");
    let never = listed(&desk.cli, "phone", "never", |_| true).await?;
    assert_eq!((&never["waiting"], &never["waiting_is_exact"]), (&json!(5), &json!(false)));

    let table = done(run(&desk.cli, "--client phone subs").await?)?.stdout;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("NAME") && lines[1].starts_with("all") && lines[2].contains("at most 5"), "{table}");

    done(run(&desk.cli, "--client phone sub --name never --filter type='never' --until-caught-up").await?)?;
    let never = listed(&desk.cli, "phone", "never", |_| true).await?;
    assert_eq!(never["waiting"], 0, "it has come past them");
    Ok(())
}

#[tokio::test]
async fn what_retention_has_removed_is_listed_before_it_is_told_as_gaps() -> Result<()> {
    let desk = Desk::set(&["--partitions", "1", "--retention-bytes", "20000"]).await?;
    done(run(&desk.cli, "--client phone sub --until-caught-up --name all").await?)?;
    // Retention removes whole log entries, so there must be several.
    for first in (0..2000).step_by(200) {
        desk.publish("any", first..first + 200).await?;
    }
    let is_trimmed = |report: &Value| report["gone"].as_u64() > Some(0) && report["waiting"].as_u64() <= Some(1000);
    let all = listed(&desk.cli, "phone", "all", is_trimmed).await?;
    let (gone, waiting) = (all["gone"].as_u64().context("a count")?, all["waiting"].as_u64().context("a count")?);
    assert_eq!(gone + waiting, 2000);
    let output = done(run(&desk.cli, "--client phone --json sub --until-caught-up --name all").await?)?;
    assert_eq!(output.stdout.lines().count() as u64, waiting);
    let notices = objects(&output.stderr)?;
    let gap = notices.iter().find(|notice| notice["notice"] == "gap").context("a gap")?;
    assert_eq!((&gap["partition"], &gap["start"], &gap["end"]), (&json!(0), &json!(0), &json!(gone)));
    Ok(())
}

#[tokio::test]
async fn a_sub_whose_subscription_is_removed_ends_with_3_and_a_new_one_begins_at_once() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    let mut sub = subscribed(&desk.cli, "--client phone sub --name strong").await?;
    let removed = done(run(&desk.cli, "--client phone unsub strong").await?)?;
    assert_eq!(removed.stdout, "removed strong\n");
    assert_eq!(sub.wait(PATIENCE).await?.code(), Some(3));
    assert!(sub.stderr().contains("SubscriptionRemoved (405)") && sub.stderr().contains("next:"), "{}", sub.stderr());

    let gone = run(&desk.cli, "--client phone unsub strong").await?;
    assert_eq!(gone.code, Some(3));
    assert!(gone.stderr.contains("UnknownSubscription (401)"), "{}", gone.stderr);
    desk.publish("any", 0..1).await?;
    let anew = done(run(&desk.cli, "--client phone sub --name strong --from earliest --until-caught-up").await?)?;
    assert_eq!(anew.stdout.lines().count(), 1, "nobody is told again that the old one is gone: {}", anew.stderr);

    // With nobody there to be told, it is forgotten in the home folder as well.
    done(run(&desk.cli, "--client phone unsub strong").await?)?;
    done(run(&desk.cli, "--client phone sub --name strong --until-caught-up").await?)?;
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_wrong_is_told_with_those_that_are_right() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    for name in ["all", "strong"] {
        done(run(&desk.cli, &format!("--client phone sub --until-caught-up --name {name}")).await?)?;
    }
    let mistyped = run(&desk.cli, "--client phone unsub stong").await?;
    assert_eq!(mistyped.code, Some(3));
    assert!(mistyped.stderr.contains("it has: all, strong"), "{}", mistyped.stderr);
    assert!(mistyped.stderr.contains("next: did you mean \"strong\"?"), "{}", mistyped.stderr);

    let nobody = run(&desk.cli, "--client phne subs").await?;
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("next: did you mean --client phone?"), "{}", nobody.stderr);
    assert!(!desk.broker.home().join("clients/phne").exists(), "nobody was registered by mistake");

    let all = done(run(&desk.cli, "--client phone --json unsub --all").await?)?;
    let removed: Vec<_> = objects(&all.stdout)?.iter().map(|object| object["removed"].clone()).collect();
    assert_eq!(removed, ["all", "strong"]);
    let none = done(run(&desk.cli, "--client phone subs").await?)?;
    assert_eq!(none.stdout, "");
    assert!(none.stderr.contains("has no subscriptions") && none.stderr.contains("next:"), "{}", none.stderr);
    done(run(&desk.cli, "--client phone unsub --all").await?)?;
    Ok(())
}

#[tokio::test]
async fn an_identity_moved_to_another_device_goes_on_exactly_where_it_was() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    desk.publish("any", 0..5).await?;
    let here = done(run(&desk.cli, "--client phone sub --name all --from earliest --count 3").await?)?;
    let had: BTreeSet<_> = here.stdout.lines().map(id_of).collect::<Result<_>>()?;
    assert_eq!(had.len(), 3);

    let file = desk.folder.path().join("phone.json");
    let (there, path) = (desk.other_device()?, file.display());
    let exported = done(run(&desk.cli, &format!("--client phone --json identity export --out {path}")).await?)?;
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    assert!(exported.stderr.contains("keep this secret"), "{}", exported.stderr);
    let again = run(&desk.cli, &format!("--client phone identity export --out {path}")).await?;
    assert_eq!(again.code, Some(1), "no file is overwritten with a secret");
    let imported = object(&there, &format!("--client mobile --json identity import {path}")).await?;
    assert_eq!(imported["client"], objects(&exported.stdout)?[0]["client"]);
    assert!(Path::new(imported["trusted"].as_str().context("it did not trust the cluster's authority")?).exists());

    let rest = done(run(&there, "--client mobile sub --name all --until-caught-up").await?)?;
    let rest: BTreeSet<_> = rest.stdout.lines().map(id_of).collect::<Result<_>>()?;
    assert_eq!(rest, (0..5).filter(|id| !had.contains(id)).collect(), "all of the rest, and nothing again");

    // The device it came from has its old epoch and positions, and is the same client still.
    let mut sub = subscribed(&there, "--client mobile sub --name all").await?;
    let back = done(run(&desk.cli, "--client phone sub --name all --until-caught-up").await?)?;
    assert_eq!(back.stdout, "", "nothing comes again here either");
    assert_eq!(sub.wait(PATIENCE).await?.code(), Some(4), "{}", sub.stderr());
    Ok(())
}

#[tokio::test]
async fn importing_replaces_nobody_unasked_and_takes_nothing_that_is_not_an_identity() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    for client in ["phone", "tablet"] {
        done(run(&desk.cli, &format!("--client {client} register")).await?)?;
    }
    let phone = done(run(&desk.cli, "--client phone identity export").await?)?.stdout;
    let import = |client: &'static str, force: bool, text: &str| {
        let (cli, text) = (desk.cli.clone(), text.to_owned());
        let mut line = vec!["--client", client, "identity", "import", "-"];
        line.extend(force.then_some("--force"));
        async move { cli.run(&line, &text, PATIENCE).await }
    };
    for (client, text, code) in [
        ("tablet", phone.as_str(), "IdentityThere (1022)"),
        ("another", phone.as_str(), "IdentityThere (1022)"),
        ("another", &phone[..phone.len() / 2], "BadExport (1021)"),
        ("another", "", "BadExport (1021)"),
    ] {
        let refused = import(client, false, text).await?;
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(code) && refused.stderr.contains("next:"), "{client}: {}", refused.stderr);
    }
    let forced = done(import("tablet", true, &phone).await?)?;
    assert!(forced.stderr.contains("had this name before"), "{}", forced.stderr);
    let ids = [
        object(&desk.cli, "--client phone --json status").await?,
        object(&desk.cli, "--client tablet --json status").await?,
    ];
    assert_eq!(ids[0]["client"], ids[1]["client"]);
    Ok(())
}

#[tokio::test]
async fn status_tells_how_each_broker_is_and_fails_only_where_none_is_reached() -> Result<()> {
    let desk = Desk::set(&["--fsync", "interval=50"]).await?;
    let server = desk.broker.address().to_string();
    let status = object(&desk.cli, "--client phone --json status").await?;
    for (member, value) in [
        ("server", json!(server)),
        ("reachable", json!(true)),
        ("registered", json!(false)),
        ("durability", json!("relaxed")),
        ("partitions", json!(8)),
    ] {
        assert_eq!(status[member], value, "{status}");
    }
    assert!(status["agent"].as_str().is_some_and(|agent| agent.starts_with("anyportd/")), "{status}");
    let (round_trip, connected) = (status["round_trip_ms"].as_f64(), status["connected_in_ms"].as_f64());
    assert!(round_trip > Some(0.0) && connected > round_trip, "a handshake takes more than a ping: {status}");
    assert!(!desk.broker.home().join("clients").exists(), "status registers nobody");

    let registered = object(&desk.cli, "--client phone --json register").await?;
    assert_eq!((&registered["new"], &registered["durability"]), (&json!(true), &json!("relaxed")));
    assert_eq!(object(&desk.cli, "--client phone --json register").await?["new"], false);
    let text = done(run(&desk.cli, "--client phone status").await?)?.stdout;
    let client = registered["client"].as_str().context("an id")?;
    assert!(text.contains(client) && text.contains("RELAXED") && text.contains("there has been none"), "{text}");

    let nowhere = format!("127.0.0.1:{}", free_loopback_port()?);
    let both = done(run(&desk.cli, &format!("--json --server {nowhere},{server} status")).await?)?;
    let reached: Vec<_> = objects(&both.stdout)?.iter().map(|status| status["reachable"].clone()).collect();
    assert_eq!(reached, [false, true]);
    let none = run(&desk.cli, &format!("--json --server {nowhere} status")).await?;
    assert_eq!(none.code, Some(1));
    assert_eq!(objects(&none.stdout)?[0]["error"]["code"], 1009);
    assert_eq!(objects(&none.stderr)?[0]["error"]["name"], "Unreachable");
    Ok(())
}

/// Whatever is asked for, and however it ends: each line is an object, and each failure has its code and what to do next.
#[tokio::test]
async fn every_verb_speaks_json() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    let nowhere = format!("127.0.0.1:{}", free_loopback_port()?);
    let missing = desk.folder.path().join("missing");
    let missing = missing.display();
    for (line, code) in [
        ("register", None),
        ("pub --type t --source /s --data {\"a\":1}", None),
        ("sub --name all --from earliest --count 1", None),
        ("subs", None),
        ("status", None),
        ("identity export", None),
        ("completions bash", None),
        ("unsub all", None),
        ("subs", None),
        ("unsub all", Some(401)),
        ("sub --until-caught-up", None),
        ("sub --filter type=", Some(400)),
        ("--client nobody subs", Some(1020)),
        ("--client nobody identity export", Some(1020)),
        ("--client . subs", Some(1002)),
        ("--server nowhere subs", Some(1015)),
        (&format!("--server {nowhere} status"), Some(1009)),
        (&format!("pub --file {missing}"), Some(1103)),
        (&format!("identity import {missing}"), Some(1103)),
        ("frobnicate", Some(1100)),
    ] {
        let output = run(&desk.cli, &format!("--json {line}")).await?;
        let printed = objects(&output.stdout).with_context(|| line.to_owned())?;
        let said = objects(&output.stderr).with_context(|| line.to_owned())?;
        assert!(printed.iter().chain(&said).all(Value::is_object), "{line}: {output:?}");
        let errors: Vec<_> = said.iter().filter_map(|object| object.get("error")).collect();
        match code {
            None => assert!(output.code == Some(0) && errors.is_empty(), "{line}: {output:?}"),
            Some(code) => {
                assert!(output.code != Some(0) && errors.len() == 1, "{line}: {output:?}");
                assert_eq!(errors[0]["code"], code, "{line}: {output:?}");
                let is_text = |member: &str| errors[0][member].as_str().is_some_and(|text| !text.is_empty());
                assert!(is_text("name") && is_text("text") && is_text("next"), "{line}: {output:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn completions_are_what_bash_understands_and_name_every_verb() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cli = Cli::new(folder.path(), "127.0.0.1:1")?;
    let script = done(run(&cli, "completions bash").await?)?.stdout;
    let path = folder.path().join("completions");
    std::fs::write(&path, &script)?;
    let checked = Command::new("bash").arg("-n").arg(&path).stderr(Stdio::piped()).output()?;
    ensure!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    for verb in ["pub", "sub", "register", "subs", "unsub", "status", "identity", "completions", "--json"] {
        assert!(script.contains(verb), "{verb}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(!done(run(&cli, &format!("completions {shell}")).await?)?.stdout.is_empty(), "{shell}");
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_that_does_not_start_says_what_to_do_next() -> Result<()> {
    let desk = Desk::set(&[]).await?;
    let (admin, free) = (desk.broker.admin_address().to_string(), format!("127.0.0.1:{}", free_loopback_port()?));
    let other = desk.folder.path().join("other data");
    let start = |admin: &str, data: &Path| -> Result<String> {
        let mut command = Command::new(Program::Broker.find()?);
        command.args(["--dev", "--listen", &format!("127.0.0.1:{}", free_loopback_port()?), "--admin", admin]);
        command.arg("--data").arg(data).arg("--home").arg(desk.folder.path().join("other home"));
        let output = command.env("NO_COLOR", "1").output().context("run anyportd")?;
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let taken = start(&admin, &other)?;
    assert!(taken.contains("next: end the other program that has this port, or name another by --admin"), "{taken}");
    let used = start(&free, &desk.broker.data())?;
    assert!(used.contains("next: end the other broker that uses this folder"), "{used}");
    let file = desk.folder.path().join("a file");
    std::fs::write(&file, "in the way")?;
    let unusable = start(&free, &file)?;
    assert!(unusable.contains("next: check the disk"), "{unusable}");
    Ok(())
}
