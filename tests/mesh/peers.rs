//! Peers that come and go while the mesh runs.

use crate::net::*;

#[tokio::test]
async fn peers_come_and_go_at_run_time() {
    let mut net = Net(vec![1, 2]
        .into_iter()
        .map(|id| Site::new(builder(id).build().unwrap()))
        .collect());
    let [one, two] = [0, 1].map(|site| net.0[site].addr());
    net.0[0].send(2, 0);
    assert_eq!(net.0[0].mesh.stats().unroutable, 1);
    net.0[0].mesh.insert_peer(1, one); // itself
    assert_eq!(net.0[0].mesh.peers().count(), 0);

    // A wrong address first.
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    net.0[1].mesh.insert_peer(1, "localhost:1");
    net.until("a dial", |net| net.0[0].mesh.stats().unreachable > 1)
        .await;
    net.0[0]
        .mesh
        .insert_peer(2, format!("localhost:{}", two.port()));
    net.until("a connection", Net::all_connected).await;
    net.pass(0, 1, 1).await;
    // A connection stays, whatever becomes of the address.
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    net.pass(1, 0, 2).await;
    assert!(net.0.iter().all(|site| site.errors.is_empty()));

    assert!(net.0[0].mesh.remove_peer(&2));
    assert!(!net.0[0].mesh.remove_peer(&2));
    net.until("the loss", |net| !net.0[1].is_connected(1)).await;
    net.0[1].mesh.insert_peer(1, one);
    net.until("a stranger", |net| net.0[0].mesh.stats().strangers > 0)
        .await;
    net.0[0].mesh.insert_peer(2, two);
    net.until("a connection", Net::all_connected).await;
    net.pass(0, 1, 3).await;
    // Another node at a peer's address.
    net.0[0].mesh.insert_peer(7, two);
    net.until("the other one", |net| net.0[0].mesh.stats().wrong_id > 0)
        .await;
}

#[tokio::test]
async fn a_mesh_that_is_inserted_a_peer_wakes_its_task() {
    let (addr, hello) = (any_port(), Hello::new(CLUSTER, 1_u64));
    let listener = TcpListener::bind(addr).await.unwrap();
    let mut mesh = Mesh::builder(hello).build().unwrap();
    let (mut count, mut peer) = (0, Some(listener.local_addr().unwrap()));
    let mut inserted = Box::pin(async { fake_dialled(2, &listener).await });
    let met = poll_fn(|cx| {
        count += 1;
        let _ = mesh.poll_next_unpin(cx);
        if let Some(peer) = peer.take() {
            mesh.insert_peer(2, peer);
        }
        inserted.as_mut().poll(cx)
    });
    timeout(PATIENCE, met).await.unwrap();
    assert!(count > 1);
}

#[tokio::test]
async fn dropped_at_any_point_it_leaves_the_other_one_well() {
    let mut net = Net::of([builder(1)]);
    for polls in 0..25 {
        let other = builder(2).peer(1, net.0[0].addr()).build().unwrap();
        net.0[0].mesh.insert_peer(2, other.local_addr().unwrap());
        net.0.push(Site::new(other));
        let mut left = polls;
        let some = poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            left -= 1;
            for site in &mut net.0 {
                site.send(3 - site.id(), left);
                let _ = site.poll(cx);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        timeout(PATIENCE, some).await.unwrap();
        net.0.truncate(1);
        net.until("the loss", |net| !net.0[0].is_connected(2)).await;
    }
    net.0.push(Site::new(builder(2).build().unwrap()));
    net.acquaint();
    net.until("a connection", Net::all_connected).await;
    net.0[1].heard.clear();
    net.pass(0, 1, 1000).await;
    net.pass(1, 0, 1000).await;
}

#[tokio::test]
async fn the_peers_are_set_at_once_and_who_stays_stays_connected() {
    let mut net = Net::of([1, 2, 3].map(builder));
    net.until("connections", Net::all_connected).await;
    let [one, two, three] = [0, 1, 2].map(|site| net.0[site].addr());
    let ids = |mesh: &Mesh<u64>| mesh.peers().map(|(id, _)| *id).collect::<Vec<_>>();

    // The same again, with itself: nothing happens.
    let dialled = net.0[0].mesh.stats().dialled;
    net.0[0].mesh.set_peers([(1, one), (2, two), (3, three)]);
    net.pass(0, 1, 1).await;
    net.pass(2, 0, 2).await;
    assert_eq!(ids(&net.0[0].mesh), [2, 3]);
    assert_eq!(net.0[0].mesh.stats().dialled, dialled);

    // One goes, one comes, and one is elsewhere from now on; the last that is said of it counts.
    let text = |addr: SocketAddr| addr.to_string();
    let new = [
        (4, "127.0.0.1:1".into()),
        (2, text(three)),
        (2, "127.0.0.1:1".into()),
    ];
    net.0[0].mesh.set_peers(new);
    assert_eq!(ids(&net.0[0].mesh), [2, 4]);
    assert!(net.0[0].is_connected(2) && !net.0[0].is_connected(3));
    net.until("the loss", |net| !net.0[2].is_connected(1)).await;
    net.until("dials", |net| net.0[0].mesh.stats().unreachable > 1)
        .await;
    net.pass(1, 0, 3).await;
    assert!(net.0[0].errors.is_empty() && net.0[1].errors.is_empty());

    // A dial that is under way goes on, and its pauses go on growing.
    let pauses = net.0[0].mesh.stats().dialled;
    for _ in 0..100 {
        net.0[0]
            .mesh
            .set_peers([(2, "127.0.0.1:1"), (4, "127.0.0.1:1")]);
        net.pass(1, 0, 4).await;
    }
    let more = net.0[0].mesh.stats().dialled - pauses;
    assert!(more < 50, "{more} dials");

    let mut closing = net.0.remove(0);
    net.during("closing", closing.mesh.close()).await.unwrap();
    closing.mesh.set_peers([(2, two)]);
    assert_eq!(ids(&closing.mesh).len(), 0);
}
