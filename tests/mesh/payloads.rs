//! Meshes that carry something else than a node's messages.

use serde::{Deserialize, Serialize};
use streamraft::codec::{Decode, Encode, Reader, Wire, Writer, greet_as};
use streamraft::{Payload, Queue, Queued, Slot};

use crate::net::*;

type OfGroup = (u64, Message<u64>);

/// Of a log: its entries, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Append {
    index: u64,
    entry: Vec<u8>,
}

impl Queued for Append {
    const MAX_COUNT: usize = 8;

    fn slot(&self) -> Option<Slot> {
        None
    }

    fn size(&self) -> usize {
        self.entry.len()
    }
}

impl Payload for Append {
    type Waiting = Queue<Self>;
}

impl Encode for Append {
    fn encode(&self, to: &mut Writer<'_>) -> Result<(), CodecError> {
        to.value(self)
    }
}

impl Decode for Append {
    fn decode(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.value()
    }
}

impl Wire for Append {
    const NAME: &'static str = "appends";
}

fn append(index: u64, len: usize) -> Append {
    let entry = vec![index.to_le_bytes()[0]; len];
    Append { index, entry }
}

fn carrying<M: Wire>(id: u64) -> Mesh<u64, M> {
    let builder = builder(id).carrying::<M>().max_frame_len(2 << 20);
    builder.accept_strangers(1).build().unwrap()
}

/// Two of which the first dials the second. If both dialled, what is sent on the first connection could be lost with
/// it, when the second replaces it.
fn two<M: Wire, N: Wire>() -> (Mesh<u64, M>, Mesh<u64, N>) {
    let (mut here, there) = (carrying::<M>(1), carrying::<N>(2));
    here.insert_peer(2, there.local_addr().unwrap());
    (here, there)
}

/// What comes to `there`, as long as it is wanted.
async fn heard<M: Wire + Debug>(
    here: &mut Mesh<u64, M>,
    there: &mut Mesh<u64, M>,
    count: usize,
) -> Vec<M> {
    let both = poll_fn(|cx| {
        assert!(
            here.poll_next_unpin(cx).is_pending(),
            "nobody says anything"
        );
        there.poll_next_unpin(cx)
    });
    let heard = futures::stream::unfold(both, |mut both| async {
        let (from, message) = (&mut both).await?.unwrap();
        assert_eq!(from, 1);
        Some((message, both))
    });
    let heard = timeout(PATIENCE, heard.take(count).collect()).await;
    heard.expect("all of it comes")
}

#[tokio::test]
async fn messages_of_many_groups_go_over_one_connection() {
    const GROUPS: u64 = 10_000;
    let (mut here, mut there) = two::<OfGroup, OfGroup>();
    // As long as there is no connection, the newest of each group wait.
    for round in [1, 2] {
        for group in 0..GROUPS {
            here.feed((2, (group, ping(round)))).await.unwrap();
        }
    }
    let expected: Vec<OfGroup> = (0..GROUPS).map(|group| (group, ping(2))).collect();
    assert_eq!(heard(&mut here, &mut there, expected.len()).await, expected);
    assert_eq!((here.stats().connected, there.stats().connected), (1, 1));
    assert_eq!(here.hello().payload, "groups");
}

#[tokio::test]
async fn a_payload_that_must_keep_its_order_keeps_it_and_waits_up_to_its_bound() {
    let (mut here, mut there) = two::<Append, Append>();
    for index in 0..20 {
        here.send((2, append(index, 10))).await.unwrap();
    }
    let expected: Vec<Append> = (0..8).map(|index| append(index, 10)).collect();
    assert_eq!(heard(&mut here, &mut there, 8).await, expected);
    // Many times what the sockets take at once.
    for index in 0..8 {
        here.send((2, append(index, 1 << 20))).await.unwrap();
    }
    let expected: Vec<Append> = (0..4).map(|index| append(index, 1 << 20)).collect();
    assert_eq!(heard(&mut here, &mut there, 4).await, expected);
    assert_eq!(here.stats().not_sent, 0);
}

#[tokio::test]
async fn a_mesh_of_another_payload_is_refused_on_both_sides_and_counted() {
    let (mut groups, mut plain) = two::<OfGroup, Message<u64>>();
    let both = poll_fn(|cx| {
        let (_, _) = (groups.poll_next_unpin(cx), plain.poll_next_unpin(cx));
        let refused = groups
            .stats()
            .foreign_payload
            .min(plain.stats().foreign_payload);
        if refused >= 2 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    timeout(PATIENCE, both).await.expect("both refuse");
    for stats in [groups.stats(), plain.stats()] {
        assert_eq!((stats.connected, stats.garbage), (0, 0), "{stats:?}");
        assert!(stats.refused() >= stats.foreign_payload, "{stats:?}");
    }
}

#[tokio::test]
async fn a_peer_by_hand_is_told_what_a_mesh_carries() {
    let mut mesh = carrying::<Append>(1);
    let socket = TcpStream::connect(mesh.local_addr().unwrap())
        .await
        .unwrap();
    let hello = Hello::new(CLUSTER, 2_u64);
    let error = tokio::select! {
        greeted = greet_as::<OfGroup, _, _>(socket, &hello) => greeted.unwrap_err(),
        item = mesh.next() => panic!("{item:?}"),
    };
    assert_eq!(
        error.to_string(),
        "the peer carries \"appends\", this node \"groups\": one of them has a wrong address or an older program"
    );
}

/// What was said last before the end is heard, of every payload.
#[tokio::test]
async fn what_waits_is_sent_before_it_closes() {
    let (mut here, mut there) = two::<Append, Append>();
    here.send((2, append(0, 1))).await.unwrap();
    assert_eq!(heard(&mut here, &mut there, 1).await, [append(0, 1)]);
    for index in 1..=5 {
        here.feed((2, append(index, 1000))).await.unwrap();
    }
    let (closed, heard) = tokio::join!(here.close(), async {
        let five = there
            .by_ref()
            .filter_map(|item| async { item.ok() })
            .take(5);
        let five: Vec<_> = timeout(PATIENCE, five.collect()).await.unwrap();
        drop(there);
        five
    });
    closed.unwrap();
    let expected: Vec<_> = (1..=5).map(|index| (1, append(index, 1000))).collect();
    assert_eq!(heard, expected);
}

#[test]
fn a_hello_with_the_payload_must_fit_too() {
    let hello = || Hello::new("x".repeat(1015), 1_u64);
    assert!(Mesh::builder(hello()).build().is_ok());
    let error = Mesh::builder(hello()).carrying::<OfGroup>().build();
    assert!(
        matches!(error, Err(MeshBuildError::Hello { .. })),
        "{error:?}"
    );
}
