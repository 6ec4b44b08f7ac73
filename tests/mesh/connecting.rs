//! Who dials whom, which of two connections stays, and what becomes of one that breaks.

use crate::net::*;

#[tokio::test]
async fn three_nodes_elect_a_leader_and_another_when_it_goes() {
    let mut net = Net::cluster([1, 2, 3], |builder| builder);
    net.until("a leader", |net| net.leader().is_some()).await;
    let first = net.leader().unwrap();
    net.0.retain(|site| site.id() != first);
    net.until("another leader", |net| net.leader().is_some())
        .await;
    for site in &net.0 {
        let lost: Vec<_> = site.errors.iter().filter_map(MeshError::lost).collect();
        assert_eq!(lost, [&first], "once for each loss");
    }
}

#[tokio::test]
async fn a_peer_that_was_killed_is_dialled_again_when_it_is_back() {
    let mut net = Net::of([builder(1), builder(2)]);
    for round in 0..3 {
        net.until("a connection", Net::all_connected).await;
        net.pass(0, 1, round).await;
        net.pass(1, 0, round).await;
        let killed = net.0.pop().unwrap();
        let addr = killed.addr();
        drop(killed);
        net.until("the loss", |net| !net.0[0].is_connected(2)).await;
        let unreachable = net.0[0].mesh.stats().unreachable;
        net.until("dials", |net| {
            net.0[0].mesh.stats().unreachable > unreachable + 1
        })
        .await;
        // It waits for the peer to be back; a newer one takes the place of an older one.
        net.0[0].send(2, 100);
        net.0[0].send(2, 101);
        // Another test's connection may have the port for a moment. It does not know where the other one is.
        let deadline = Instant::now() + PATIENCE;
        let back = loop {
            match builder(2).listen(addr).accept_strangers(1).build() {
                Ok(mesh) => break mesh,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        net.0.push(Site::new(back));
        net.until("what waited", |net| net.0[1].heard_round(1, 101))
            .await;
        assert!(!net.0[1].heard_round(1, 100));
        net.acquaint();
    }
    let stats = net.0[0].mesh.stats();
    assert_eq!((stats.reconnected, stats.lost), (3, 3), "{stats:?}");
    assert_eq!(net.0[0].errors.len(), 3, "{:?}", net.0[0].errors);
}

#[tokio::test]
async fn of_crossing_dials_both_sides_keep_the_same_connection() {
    let mut crossed = 0;
    for round in 0..30 {
        let mut net = Net::of([builder(1), builder(2)]);
        // Both have dialled before either has accepted.
        net.until("dials", |net| {
            net.0.iter().all(|site| site.mesh.stats().dialled > 0)
        })
        .await;
        // The smaller id gives no dial up, so it knows what has become of every connection.
        let settled = |site: &Site| {
            let stats = site.mesh.stats();
            stats.dialled + stats.accepted == stats.connected + stats.refused()
        };
        net.until("one connection", |net| {
            net.all_connected() && settled(&net.0[0])
        })
        .await;
        for message in 0..5 {
            net.pass(0, 1, message).await;
            net.pass(1, 0, message).await;
        }
        for site in &net.0 {
            let stats = site.mesh.stats();
            assert_eq!(
                stats.connected - stats.replaced - stats.lost,
                1,
                "round {round}: {stats:?}"
            );
            assert!(stats.dialled <= 2, "{stats:?}");
            crossed += stats.duplicates + stats.replaced + stats.broken_off;
        }
    }
    assert!(crossed > 0, "dials crossed");
}

#[tokio::test]
async fn a_peer_by_hand_is_replaced_by_itself_but_not_by_a_crossing_dial() {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut net = Net::of([builder(1).peer(2, addr).handshake_timeout(PATIENCE)]);
    let target = net.0[0].addr();
    let mut dialled = net.during("the dial", fake_dialled(2, &listener)).await;
    net.until("the connection", |net| net.0[0].is_connected(2))
        .await;
    // The greater id dials at the same time: its connection goes.
    let mut crossing = net.during("a handshake", fake(2, target)).await;
    assert!(net.during("the refusal", is_closed(&mut crossing)).await);
    assert_eq!(net.0[0].mesh.stats().duplicates, 1);
    // The first one lives.
    dialled.send(ping(7)).await.unwrap();
    net.until("a message", |net| net.0[0].heard_round(2, 7))
        .await;
    assert!(net.0[0].errors.is_empty());
}

#[tokio::test]
async fn a_restarted_peer_replaces_a_connection_that_does_not_know_it_is_dead() {
    // Dialled by the smaller id, and by the greater.
    for (here, there) in [(1, 2), (2, 1)] {
        let listener = TcpListener::bind(any_port()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut net = Net::of([builder(here).peer(there, addr).handshake_timeout(SHORT)]);
        let target = net.0[0].addr();
        // Never says that it is gone.
        let mut dead = net.during("the dial", fake_dialled(there, &listener)).await;
        let mut tries = 0;
        let mut alive = loop {
            tries += 1;
            let mut alive = net.during("a handshake", fake(there, target)).await;
            alive.send(ping(tries)).await.unwrap();
            let heard = net.during("an answer", async {
                let closed = timeout(SHORT / 10, alive.next()).await;
                closed.is_err()
            });
            if heard.await {
                break alive;
            }
        };
        assert!(there == 2 || tries == 1, "{tries}");
        assert!(
            net.during("the end of the old one", is_closed(&mut dead))
                .await
        );
        // And that one by the next, at once: it was dialled by the same node.
        let mut next = net.during("a handshake", fake(there, target)).await;
        assert!(
            net.during("the end of the second", is_closed(&mut alive))
                .await
        );
        next.send(ping(1000)).await.unwrap();
        net.until("a message", |net| net.0[0].heard_round(there, 1000))
            .await;
        assert!(
            net.0[0].errors.is_empty(),
            "a replaced connection is not lost"
        );
        assert_eq!(net.0[0].mesh.stats().replaced, 2);
    }
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_dialled_ever_more_seldom() {
    let ms = Duration::from_millis;
    let mut net = Net::of([builder(1).peer(2, "127.0.0.1:1").backoff(ms(40), ms(160))]);
    let began = Instant::now();
    net.until("dials", |net| net.0[0].mesh.stats().unreachable == 6)
        .await;
    let least = (ms(40) + ms(80) + ms(160) * 3) / 2;
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    assert_eq!(net.0[0].mesh.stats().dialled, 6);
    assert!(net.0[0].errors.is_empty());
}
