//! `anyport register`.

use serde_json::json;

use super::args::Common;
use super::exit::{Exit, Failure};
use super::{output, words};
use crate::{Identities, LocalIdentity};

pub(super) async fn run(common: &Common) -> Result<Exit, Failure> {
    let identities = Identities::of(common.home());
    let was_there = identities.find(&common.client)?.is_some();
    // Registers, or shows that the cluster still takes the identity.
    let client = super::connect(super::client_options(common)).await?;
    let is_relaxed = client.is_relaxed();
    super::close(client).await;
    let Some(identity) = identities.find(&common.client)? else {
        return Err(Failure::new(Exit::Failed, "the identity was removed just after it was registered", ""));
    };
    let LocalIdentity { name, client, cluster, folder } = identity;
    let home = folder.display().to_string();
    if common.json {
        let durability = words::durability(is_relaxed);
        let facts = json!({
            "name": name, "client": client.to_string(), "cluster": cluster.to_string(), "home": home,
            "new": !was_there, "durability": durability,
        });
        output::print_json(&facts).await?;
    } else {
        let done = if was_there { "is registered already" } else { "is registered now" };
        let rows = [["client", &client.to_string()], ["cluster", &cluster.to_string()], ["home", &home]];
        let facts = words::table(&rows.map(|row| row.map(str::to_owned)));
        output::print(format!("{name:?} {done}\n{facts}")).await?;
    }
    Ok(Exit::Done)
}
