//! Unix sockets: the same mesh, and the file that the listener makes.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use streamraft::PeerAddr;

use crate::net::*;

/// A folder of a test's own, short enough for a socket's path.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("streamraft-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, id: u64) -> PathBuf {
        self.0.join(format!("{id}.sock"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn refusal(path: &Path) -> String {
    let error = builder(1).listen(path).build().unwrap_err();
    assert!(
        matches!(&error, MeshBuildError::Bind { address, .. } if *address == path.into()),
        "{error:?}"
    );
    error.to_string()
}

#[tokio::test]
async fn three_nodes_elect_over_unix_sockets_and_another_comes_back() {
    let folder = Folder::new("elect");
    let mut net = Net::cluster([1, 2, 3], |builder| {
        let id = builder.clone().build().unwrap().hello().node_id;
        builder.listen(format!("unix:{}", folder.path(id).display()))
    });
    net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    })
    .await;
    for site in &net.0 {
        let at: PeerAddr = folder.path(site.id()).into();
        assert_eq!(site.mesh.listening_at(), Some(&at));
        assert_eq!(site.mesh.local_addr(), None);
    }
    // It is down, and its file is gone; then it is back at the same path.
    let back = net.0.pop().unwrap();
    let id = back.id();
    drop(back);
    assert!(!folder.path(id).exists());
    net.until("dials", |net| net.0[0].mesh.stats().unreachable > 1)
        .await;
    let mesh = builder(id).listen(folder.path(id)).build().unwrap();
    net.0.push(Site::new(mesh));
    net.acquaint();
    net.until("a connection", Net::all_connected).await;
}

#[test]
fn a_socket_that_a_dead_process_has_left_is_replaced() {
    let folder = Folder::new("stale");
    let path = folder.path(1);
    // A listener that does not remove its file, as of a process that was killed.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let mesh = builder(1).listen(&*path).build().unwrap();
    let refused = refusal(&path);
    assert!(refused.contains("another process answers"), "{refused}");
    drop(mesh);
    assert!(!path.exists());
}

#[test]
fn a_socket_on_which_somebody_answers_is_left_alone_and_does_not_notice() {
    let folder = Folder::new("live");
    let path = folder.path(1);
    let live = UnixListener::bind(&path).unwrap();
    live.set_nonblocking(true).unwrap();
    let refused = refusal(&path);
    assert!(refused.contains("another process answers"), "{refused}");
    assert!(live.accept().is_err(), "nobody has come");
    // One that is full does not hold up anything.
    let mut waiting = Vec::new();
    let flood = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    flood.block_on(async {
        while let Ok(Ok(socket)) = timeout(SHORT, tokio::net::UnixStream::connect(&path)).await {
            waiting.push(socket);
        }
    });
    let refused = refusal(&path);
    assert!(refused.contains("another process answers"), "{refused}");
}

#[test]
fn a_file_that_is_no_socket_is_never_removed() {
    let folder = Folder::new("file");
    let path = folder.path(1);
    std::fs::write(&path, "precious").unwrap();
    let refused = refusal(&path);
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    // Nor is a link, whatever it leads to.
    let (link, socket) = (folder.path(2), folder.path(3));
    drop(UnixListener::bind(&socket).unwrap());
    std::os::unix::fs::symlink(&socket, &link).unwrap();
    assert!(refusal(&link).contains("no socket"));
    assert!(link.exists() && socket.exists());
    // Nor is there a file in a folder that does not exist.
    refusal(&folder.0.join("none").join("1.sock"));
}

#[tokio::test]
async fn the_file_goes_when_the_mesh_closes_unless_it_is_somebody_elses_by_then() {
    let folder = Folder::new("close");
    let path = folder.path(1);
    let mut mesh = builder(1).listen(&*path).build().unwrap();
    assert!(path.exists());
    mesh.close().await.unwrap();
    assert!(!path.exists() && mesh.listening_at().is_none());
    let mesh = builder(1).listen(&*path).build().unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(mesh);
    assert!(path.exists(), "it is the other one's");
}
