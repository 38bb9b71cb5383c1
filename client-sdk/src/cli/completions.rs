//! `anyport completions`.

use clap::CommandFactory;
use serde_json::json;

use super::args::{Arguments, Common, Completions};
use super::exit::{Exit, Failure};
use super::output;

pub(super) async fn run(common: &Common, options: Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "anyport", &mut script);
    if common.json {
        let script = String::from_utf8_lossy(&script);
        output::print_json(&json!({ "shell": options.shell.to_string(), "script": script })).await?;
    } else {
        output::print(script).await?;
    }
    Ok(Exit::Done)
}
