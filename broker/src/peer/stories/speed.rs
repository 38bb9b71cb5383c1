//! What a question costs. No promise, but a figure to know: `cargo test ... peer::stories::speed -- --ignored --nocapture`.

use std::time::Instant;

use futures_util::future::join_all;

use super::super::Link;
use super::*;

/// Questions of so many groups at once, as heartbeats come.
const GROUPS: usize = 300;
const ROUNDS: usize = 50;

#[tokio::test]
#[ignore = "a measurement"]
async fn what_three_hundred_heartbeats_cost() {
    let (_, nodes) = cluster(2).await;
    for at_once in [1, GROUPS] {
        let (begun, used) = (Instant::now(), cpu_ms());
        for _ in 0..ROUNDS * GROUPS / at_once {
            let body = Bytes::from_static(&[0; 64]);
            let ask = |_| nodes[1].peers.call(BrokerId(0), Link::Raft, Call::Raft, body.clone());
            assert!(join_all((0..at_once).map(ask)).await.iter().all(Result::is_ok));
        }
        let (calls, secs) = (ROUNDS * GROUPS, begun.elapsed().as_secs_f64());
        let cpu_us = (cpu_ms() - used) * 1e3 / calls as f64;
        println!(
            "{at_once} at once: {:.0} calls/s, {cpu_us:.1} us of CPU each, both sides together",
            calls as f64 / secs
        );
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn what_an_idle_pair_costs() {
    let authority = Authority::new();
    let nodes: Vec<_> = (0..2).map(|own| Node::start(own, &authority.broker(), anywhere(), LinkProfile::LAN)).collect();
    for node in &nodes {
        node.know(&nodes.iter().map(Node::entry).collect());
    }
    nodes[0].reaches(&[1]).await;
    // Until the search for the path's MTU is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = cpu_ms();
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("two connections, nothing said: {:.2} ms of CPU a second, both sides together", (cpu_ms() - used) / 10.0);
    drop(nodes);
}

/// Of this process, in user and kernel.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("a name").split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("ticks");
    // In hundredths of a second, whatever the kernel's own tick is.
    (ticks(11) + ticks(12)) * 10.0
}
