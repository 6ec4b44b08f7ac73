//! The commands of a client: one question, and what came of it.

use std::io::{self, Write};
use std::time::Duration;

use axum::http::StatusCode;

use tokio::time::timeout;

use super::Failure;
use super::args::{Delete, Get, Nodes, Put};
use super::client::{Answer, Ask, Cluster};

/// How long the end of a session may take.
const PARTING: Duration = Duration::from_millis(500);

pub(crate) async fn put(put: Put) -> Result<(), Failure> {
    let condition = put.condition();
    let ask = Ask::put(&put.key, put.value).only_if(condition);
    let answer = once(put.nodes, ask).await?;
    done(&answer)?;
    println!("written by entry {}", answer.json()["index"]);
    Ok(())
}

pub(crate) async fn get(get: Get) -> Result<(), Failure> {
    let ask = if get.stale {
        Ask::stale(&get.key)
    } else {
        Ask::get(&get.key)
    };
    let answer = get.nodes.cluster().ask(&ask).await?;
    done(&answer)?;
    let mut out = io::stdout().lock();
    out.write_all(&answer.body)?;
    out.write_all(b"\n")?;
    Ok(())
}

pub(crate) async fn delete(delete: Delete) -> Result<(), Failure> {
    let ask = Ask::delete(&delete.key).only_if(delete.condition());
    let answer = once(delete.nodes, ask).await?;
    done(&answer)?;
    let body = answer.json();
    let existed = body["existed"] == true;
    let what = if existed { "removed" } else { "not there" };
    println!("{what}: entry {}", body["index"]);
    Ok(())
}

/// One line for each node. At least one must answer.
pub(crate) async fn status(nodes: Nodes) -> Result<(), Failure> {
    let cluster: Cluster = nodes.cluster();
    let mut someone = false;
    for node in cluster.nodes() {
        match cluster.ask_only(node, &Ask::status()).await {
            Ok(answer) => {
                someone |= answer.status == StatusCode::OK;
                println!(
                    "{node} {}",
                    String::from_utf8_lossy(&answer.body).trim_end()
                );
            }
            Err(error) => println!("{node} {error}"),
        }
    }
    if !someone {
        return Err("no node has answered".into());
    }
    Ok(())
}

/// Asks for a change by a session of its own: so it can be asked for again when an answer is lost.
async fn once(nodes: Nodes, ask: Ask) -> Result<Answer, Failure> {
    let mut cluster = nodes.cluster();
    let mut session = cluster.session().await?;
    let answer = cluster.ask(&session.stamp(ask)).await?;
    // If nobody hears it, it goes when there are too many.
    let _ = timeout(PARTING, cluster.close(session)).await;
    Ok(answer)
}

fn done(answer: &Answer) -> Result<(), Failure> {
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answer.body);
    Err(format!("{} says: {}", answer.from, body.trim_end()).into())
}
