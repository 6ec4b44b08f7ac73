//! Two endpoints on loopback.

use futures::SinkExt;
use streamraft::{Membership, MessageKind, Stamp};

use super::*;

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_goes_by_a_stream_and_silence_does_not_end_a_connection()
{
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let [a, b, c] = nodes().unwrap();
    let authority = authority().unwrap();
    let endpoint = |id| endpoint(anywhere, name(id, CLUSTER), &authority, &authority).unwrap();
    let (at_a, at_b) = (endpoint(&a), endpoint(&b));
    let address = at_b.local_addr().unwrap();
    let accepted = async { accept(at_b.accept().await.unwrap(), vec![c.clone(), a.clone()]).await };
    let (at_a, at_b) = tokio::join!(dial(at_a.clone(), address, b.clone()), accepted);
    let (mut at_a, mut at_b) = (
        at_a.unwrap_or_else(|e| panic!("{e}")),
        at_b.unwrap_or_else(|e| panic!("{e}")),
    );
    assert_eq!((&at_a.peer, &at_b.peer), (&b, &a));

    let short = Message::new(7, Stamp::new(7, 1), MessageKind::TimeoutNow);
    let voters = (0..300).map(|i| NodeId::new(format!("node-{i:03}")).unwrap());
    let long = short
        .clone()
        .with_membership(Arc::new(Membership::initial(voters)));
    assert!(bytes::encode(long.clone()).unwrap().len() > 2000);
    for message in [short.clone(), long, short] {
        at_a.to_peer.send(message.clone()).await.unwrap();
        let heard = timeout(GREETING_LIMIT, at_b.from_peer.next())
            .await
            .unwrap();
        assert_eq!(heard.unwrap().unwrap(), message);
        sleep(SILENCE * 3 / 2).await;
    }
}
