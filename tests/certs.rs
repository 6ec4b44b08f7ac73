//! The example that makes certificates: what it writes is what a node reads, and nothing is overwritten unasked.
#![cfg(feature = "tls")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use streamraft::codec::Hello;
use streamraft::{Mesh, MeshTls, NodeId};

fn certs(out: &Path, args: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo has told this test about its package would make a build script of ring run again.
    for (key, _) in std::env::vars() {
        if key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(key);
        }
    }
    cargo
        .args(["run", "--quiet", "--example", "certs", "--", "--out"])
        .arg(out)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap()
}

fn refusal(out: &Path, args: &[&str]) -> String {
    let output = certs(out, args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn load(out: &Path, id: &str) -> MeshTls {
    let [ca, certificate, key] =
        ["ca.pem", &format!("{id}.pem"), &format!("{id}.key")].map(|name| out.join(name));
    MeshTls::from_pem_files(ca, certificate, key).unwrap()
}

/// The content of every file.
fn contents(out: &Path) -> Vec<(PathBuf, String)> {
    let files = out.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut contents: Vec<_> = files
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    contents.sort();
    contents
}

#[test]
fn a_folder_of_certificates_is_made_and_not_overwritten() {
    let out = std::env::temp_dir().join(format!("streamraft-certs-{}", std::process::id()));
    let made = certs(&out, &["a", "b-2", "Straße", "a"]);
    assert!(made.status.success(), "{made:?}");
    let said = String::from_utf8(made.stdout).unwrap();
    assert!(
        said.contains("(DNS:a)") && said.contains("(URI:streamraft:Stra%C3%9Fe)"),
        "{said}"
    );
    let first = contents(&out);
    assert_eq!(first.len(), 1 + 2 * 3);
    for id in ["a", "b-2", "Straße"] {
        let id = NodeId::new(id).unwrap();
        let tls = load(&out, id.as_str());
        assert!(Mesh::builder(Hello::new("", id)).tls(tls).build().is_ok());
    }
    #[cfg(unix)]
    for (path, content) in &first {
        use std::os::unix::fs::PermissionsExt;
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        let is_key = content.contains("PRIVATE KEY");
        assert_eq!(mode & 0o077 == 0, is_key, "{}: {mode:o}", path.display());
    }

    assert!(refusal(&out, &["a", "c"]).contains("--force"));
    assert!(refusal(&out, &["../a"]).contains("another id"));
    assert!(refusal(&out, &["ca"]).contains("another id"));
    assert_eq!(contents(&out), first);

    let again = certs(&out, &["--force", "a", "b-2", "Straße"]);
    assert!(again.status.success(), "{again:?}");
    for ((path, before), (_, after)) in first.iter().zip(contents(&out)) {
        assert_ne!(*before, after, "{}", path.display());
    }
    load(&out, "a");
    std::fs::remove_dir_all(&out).unwrap();
}
