//! A disk that fills up, and has space again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::log::{Content, Result, names, open};
use crate::table;

const MIB: usize = 1 << 20;

/// Fills a small disk, makes space again, goes on: in a process of its own, on a disk of its own.
pub fn fill(name: &str, disk: &Path) -> Result<()> {
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 24 * MIB])?;
    let folder = disk.join("log");
    let mut log = open(name, &folder)?;
    let mut acknowledged = Content {
        first: 1,
        ..Content::default()
    };
    let mut said = String::new();
    let mut append = |log: &mut dyn crate::log::Log| -> Result<()> {
        let next = acknowledged.entries.len() as u64 + 1;
        let entries: Vec<Vec<u8>> = (next..next + 64)
            .map(|index| (0..1024).map(|at| (index * 17 + at) as u8).collect())
            .collect();
        log.append(next, &entries, next)?;
        acknowledged.entries.extend(entries);
        acknowledged.hard = next;
        Ok(())
    };
    for _ in 0..1000 {
        if let Err(error) = append(&mut *log) {
            said = error.to_string();
            break;
        }
    }
    let again = append(&mut *log).is_err();
    fs::remove_file(ballast)?;
    let mut recovered = if append(&mut *log).is_ok() {
        "in place"
    } else {
        ""
    };
    drop(log);
    let mut log = open(name, &folder)?;
    if recovered.is_empty() && append(&mut *log).is_ok() {
        recovered = "opened again";
    }
    let found = log.read()?;
    let kept = if found == acknowledged {
        "all kept".to_owned()
    } else {
        format!(
            "WRONG: {} of {}",
            found.entries.len(),
            acknowledged.entries.len()
        )
    };
    let said = if said.is_empty() || !again {
        "NO ERROR".to_owned()
    } else {
        said
    };
    println!("{}|{recovered}|{kept}", said.replace(['\n', '|'], " "));
    Ok(())
}

pub fn run(folder: &Path) -> Result<()> {
    let disk = folder.join("disk");
    fs::create_dir_all(&disk)?;
    let mut rows = Vec::new();
    for name in names() {
        let script = r#"mount -t tmpfs -o size=40m none "$0" && exec "$1" full-child "$2" "$0""#;
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
            .arg(&disk)
            .arg(std::env::current_exe()?)
            .arg(name)
            .stderr(Stdio::piped())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let cells = if output.status.success() {
            said.split('|').map(str::to_owned).collect()
        } else {
            let complaint = String::from_utf8_lossy(&output.stderr).replace(['\n', '|'], " ");
            let complaint: String = complaint.chars().take(200).collect();
            vec![
                format!("{}: {complaint}", output.status),
                "no".into(),
                String::new(),
            ]
        };
        rows.push((name.to_owned(), cells));
    }
    let columns = ["says", "goes on", "what was acknowledged"].map(String::from);
    table::print("A disk of 40 MiB that fills up", &columns, &rows);
    Ok(())
}
