//! What travels on a connection, and silence.

use crate::net::*;

#[tokio::test]
async fn a_frame_that_is_none_ends_its_connection_and_is_told() {
    let too_long = 65_537_u32.to_be_bytes().to_vec();
    let malformed = [&4_u32.to_be_bytes()[..], b"\x10abc"].concat();
    let version = [&4_u32.to_be_bytes()[..], b"\x20abc"].concat();
    let truncated = vec![0, 0, 0, 9, 16];
    let tell: [fn(&CodecError) -> bool; 4] = [
        |error| matches!(error, CodecError::FrameTooLong { len: 65_537, .. }),
        |error| matches!(error, CodecError::Malformed { .. }),
        |error| matches!(error, CodecError::Version { found: 0x20 }),
        |error| matches!(error, CodecError::Truncated { .. }),
    ];
    let mut net = Net::of([builder(1)]);
    net.0[0].mesh.insert_peer(2, "127.0.0.1:1");
    let addr = net.0[0].addr();
    for (bytes, tells) in [too_long, malformed, version, truncated]
        .into_iter()
        .zip(tell)
    {
        let mut fake = net.during("a handshake", fake(2, addr)).await.into_inner();
        fake.write_all(&bytes).await.unwrap();
        fake.shutdown().await.unwrap();
        net.until("the error", |net| !net.0[0].errors.is_empty())
            .await;
        let errors = std::mem::take(&mut net.0[0].errors);
        assert!(
            matches!(&errors[..], [MeshError::Broken { peer: 2, source }] if tells(source)),
            "{errors:?}"
        );
        assert!(!net.0[0].is_connected(2));
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_told_and_the_connection_stays() {
    let mut net = Net::of([builder(1).max_frame_len(20), builder(2)]);
    net.until("a connection", Net::all_connected).await;
    let long = Message::new(u64::MAX, Stamp::new(1, u64::MAX), MessageKind::TimeoutNow);
    let sent = net.0[0].mesh.send((2, long)).now_or_never();
    assert_eq!(sent, Some(Ok(())));
    net.until("the error", |net| !net.0[0].errors.is_empty())
        .await;
    let errors = &net.0[0].errors;
    assert!(
        matches!(
            &errors[..],
            [MeshError::NotSent {
                peer: 2,
                source: CodecError::FrameTooLong { .. }
            }]
        ),
        "{errors:?}"
    );
    assert_eq!(net.0[0].mesh.stats().not_sent, 1);
    net.pass(0, 1, 3).await;
}

#[tokio::test]
async fn peers_without_messages_stay_connected_and_silent_ones_do_not() {
    let mut net = Net::of([1, 2].map(|id| builder(id).idle_timeout(SHORT)));
    net.until("a connection", Net::all_connected).await;
    net.0[0].mesh.insert_peer(3, "127.0.0.1:1");
    let addr = net.0[0].addr();
    for round in 0..4 {
        let _silent = net.during("a handshake", fake(3, addr)).await;
        net.until("the loss", |net| net.0[0].errors.len() > round)
            .await;
    }
    for error in &net.0[0].errors {
        assert!(
            matches!(error, MeshError::Silent { peer: 3, .. }),
            "{error:?}"
        );
    }
    assert!(net.all_connected() || net.0[0].is_connected(2));
    assert!(net.0[1].errors.is_empty(), "{:?}", net.0[1].errors);
}

#[tokio::test]
async fn silence_while_nobody_listens_is_no_ones_fault() {
    let mut net = Net::of([1, 2].map(|id| builder(id).idle_timeout(SHORT)));
    net.until("a connection", Net::all_connected).await;
    std::thread::sleep(SHORT * 2);
    net.pass(0, 1, 1).await;
    net.pass(1, 0, 1).await;
    assert!(net.0.iter().all(|site| site.errors.is_empty()));
}
