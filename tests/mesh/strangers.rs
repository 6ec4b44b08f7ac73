//! Whoever connects without being welcome: refused within limits and counted, the cluster undisturbed.

use crate::net::*;

/// What a stranger says, and which counter tells.
#[tokio::test]
async fn strangers_are_refused_and_counted() {
    let mut net = Net::cluster([1, 2, 3], |builder| builder.handshake_timeout(SHORT));
    net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    })
    .await;
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let (addr, me) = (net.0[at].addr(), net.0[at].id());

    let mut old = Hello::new(CLUSTER, 9);
    old.version = 0x20;
    let whole = hello_bytes(Hello::new(CLUSTER, 9));
    let half = whole[..whole.len() / 2].to_vec();
    type Count = fn(&streamraft::MeshStats) -> u64;
    let strangers: [(&str, Vec<u8>, bool, Count); 9] = [
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec(), false, |stats| {
            stats.garbage
        }),
        ("noise", vec![0xff; 4096], false, |stats| stats.garbage),
        ("half a hello", half.clone(), true, |stats| stats.broken_off),
        ("not a word", Vec::new(), true, |stats| stats.broken_off),
        ("half a hello, then silence", half, false, |stats| {
            stats.timed_out
        }),
        (
            "another cluster",
            hello_bytes(Hello::new("bills", 9)),
            false,
            |stats| stats.foreign_cluster,
        ),
        ("another version", hello_bytes(old), false, |stats| {
            stats.version
        }),
        (
            "the own id",
            hello_bytes(Hello::new(CLUSTER, me)),
            false,
            |stats| stats.own_id,
        ),
        ("an id that is not known", whole, false, |stats| {
            stats.strangers
        }),
    ];
    for (what, bytes, closes, count) in strangers {
        let before = *net.0[at].mesh.stats();
        let mut socket = net.during(what, TcpStream::connect(addr)).await.unwrap();
        net.during(what, socket.write_all(&bytes)).await.unwrap();
        if closes {
            net.during(what, socket.shutdown()).await.unwrap();
        }
        net.until(what, |net| {
            count(net.0[at].mesh.stats()) == count(&before) + 1
        })
        .await;
        assert_eq!(
            net.0[at].mesh.stats().refused(),
            before.refused() + 1,
            "{what}"
        );
    }
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}

#[tokio::test]
async fn a_stranger_that_says_one_byte_after_the_other_is_cut_off_in_time() {
    let mut net = Net::of([builder(1).handshake_timeout(SHORT)]);
    let addr = net.0[0].addr();
    let slow = async {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        let began = Instant::now();
        for byte in hello_bytes(Hello::new(CLUSTER, 9)).into_iter().cycle() {
            if socket.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
        began.elapsed()
    };
    // The hello is 18 bytes long, so it would take two times as long as it may.
    let lasted = net.during("the end", slow).await;
    assert!(lasted >= SHORT, "{lasted:?}");
    assert_eq!(net.0[0].mesh.stats().timed_out, 1);
}

#[tokio::test]
async fn a_stranger_that_claims_a_taken_id_does_not_keep_it() {
    let mut net = Net::cluster([1, 2, 3], |builder| builder.handshake_timeout(SHORT));
    net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    })
    .await;
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let addr = net.0[at].addr();
    let id = net
        .0
        .iter()
        .map(Site::id)
        .find(|id| Some(*id) != leader)
        .unwrap();
    for _ in 0..5 {
        let mut claimant = net.during("a handshake", fake(id, addr)).await;
        // Gone, as soon as it is refused or the real one has dialled again.
        while !net.during("the end", is_closed(&mut claimant)).await {}
        net.until("the real one", Net::all_connected).await;
    }
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
}

#[tokio::test]
async fn strangers_are_accepted_as_far_as_there_is_room() {
    let mut net = Net::of([builder(1).accept_strangers(2)]);
    let addr = net.0[0].addr();
    let mut first = net.during("a handshake", fake(11, addr)).await;
    let second = net.during("a handshake", fake(12, addr)).await;
    net.until("both", |net| net.0[0].mesh.connected().count() == 2)
        .await;
    let mut third = net.during("a handshake", fake(13, addr)).await;
    assert!(net.during("the refusal", is_closed(&mut third)).await);
    assert_eq!(net.0[0].mesh.stats().strangers, 1);
    assert_eq!(net.0[0].mesh.peers().count(), 0);
    // It is heard and answered.
    first.send(ping(5)).await.unwrap();
    net.until("a message", |net| net.0[0].heard_round(11, 5))
        .await;
    net.0[0].send(11, 6);
    let answer = net.during("an answer", first.next()).await;
    assert_eq!(answer.unwrap().unwrap(), ping(6));
    // One that goes leaves room, and what is sent to it is counted.
    drop(second);
    net.until("the loss", |net| net.0[0].mesh.stats().lost == 1)
        .await;
    net.0[0].send(12, 0);
    assert_eq!(net.0[0].mesh.stats().unroutable, 1);
    let _third = net.during("a handshake", fake(13, addr)).await;
    net.until("the third", |net| net.0[0].is_connected(13))
        .await;
}

#[test]
fn ten_thousand_connections_leave_leader_and_memory_as_they_were() {
    const BATCH: usize = 100;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut net = Net::cluster([1, 2, 3], |builder| builder.max_pending(8));
    runtime.block_on(net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    }));
    let (leader, term) = (net.leader(), net.term());
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let addr = net.0[at].addr();
    let hello = hello_bytes(Hello::new("bills", 9));
    let says = [&b""[..], b"GET /", &hello[..hello.len() / 2], &hello];

    let come = |net: &mut Net, batches: usize| {
        allocation_counter::measure(|| {
            for _ in 0..batches {
                let accepted = net.0[at].mesh.stats().accepted + BATCH as u64;
                let sockets: Vec<_> = (0..BATCH)
                    .map(|number| {
                        let mut socket = std::net::TcpStream::connect(addr).unwrap();
                        socket.write_all(says[number % says.len()]).unwrap();
                        socket
                    })
                    .collect();
                runtime.block_on(net.until("all to be accepted", |net| {
                    net.0[at].mesh.stats().accepted == accepted
                }));
                drop(sockets);
            }
        })
    };
    let first = come(&mut net, 10);
    let rest = come(&mut net, 90);
    let stats = *net.0[at].mesh.stats();
    // 8 that say nothing wait, at 16 KiB each; beside them there is what nodes and peers always take.
    assert!(rest.bytes_max < 200_000, "{rest:?} after {first:?}");
    assert!(rest.bytes_current < 20_000, "{rest:?} after {first:?}");
    assert!(stats.refused() >= 10_000 - 8, "{stats:?}");
    for count in [stats.too_many, stats.garbage, stats.foreign_cluster] {
        assert!(count > 1_000, "{stats:?}");
    }
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}

#[tokio::test]
async fn a_peer_that_comes_back_gets_in_through_a_crowd_that_keeps_silent() {
    let mut net = Net::cluster([1, 2, 3], |builder| {
        builder.max_pending(8).handshake_timeout(PATIENCE)
    });
    net.until("a leader", |net| {
        net.leader().is_some() && net.all_connected()
    })
    .await;
    let (leader, term) = (net.leader(), net.term());
    let follower = net.0.iter().position(|site| !site.is_leader()).unwrap();
    let mut back = net.0.remove(follower);
    let at = net.0.iter().position(Site::is_leader).unwrap();
    let addr = net.0[at].addr();
    for _ in 0..5 {
        // They say a byte now and then, or nothing, and never let go by themselves.
        let mut crowd = Vec::new();
        for number in 0..40 {
            let mut socket = net
                .during("a stranger", TcpStream::connect(addr))
                .await
                .unwrap();
            if number % 2 == 0 {
                socket.write_all(&[0]).await.unwrap();
            }
            crowd.push(socket);
        }
        let id = back.id();
        drop(back.mesh);
        net.until("the loss", |net| !net.0[at].is_connected(id))
            .await;
        let mut builder = builder(id);
        for site in &net.0 {
            builder = builder.peer(site.id(), site.addr());
        }
        back.mesh = builder.build().unwrap();
        let again = back.addr();
        for site in &mut net.0 {
            site.mesh.insert_peer(id, "127.0.0.1:1"); // it has to come by itself
        }
        net.0.push(back);
        net.until("the peer", Net::all_connected).await;
        back = net.0.pop().unwrap();
        assert_eq!(back.addr(), again);
    }
    let stats = net.0[at].mesh.stats();
    assert!(stats.too_many >= 5 * (40 - 8), "{stats:?}");
    assert_eq!((net.leader(), net.term()), (leader, term), "undisturbed");
}

#[tokio::test]
async fn of_those_that_keep_silent_the_oldest_gives_way() {
    let mut net = Net::of([builder(1).max_pending(8).handshake_timeout(PATIENCE)]);
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    let addr = net.0[0].addr();
    let mut silent = Vec::new();
    let mut peer = None;
    // Eight that are older than the peer, and seven that come before it speaks.
    for number in 1..=16 {
        let socket = net.during("TCP", TcpStream::connect(addr)).await.unwrap();
        net.until("all to be accepted", |net| {
            net.0[0].mesh.stats().accepted == number
        })
        .await;
        if number == 9 {
            peer = Some(socket);
        } else {
            silent.push(socket);
        }
    }
    assert_eq!(net.0[0].mesh.stats().too_many, 8);
    let hello = Hello::new(CLUSTER, 2_u64);
    let greeting = greet(peer.unwrap(), &hello);
    net.during("a handshake", greeting).await.unwrap();
    net.until("the peer", |net| net.0[0].mesh.stats().connected == 1)
        .await;
}
