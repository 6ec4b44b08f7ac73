//! A mesh that is closed.

use crate::net::*;

#[tokio::test]
async fn closed_it_sends_what_waits_and_ends() {
    let mut net = Net::of([builder(1), builder(2)]);
    net.until("a connection", Net::all_connected).await;
    let mut closing = net.0.remove(0);
    // Unread at the end: must not take back what is sent last.
    net.0[0].send(1, 8);
    let last = Pin::new(&mut closing.mesh).start_send((2, ping(9)));
    assert_eq!(last, Ok(()));
    let closed = net.during("closing", closing.mesh.close()).await;
    assert_eq!(closed, Ok(()));
    assert!(closing.mesh.next().await.is_none());
    assert!(closing.mesh.next().await.is_none());
    net.until("the last message", |net| net.0[0].heard_round(1, 9))
        .await;
    net.until("the loss", |net| !net.0[0].errors.is_empty())
        .await;
    assert!(matches!(
        net.0[0].errors[..],
        [MeshError::Closed { peer: 1 }]
    ));
    closing.send(2, 10);
    assert_eq!(closing.mesh.stats().unroutable, 1);
    assert_eq!(closing.mesh.close().await, Ok(()));
}

#[tokio::test]
async fn closing_takes_back_nothing_that_was_sent() {
    let mut net = Net::of([builder(1).handshake_timeout(PATIENCE)]);
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    let addr = net.0[0].addr();
    let mut slow = net.during("a handshake", fake(2, addr)).await;
    net.until("a connection", |net| net.0[0].is_connected(2))
        .await;
    for round in 0..100_000 {
        net.0[0].send(2, round);
        if round % 64 == 0 {
            tokio::task::coop::consume_budget().await;
        }
    }
    // Never read: the mesh is not polled any more.
    slow.send(ping(0)).await.unwrap();
    let read = async {
        let (mut last, mut ends) = (None, Ok(()));
        while let Some(read) = slow.next().await {
            match read {
                Ok(message) => last = Some(message),
                Err(error) => ends = Err(error),
            }
        }
        drop(slow);
        (last, ends)
    };
    let both = async { tokio::join!(net.0[0].mesh.close(), read) };
    let (closed, (last, ends)) = timeout(PATIENCE, both).await.unwrap();
    assert_eq!(closed, Ok(()));
    assert!(ends.is_ok(), "{ends:?}");
    assert_eq!(last, Some(ping(99_999)));
}

#[tokio::test]
async fn a_peer_that_never_reads_holds_up_closing_for_a_while_only() {
    let mut net = Net::of([builder(1).handshake_timeout(SHORT)]);
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    let addr = net.0[0].addr();
    let mute = net.during("a handshake", fake(2, addr)).await;
    net.until("a connection", |net| net.0[0].is_connected(2))
        .await;
    for round in 0..400_000 {
        net.0[0].send(2, round);
    }
    let closed = timeout(PATIENCE, net.0[0].mesh.close()).await;
    assert_eq!(closed, Ok(Ok(())));
    drop(mute);
}
