//! Peers that read too slowly, or talk too much.

use crate::net::*;

#[test]
fn a_peer_that_never_reads_costs_its_slots_and_holds_up_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut net = runtime.block_on(async {
        let mut net = Net::of([builder(1), builder(2)]);
        net.0[0].mesh.insert_peer(3, "127.0.0.1:1");
        net.until("a connection", Net::all_connected).await;
        net
    });
    let target = net.0[0].addr();
    let mut mute = runtime.block_on(net.during("a handshake", fake(3, target)));
    let mut round = 0;
    let mut talk = |net: &mut Net, count| {
        allocation_counter::measure(|| {
            runtime.block_on(async {
                for _ in 0..count {
                    for _ in 0..200 {
                        round += 1;
                        net.0[0].send(3, round);
                    }
                    net.pass(0, 1, round).await;
                    net.pass(1, 0, round).await;
                }
            });
        })
    };
    // More than the sockets' buffers take: 16 MB.
    talk(&mut net, 3_000);
    let more = talk(&mut net, 200);
    assert!(
        more.bytes_max < 100_000 && more.bytes_current < 10_000,
        "{more:?}"
    );
    assert!(net.0[0].is_connected(3) && net.0[0].errors.is_empty());
    // What it has missed it has missed: the newest is kept.
    let read = async {
        let (mut count, mut last) = (0, None);
        while last != Some(ping(round)) {
            last = Some(mute.next().await.unwrap().unwrap());
            count += 1;
        }
        count
    };
    let count: u64 = runtime.block_on(net.during("the newest", read));
    assert!(count < round, "{count} of {round}: the sockets were full");
}

#[tokio::test]
async fn a_full_socket_that_drains_wakes_whoever_polls_the_stream() {
    // No timer but those that are a day away.
    let day = Duration::from_secs(24 * 60 * 60);
    let mut net = Net::of([builder(1).idle_timeout(day)]);
    net.0[0].mesh.insert_peer(3, "127.0.0.1:1");
    let target = net.0[0].addr();
    let mut slow = net.during("a handshake", fake(3, target)).await;
    net.until("the connection", |net| net.0[0].is_connected(3))
        .await;
    let (waker, wakes) = new_count_waker();
    let mut cx = Context::from_waker(&waker);
    assert!(net.0[0].poll(&mut cx).is_pending());
    for round in 0..600_000 {
        net.0[0].send(3, round); // by another task
        if round % 64 == 0 {
            tokio::task::coop::consume_budget().await;
        }
    }
    // Whatever is due by now, as the budget of tokio's tasks, has been seen to.
    tokio::task::yield_now().await;
    let before = wakes.get();
    let drained = async {
        while wakes.get() == before {
            assert!(slow.next().await.unwrap().is_ok());
        }
    };
    timeout(PATIENCE, drained).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_never_stops_talking_leaves_turns_to_the_others() {
    const STOCK: usize = 20_000;
    // The talker's turn comes first, and last.
    for talks in [1, 4] {
        let mut net = Net::of([builder(2), builder(3)]);
        net.until("a connection", Net::all_connected).await;
        net.0[0].mesh.insert_peer(talks, "127.0.0.1:1");
        let target = net.0[0].addr();
        let mut talker = net.during("a handshake", fake(talks, target)).await;
        net.until("a connection", |net| net.0[0].is_connected(talks))
            .await;
        for _ in 0..STOCK {
            timeout(PATIENCE, talker.feed(ping(0)))
                .await
                .unwrap()
                .unwrap();
        }
        net.0[1].send(2, 77);
        // Both sockets are known to have something.
        tokio::task::yield_now().await;
        net.until("a message", |net| net.0[0].heard_round(3, 77))
            .await;
        let before = net.0[0].heard.len();
        assert!(before < STOCK / 10, "{before} had their turn before");
    }
}
