//! The proxy as a program, for tests in other languages: commands on stdin, one a line. Each is answered by a line on stdout once it
//! holds, and the program ends with its stdin.

use std::io::BufRead;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::task::spawn_blocking;

use super::{Cut, FaultProxy};
use crate::workload::Seed;

/// A proxy that stands between clients and a broker on 127.0.0.0/8.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Commands on stdin: rebind, cut both|to-target|to-client, heal, counts.")]
pub struct ProxyArguments {
    /// Where packets go.
    target: SocketAddr,
    /// Decides the fate of packets; at random if not given, and told on stderr.
    #[arg(long)]
    seed: Option<Seed>,
}

pub async fn run(arguments: ProxyArguments) -> Result<()> {
    let proxy = FaultProxy::start(arguments.target, arguments.seed.unwrap_or_else(Seed::announced)).await?;
    say(&format!("proxy on {}", proxy.address()));
    while let Some(line) = spawn_blocking(next_line).await.context("wait for stdin")? {
        let answer = obey(&proxy, &line.context("read stdin")?).await;
        say(&answer.unwrap_or_else(|error| format!("error: {error:#}")));
    }
    Ok(())
}

fn next_line() -> Option<std::io::Result<String>> {
    std::io::stdin().lock().lines().next()
}

#[expect(clippy::print_stdout, reason = "answers are this program's output")]
fn say(line: &str) {
    println!("{line}");
}

async fn obey(proxy: &FaultProxy, line: &str) -> Result<String> {
    match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["rebind"] => proxy.rebind().await?,
        ["cut", "both"] => proxy.cut(Cut::Both).await?,
        ["cut", "to-target"] => proxy.cut(Cut::ToTarget).await?,
        ["cut", "to-client"] => proxy.cut(Cut::ToClient).await?,
        ["heal"] => proxy.heal().await?,
        ["counts"] => return Ok(format!("{:?}", proxy.counts().await?)),
        _ => bail!("{line:?} is no command: rebind, cut both|to-target|to-client, heal, counts"),
    }
    Ok("done".to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn a_command_is_done_or_an_error_that_names_those_there_are() -> Result<()> {
        let proxy = FaultProxy::start((Ipv4Addr::LOCALHOST, 9).into(), Seed(1)).await?;
        for command in ["rebind", "cut both", " cut  to-target", "cut to-client", "heal"] {
            assert_eq!(obey(&proxy, command).await?, "done");
        }
        assert!(obey(&proxy, "counts").await?.contains("dropped: 0"));
        for wrong in ["", "cut", "cut none", "rebind now"] {
            assert!(obey(&proxy, wrong).await.is_err_and(|error| error.to_string().contains("heal")), "{wrong}");
        }
        Ok(())
    }
}
