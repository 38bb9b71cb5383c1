//! What `make install`, the systemd unit and the Dockerfile hand to others fits the programs. Nothing is compiled here: what is installed
//! is the build under test.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess, Program, free_loopback_port, skipped};

const UNIT: &str = include_str!("../../broker/anyportd.service");
const DOCKERFILE: &str = include_str!("../../Dockerfile");

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs make with a cargo that has built everything already.
fn make(folder: &Path, arguments: &[&str]) -> Result<()> {
    let built = Program::Cli.find()?.canonicalize()?;
    let (target, profile) = match built.ancestors().skip(1).take(2).collect::<Vec<_>>()[..] {
        [profile, target] => (target.display(), profile.file_name().and_then(OsStr::to_str).context("a profile")?),
        _ => bail!("{} is no place for a program", built.display()),
    };
    let script = format!("#!/bin/sh\n[ \"$1\" = build ] || echo '{{\"target_directory\":\"{target}\"}}'\n");
    // Written by another process: a file that this one had open for writing could not be run while a child forked just then holds it too.
    let cargo = folder.join("cargo");
    let write = "printf %s \"$2\" >\"$1\" && chmod +x \"$1\"";
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(cargo).arg(script).status();
    ensure!(written?.success(), "write a stand-in for cargo");

    let mut command = Command::new("make");
    // `native` may compile for half an hour where nobody has built by make.
    command.arg("--old-file=native").args(arguments);
    command.arg(format!("PROFILE={}", if profile == "debug" { "dev" } else { profile }));
    command.arg(format!("staged={}", folder.join("staged").display()));
    command.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH")?)).env_remove("MAKEFLAGS");
    let output = command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).output().context("run make")?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(())
}

/// Every file below, and what it may be used for.
fn files(folder: &Path) -> Result<BTreeSet<(PathBuf, u32)>> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| next.display().to_string())? {
            let path = entry?.path();
            let metadata = path.metadata()?;
            if metadata.is_dir() {
                folders.push(path);
            } else {
                found.insert((path.strip_prefix(folder)?.to_owned(), metadata.permissions().mode() & 0o777));
            }
        }
    }
    Ok(found)
}

#[test]
fn what_is_installed_works_from_where_it_lies_and_is_removed_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let root = folder.path().join("root");
    let destination = format!("DESTDIR={}", root.display());
    let where_to = [destination.as_str(), "PREFIX=/opt/anyport"];
    make(folder.path(), &[&["install"], &where_to[..]].concat())?;
    let expected = [
        ("bin/anyport", 0o755),
        ("bin/anyportd", 0o755),
        ("lib/systemd/system/anyportd.service", 0o644),
        ("share/bash-completion/completions/anyport", 0o644),
        ("share/fish/vendor_completions.d/anyport.fish", 0o644),
        ("share/zsh/site-functions/_anyport", 0o644),
    ];
    let prefix = root.join("opt/anyport");
    assert_eq!(files(&prefix)?, expected.map(|(file, mode)| (file.into(), mode)).into());
    for program in ["anyportd", "anyport"] {
        let version = Command::new(prefix.join("bin").join(program)).arg("--version").output()?;
        assert_eq!(text(&version), format!("{program} {}\n", env!("CARGO_PKG_VERSION")));
    }
    let unit = std::fs::read_to_string(prefix.join("lib/systemd/system/anyportd.service"))?;
    ensure!(unit.contains("\nExecStart=/opt/anyport/bin/anyportd --data"), "{unit}");
    let completions = prefix.join("share/bash-completion/completions/anyport");
    ensure!(Command::new("bash").arg("-n").arg(completions).status()?.success(), "bash does not understand it");

    make(folder.path(), &[&["uninstall"], &where_to[..]].concat())?;
    assert_eq!(files(&root)?, BTreeSet::new());
    Ok(())
}

#[test]
fn systemd_takes_the_unit_as_it_is_installed() -> Result<()> {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        skipped("the test needs systemd-analyze");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let prefix = folder.path().join("prefix");
    make(folder.path(), &["install", &format!("PREFIX={}", prefix.display())])?;
    let unit = prefix.join("lib/systemd/system/anyportd.service");
    let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output()?;
    // Of what it does not know it only warns.
    ensure!(verified.status.success() && text(&verified).is_empty(), "{}", text(&verified));
    Ok(())
}

#[test]
fn unit_and_dockerfile_name_only_options_and_variables_that_anyportd_has() -> Result<()> {
    let help = text(&Command::new(Program::Broker.find()?).arg("--help").output()?);
    for (file, text) in [("the unit", UNIT), ("the Dockerfile", DOCKERFILE)] {
        let names_options =
            |line: &&str| line.contains("anyportd --") || line.contains("OPTIONS=") || line.starts_with("CMD ");
        let options: BTreeSet<_> = text.lines().filter(names_options).flat_map(|line| words(line, "--")).collect();
        ensure!(options.contains("--tls-cert"), "{file} names {options:?}");
        let variables = words(text, "ANYPORT_");
        ensure!(variables.contains("ANYPORT_LISTEN"), "{file} names {variables:?}");
        for named in options.union(&variables) {
            ensure!(words(&help, named).contains(named), "{file} names {named}, which anyportd does not know");
        }
    }
    Ok(())
}

/// Words that begin so.
fn words(text: &str, begin: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && !"-_".contains(character));
    words.filter(|word| word.starts_with(begin)).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_container_is_healthy_while_the_broker_is_ready_and_at_no_other_time() -> Result<()> {
    let (_, check) = DOCKERFILE.split_once("HEALTHCHECK ").context("a health check")?;
    let (_, check) = check.lines().next().and_then(|line| line.split_once("CMD ")).context("its command")?;
    let check: Vec<String> = serde_json::from_str(check).context("its words")?;
    let is_healthy = |admin: String| -> Result<bool> {
        Ok(Command::new(&check[0]).args(&check[1..]).env("ANYPORT_ADMIN", admin).output()?.status.success())
    };
    let folder = tempfile::tempdir()?;
    let broker = BrokerProcess::start(folder.path(), BrokerOptions::default()).await?;
    ensure!(is_healthy(broker.admin_address().to_string())?, "a broker that is ready");
    ensure!(!is_healthy(broker.http_address().to_string())?, "a server that does not say so");
    ensure!(!is_healthy(format!("127.0.0.1:{}", free_loopback_port()?))?, "no server");
    Ok(())
}
