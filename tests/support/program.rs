//! The program of an example. `cargo test` has built it; `cargo test --test ..` has not, or not anew.

use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::SystemTime;

/// Where the program of this example is, as new as its sources.
pub(crate) fn of_example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    // <target>/<profile>/deps/<test>-<hash>
    let mut above = test.ancestors().skip(2);
    let (Some(profile), Some(target)) = (above.next(), above.next()) else {
        panic!("{} is not where cargo puts tests", test.display());
    };
    let program = profile.join("examples").join(format!("{name}{EXE_SUFFIX}"));
    if built_at(&program).is_none_or(|built| built < newest_source()) {
        build(name, profile, target);
    }
    assert!(
        program.is_file(),
        "{} is missing: build it by `cargo build --example {name}` with the options of this test",
        program.display()
    );
    program
}

fn build(name: &str, profile: &Path, target: &Path) {
    let profile = profile.file_name().and_then(|name| name.to_str());
    let profile = profile.map_or("dev", |name| if name == "debug" { "dev" } else { name });
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package would make build scripts run anew that ask for the same of theirs.
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&variable);
        }
    }
    let status = cargo
        .args(["build", "--quiet", "--example", name, "--profile", profile])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(
        status.as_ref().is_ok_and(ExitStatus::success),
        "`cargo build --example {name}` has failed: {status:?}"
    );
}

fn built_at(file: &Path) -> Option<SystemTime> {
    file.metadata().and_then(|data| data.modified()).ok()
}

/// When the newest of the files that the program is made of was written.
fn newest_source() -> SystemTime {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut open: Vec<PathBuf> = ["src", "examples", "Cargo.toml"]
        .map(|name| root.join(name))
        .into();
    while let Some(path) = open.pop() {
        if let Ok(inside) = path.read_dir() {
            open.extend(inside.flatten().map(|entry| entry.path()));
        } else if let Some(written) = built_at(&path) {
            newest = newest.max(written);
        }
    }
    newest
}
