//! What cannot be built, and a listener that fails.

use crate::net::*;

#[test]
fn what_cannot_be_built_is_told() {
    let taken = std::net::TcpListener::bind(any_port()).unwrap();
    let addr = taken.local_addr().unwrap();
    let error = builder(1).listen(addr).build().unwrap_err();
    assert!(matches!(error, MeshBuildError::Bind { ref address, .. } if *address == addr.into()));
    assert!(error.to_string().contains(&addr.to_string()), "{error}");

    let error = Mesh::builder(Hello::new("x".repeat(2000), 1_u64))
        .build()
        .unwrap_err();
    assert!(matches!(error, MeshBuildError::Hello { .. }), "{error}");

    let (zero, long) = (Duration::ZERO, Duration::MAX);
    for (settings, name) in [
        (builder(1).max_pending(0), "max_pending"),
        (builder(1).handshake_timeout(zero), "handshake_timeout"),
        (builder(1).idle_timeout(long), "idle_timeout"),
        (builder(1).backoff(zero, SHORT), "backoff"),
        (builder(1).backoff(SHORT, long), "backoff"),
        (builder(1).backoff(SHORT * 2, SHORT), "backoff"),
    ] {
        let error = settings.build().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// The second half of the next test, in a process that may have few descriptors.
const FEW: &str = "STREAMRAFT_TEST_FEW_DESCRIPTORS";

#[test]
#[cfg(unix)]
fn without_descriptors_it_says_so_once_and_goes_on_later() {
    let Ok(_) = std::env::var(FEW) else {
        let itself = std::env::current_exe().unwrap();
        let status = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""])
            .arg(itself)
            .args([
                "--exact",
                "errors::without_descriptors_it_says_so_once_and_goes_on_later",
            ])
            .env(FEW, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut net = Net::of([builder(1)]);
    let addr = net.0[0].addr();
    runtime.block_on(async {
        net.until("the listener", |_| true).await;
        let mut sockets = Vec::new();
        while let Ok(socket) = std::net::TcpStream::connect(addr) {
            sockets.push(socket);
        }
        let began = Instant::now();
        net.until("the error", |net| !net.0[0].errors.is_empty())
            .await;
        let mut polls = 0;
        let spun = poll_fn(|cx| {
            polls += 1;
            let _ = net.0[0].poll(cx);
            Poll::<()>::Pending
        });
        assert!(timeout(Duration::from_secs(2), spun).await.is_err());
        assert!(polls < 100, "{polls} polls in two seconds");
        assert!(
            matches!(net.0[0].errors[..], [MeshError::Listen { ref address, .. }] if *address == Some(addr.into()))
        );
        // Nothing but the end of its pause can wake it.
        let accepted = net.0[0].mesh.stats().accepted;
        let dropped = std::thread::spawn(move || {
            std::thread::sleep(SHORT);
            drop(sockets);
        });
        net.until("more", |net| net.0[0].mesh.stats().accepted > accepted)
            .await;
        dropped.join().unwrap();
        assert!(began.elapsed() < PATIENCE);
        let mut socket = std::net::TcpStream::connect(addr).unwrap();
        socket.write_all(b"GET /").unwrap();
        let garbage = net.0[0].mesh.stats().garbage;
        net.until("garbage", |net| net.0[0].mesh.stats().garbage > garbage)
            .await;
        assert!(socket.read(&mut [0; 8]).is_ok() || socket.peer_addr().is_err() || garbage == 0);
    });
}
