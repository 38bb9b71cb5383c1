//! Network namespaces that clean up after themselves: the story runs in a process of its own, in which a private network, its namespaces
//! and all brokers live. When that process ends, however it does, the system removes them all.
//!
//! ```text
//!   the test ─── pipe ──▶ unshare ──▶ the same test again (process 1 of its namespaces; ends when the pipe does)
//!                                      ├ bridge 10.77.0.254: clients
//!                                      ├ namespace b0, 10.77.0.1: broker 0
//!                                      └ namespace b1, 10.77.0.2: broker 1 ...
//! ```

use std::any::type_name;
use std::future::Future;
use std::io::Read;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use anyport_loadtest::runner::{Place, skipped};

/// Set in the process that has a network of its own.
const INSIDE: &str = "ANYPORT_TEST_NETWORK";

const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Runs a story with so many brokers' places in a network of its own.
pub fn with_network<Told, Story>(brokers: u8, story: Story) -> Result<()>
where
    Story: FnOnce(Network) -> Told,
    Told: Future<Output = Result<()>>,
{
    if std::env::var_os(INSIDE).is_none() {
        return run_apart(&test_of::<Story>());
    }
    end_with_the_pipe();
    let network = Network::set_up(brokers)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(story(network))
}

/// The test that this closure belongs to, as the test harness calls it.
fn test_of<Story>() -> String {
    let path = type_name::<Story>().trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_, within_the_program)| within_the_program).to_owned()
}

fn run_apart(test: &str) -> Result<()> {
    let probe = Command::new("unshare").args(UNSHARE).args(["sh", "-c", "ip link && nft list tables"]).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        skipped(&format!("{test} needs to make network namespaces, with ip and nft: {probe:?}"));
        return Ok(());
    }
    let mut command = Command::new("unshare");
    command.args(UNSHARE).arg(std::env::current_exe()?).args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command.env(INSIDE, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start the test again")?;
    // Held until the end: when this process is killed the pipe ends, and with it the other.
    let _pipe = child.stdin.take();
    let output = child.wait_with_output()?;
    let (said, reported) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{reported}");
    ensure!(output.status.success(), "in a network of its own: {}\n{said}", output.status);
    ensure!(said.contains("1 passed"), "no such test: {test}\n{said}");
    Ok(())
}

fn end_with_the_pipe() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// Brokers' places on one bridge.
pub struct Network {
    brokers: u8,
}

impl Network {
    fn set_up(brokers: u8) -> Result<Self> {
        // Where `ip` keeps the names of namespaces; nobody outside sees this mount.
        run("mount -t tmpfs tmpfs /run")?;
        run("mkdir -p /run/netns")?;
        run("ip link set lo up")?;
        run("ip link add anyport type bridge")?;
        run("ip address add 10.77.0.254/24 dev anyport")?;
        run("ip link set anyport up")?;
        let network = Self { brokers };
        for broker in 0..brokers {
            run(&format!("ip netns add b{broker}"))?;
            run(&format!("ip link add v{broker} type veth peer name eth0 netns b{broker}"))?;
            run(&format!("ip link set v{broker} master anyport up"))?;
            run(&format!("ip -n b{broker} link set lo up"))?;
            run(&format!("ip -n b{broker} address add {}/24 dev eth0", address(broker)))?;
            run(&format!("ip -n b{broker} link set eth0 up"))?;
            network.filter(broker, "add table inet cuts")?;
            network.filter(broker, "add chain inet cuts arriving { type filter hook input priority 0 ; }")?;
        }
        Ok(network)
    }

    pub fn places(&self) -> Vec<Place> {
        let place = |broker| Place { ip: address(broker), entered_by: words(&format!("ip netns exec b{broker}")) };
        (0..self.brokers).map(place).collect()
    }

    /// From now on nothing of `from` arrives at `to`.
    pub fn cut(&self, from: u8, to: u8) -> Result<()> {
        self.filter(to, &format!("add rule inet cuts arriving ip saddr {} drop", address(from)))
    }

    /// Nothing passes between these and those. Clients reach all of them.
    pub fn split(&self, these: &[u8], those: &[u8]) -> Result<()> {
        for (one, other) in these.iter().flat_map(|one| those.iter().map(move |other| (*one, *other))) {
            self.cut(one, other)?;
            self.cut(other, one)?;
        }
        Ok(())
    }

    /// Everything passes again.
    pub fn heal(&self) -> Result<()> {
        (0..self.brokers).try_for_each(|broker| self.filter(broker, "flush chain inet cuts arriving"))
    }

    fn filter(&self, broker: u8, rule: &str) -> Result<()> {
        let nft = ["netns", "exec", &format!("b{broker}"), "nft", rule].map(str::to_owned);
        output_of(Command::new("ip").args(nft))
    }
}

fn address(broker: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, broker + 1)
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn run(line: &str) -> Result<()> {
    let words = words(line);
    output_of(Command::new(&words[0]).args(&words[1..]))
}

fn output_of(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
