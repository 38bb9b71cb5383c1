//! `anyport identity export` and `import`.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use super::args::{Common, Export, IdentityVerb, Import};
use super::exit::{Exit, Failure};
use super::tell::{note, say};
use super::{input, output};
use crate::{ClientCode, Error, ExportedIdentity, Identities, ImportedIdentity};

/// No identity is nearly so long.
const EXPORT_BYTES_MAX: u64 = 16 << 20;

pub(super) async fn run(common: &Common, verb: IdentityVerb) -> Result<Exit, Failure> {
    match verb {
        IdentityVerb::Export(options) => export(common, options).await,
        IdentityVerb::Import(options) => import(common, options).await,
    }
}

async fn export(common: &Common, options: Export) -> Result<Exit, Failure> {
    let identities = Identities::of(common.home());
    let exported = identities.export(&common.client).map_err(|error| super::not_registered(common, error))?;
    match options.out.as_deref().filter(|out| *out != Path::new("-")) {
        None if common.json => output::print(one_line(&exported.json)?).await?,
        None => output::print(exported.json).await?,
        Some(out) => {
            write_new(out, &exported.json)?;
            tell_exported(common, &exported, out).await?;
        }
    }
    let text = "keep this secret: whoever has it is this client. Use one device at a time: the one that opens its session last \
                takes over from the other";
    note("warning", text, json!({}));
    Ok(Exit::Done)
}

async fn tell_exported(common: &Common, exported: &ExportedIdentity, out: &Path) -> Result<(), Failure> {
    let (client, file) = (exported.client.to_string(), out.display().to_string());
    if common.json {
        let cluster = exported.cluster.to_string();
        return output::print_json(&json!({ "client": client, "cluster": cluster, "file": file })).await;
    }
    output::print(format!("client {client} is in {file}\n")).await?;
    say("next: on the other device, anyport identity import FILE");
    Ok(())
}

/// The same object as one line.
fn one_line(json: &[u8]) -> Result<Vec<u8>, Failure> {
    let value: serde_json::Value = serde_json::from_slice(json)
        .map_err(|error| Failure::new(Exit::Failed, format!("read what was just exported: {error}"), ""))?;
    Ok(format!("{value}\n").into_bytes())
}

/// Never over a file that is there: its permissions may be wider than a secret's.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| {
        let failure = Failure::of(ClientCode::Unwritable, format!("{}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::AlreadyExists => failure.with_next("remove that file, or name another by --out"),
            _ => failure,
        }
    })
}

async fn import(common: &Common, options: Import) -> Result<Exit, Failure> {
    let (identities, name) = (Identities::of(common.home()), common.client.clone());
    // Reading stdin and waiting for a lock both block.
    let work = move || import_file(&identities, &name, &options);
    let imported = tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Error::Closed.into()))?;
    tell_imported(common, &imported).await?;
    if let Some(replaced) = imported.replaced {
        note("replaced", &format!("client {replaced} had this name before"), json!({ "client": replaced.to_string() }));
    }
    note("warning", "stop using the device it came from: the one that opens its session last takes over", json!({}));
    Ok(Exit::Done)
}

fn import_file(identities: &Identities, name: &str, options: &Import) -> Result<ImportedIdentity, Failure> {
    let mut exported = Vec::new();
    let path = &options.file;
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(input::open(path).map_err(|failure| failure.with_next("name the file that was exported"))?)
    };
    let read = source.take(EXPORT_BYTES_MAX).read_to_end(&mut exported);
    read.map_err(|error| input::unreadable(path, &error))?;
    Ok(identities.import(name, &exported, options.force)?)
}

async fn tell_imported(common: &Common, imported: &ImportedIdentity) -> Result<(), Failure> {
    let identity = &imported.identity;
    let (client, cluster) = (identity.client.to_string(), identity.cluster.to_string());
    let trusted = imported.trusted.as_ref().map(|path| path.display().to_string());
    if common.json {
        let home = identity.folder.display().to_string();
        let facts = json!({
            "name": identity.name, "client": client, "cluster": cluster, "home": home, "trusted": trusted,
            "replaced": imported.replaced.map(|client| client.to_string()),
        });
        return output::print_json(&facts).await;
    }
    output::print(format!("{:?} is client {client} of cluster {cluster} now\n", identity.name)).await?;
    if let Some(trusted) = trusted {
        say(&format!("the certificate authorities that came with it are trusted from now on: {trusted}"));
    }
    say(&format!("next: anyport status --client {}", identity.name));
    Ok(())
}
