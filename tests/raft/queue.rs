//! What clients propose waits for room, in bytes: in its turn, until whoever waits has gone, and the room comes back whatever becomes of
//! a proposal.

use std::pin::Pin;
use std::task::Poll;

use futures::StreamExt;
use streamraft::raft::{Applied, ClientError, LogLimits, ProposeError};

use crate::ms;
use crate::node::Group;

type Proposing = Pin<Box<dyn Future<Output = Result<u64, ClientError<u64>>>>>;

/// Room for two proposals of 1,000 bytes.
fn limits() -> LogLimits {
    LogLimits::default()
        .proposal(1_000)
        .window(2_128)
        .unsettled(2_128)
}

fn proposals(group: &Group, node: u64, count: u8) -> Vec<Proposing> {
    let client = group.client(node);
    let propose = |number| -> Proposing {
        let client = client.clone();
        Box::pin(async move { client.propose(vec![number; 1_000]).await })
    };
    (0..count).map(propose).collect()
}

/// Those that are done after a while, by their numbers.
async fn settle(
    group: &mut Group,
    proposals: &mut Vec<(u8, Proposing)>,
) -> Vec<(u8, Result<u64, ClientError<u64>>)> {
    let mut done = Vec::new();
    for _ in 0..4 {
        group.run(ms(5)).await;
        let mut waiting = Vec::new();
        for (number, mut proposal) in proposals.drain(..) {
            match futures::poll!(&mut proposal) {
                Poll::Ready(result) => done.push((number, result)),
                Poll::Pending => waiting.push((number, proposal)),
            }
        }
        *proposals = waiting;
    }
    done
}

fn numbered(proposals: Vec<Proposing>) -> Vec<(u8, Proposing)> {
    (0..).zip(proposals).collect()
}

#[tokio::test(start_paused = true)]
async fn what_waits_takes_its_turn_and_who_has_gone_leaves_it_to_the_next() {
    let mut group = Group::new(3, limits());
    let mut applied = group.nodes.get_mut(&1).unwrap().applied(0);
    group.run(ms(100)).await;
    let mut waiting = numbered(proposals(&group, 1, 6));
    assert_eq!(settle(&mut group, &mut waiting).await, [], "nobody applies");
    let last = group.nodes[&1].log().last().index;
    assert_eq!(last, 3, "the blank entry and two");
    // The third does not wait any more, and neither do the fifth and the first: that one is in the log.
    waiting.retain(|(number, _)| ![0, 2, 4].contains(number));
    assert_eq!(settle(&mut group, &mut waiting).await, []);
    assert_eq!(
        group.nodes[&1].log().last().index,
        3,
        "what is in the log takes its room until it is applied"
    );
    let applying = async {
        let mut seen = Vec::new();
        while seen.len() < 4 {
            match applied.next().await {
                Some(Applied::Entry(entry)) => seen.push(entry.data[0]),
                other => panic!("{other:?}"),
            }
        }
        seen
    };
    let all = futures::future::join_all(waiting.into_iter().map(|(_, proposal)| proposal));
    let both = async {
        let (seen, ()) = tokio::join!(applying, async {
            // The last of them waits until the stream is asked for more, or is gone.
            let _ = tokio::time::timeout(ms(50), all).await;
        });
        seen
    };
    assert_eq!(group.until(both).await, [0, 1, 3, 5]);
}

#[tokio::test(start_paused = true)]
async fn the_room_comes_back_when_the_outcome_stays_unknown() {
    let mut group = Group::new(3, limits());
    group.run(ms(100)).await;
    group.deaf = Some(1);
    let mut waiting = numbered(proposals(&group, 1, 4));
    assert_eq!(settle(&mut group, &mut waiting).await, []);
    assert_eq!(
        group.nodes[&1].log().last().index,
        3,
        "the blank entry and two"
    );
    // It hears nobody, and gives leadership up.
    group.run(ms(1_000)).await;
    let mut done = settle(&mut group, &mut waiting).await;
    done.sort_by_key(|(number, _)| *number);
    let unknown = |result: &Result<u64, _>| matches!(result, Err(ClientError::Unknown { .. }));
    let not_taken = ClientError::NotTaken(ProposeError::NotLeader { leader: None });
    assert!(
        done[..2].iter().all(|(_, result)| unknown(result)),
        "{done:?}"
    );
    assert!(
        done[2..]
            .iter()
            .all(|(_, result)| *result == Err(not_taken.clone())),
        "they had room then, and were not taken: {done:?}"
    );
    assert_eq!(done.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_room_of_those_who_have_gone_comes_back_when_the_entry_is_committed() {
    let mut group = Group::new(3, limits());
    group.run(ms(100)).await;
    group.deaf = Some(1);
    let mut waiting = numbered(proposals(&group, 1, 4));
    assert_eq!(settle(&mut group, &mut waiting).await, []);
    waiting.drain(..2);
    assert_eq!(settle(&mut group, &mut waiting).await, []);
    assert_eq!(
        group.nodes[&1].log().last().index,
        3,
        "their entries are there, and take their room"
    );
    group.deaf = None;
    // It asks with its next heartbeat.
    group.run(ms(50)).await;
    let done = settle(&mut group, &mut waiting).await;
    assert_eq!(done, [(2, Ok(4)), (3, Ok(5))]);
}
