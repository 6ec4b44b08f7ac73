//! Where members are that run on this machine, side by side.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use super::Failure;
use super::crew::{Starter, file_in};

/// Starts members on free ports of this machine, with their votes and their file in this folder.
pub(crate) fn on_this_machine(
    program: &Path,
    folder: &Path,
    ids: &[&str],
    options: &[&str],
) -> Result<Starter, Failure> {
    // All at once, or the second would get the port of the first.
    let listeners = ids.iter().map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let mut addresses = BTreeMap::new();
    for (id, listener) in ids.iter().zip(&listeners) {
        addresses.insert((*id).to_owned(), listener.local_addr()?.to_string());
    }
    let (program, folder) = (program.to_owned(), folder.to_owned());
    let options: Vec<_> = options.iter().map(ToString::to_string).collect();
    Ok(Box::new(move |id, life| {
        let mut command = Command::new(&program);
        command.args(["--id", id]).args(&options);
        for (peer, address) in &addresses {
            if peer == id {
                command.args(["--listen", address]);
            } else {
                command.args(["--peer", &format!("{peer}={address}")]);
            }
        }
        command.args((life == 1).then_some("--bootstrap"));
        command.arg("--data").arg(&folder);
        command.arg("--file").arg(file_in(&folder));
        command
    }))
}
