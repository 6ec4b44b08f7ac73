//! A caller's own mistake is an error that says what was wrong; the node is as it was and stays usable.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{Sink, SinkExt, StreamExt};
use streamraft::{Command, Error, Inbound, NodeType};
use tokio::time::advance;

use crate::hand::{
    ELECTION, Kind, Node, candidate, crown, drain, follower, hear, leader, message, node, orders,
    ping, poll, sent, serve, willing,
};

/// What goes wrong and changes nothing: neither what the node is nor what waits in it.
fn refused(node: &mut Node, act: impl FnOnce(&mut Node) -> Result<(), Error>) -> Error {
    let (state, stats) = (node.state().clone(), *node.stats());
    let error = act(node).expect_err("a mistake");
    assert_eq!((node.state(), node.stats()), (&state, &stats), "{error}");
    assert_eq!(
        poll(node),
        Poll::Pending,
        "{error}: nothing comes out for it"
    );
    error
}

#[tokio::test(start_paused = true)]
async fn transfer_on_a_node_that_does_not_lead_names_who_does() {
    let mut node = follower();
    let error = refused(&mut node, |node| node.transfer(3));
    assert_eq!(
        error,
        Error::NotLeader {
            leader: Some("2".to_owned())
        }
    );
    assert_eq!(
        error.to_string(),
        "transfer: this node does not lead; 2 does"
    );

    let mut node = candidate().await;
    let error = refused(&mut node, |node| node.transfer(3));
    assert_eq!(error, Error::NotLeader { leader: None });
    crown(&mut node).await;
}

#[tokio::test(start_paused = true)]
async fn transfer_to_whom_leadership_cannot_go_is_refused_and_the_leader_leads_on() {
    let mut node = leader().await;
    assert_eq!(
        refused(&mut node, |node| node.transfer(1)),
        Error::TransferToSelf
    );
    let error = refused(&mut node, |node| node.transfer(9));
    assert_eq!(
        error,
        Error::TransferToNonVoter {
            node: "9".to_owned()
        }
    );
    assert!(node.is_leader());
    // By the sink as well.
    let error = refused(&mut node, |node| {
        Pin::new(node).start_send(Command::Transfer(9).into())
    });
    assert_eq!(
        error,
        Error::TransferToNonVoter {
            node: "9".to_owned()
        }
    );
    node.transfer(3)
        .expect("the mistakes before it are forgotten");
    assert_eq!(orders(&drain(&mut node)), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_second_transfer_is_refused_and_the_first_goes_on() {
    let mut node = leader().await;
    node.transfer(3).expect("it leads, and 3 votes");
    assert_eq!(orders(&drain(&mut node)), [3]);
    for to in [2, 3] {
        let error = refused(&mut node, |node| node.transfer(to));
        assert_eq!(error, Error::TransferRunning { to: "3".to_owned() });
    }
    assert_eq!(node.state().transferring_to(), Some(&3));
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_nobody_takes_ends_after_an_election_timeout_and_says_so() {
    let mut node = leader().await;
    let term = node.state().term();
    node.transfer(3).expect("it leads, and 3 votes");
    // Everybody answers its heartbeats; nobody does what it orders.
    for _ in 0..11 {
        serve(&mut node, |_, message| willing(message));
        advance(ELECTION / 10).await;
    }
    serve(&mut node, |_, message| willing(message));
    assert_eq!(node.state().transferring_to(), None);
    assert!(
        node.is_leader() && node.state().term() > term,
        "elected anew, so that the order is of an older term"
    );
    node.transfer(3).expect("another one can begin");
}

#[tokio::test(start_paused = true)]
async fn resign_and_mark_alive_on_a_node_that_they_do_not_concern_change_nothing() {
    for mut node in [follower(), candidate().await] {
        let state = node.state().clone();
        node.resign();
        assert_eq!((poll(&mut node), node.state()), (Poll::Pending, &state));
    }
    for mut node in [candidate().await, leader().await] {
        // What fell due while the other one was made.
        drain(&mut node);
        let state = node.state().clone();
        node.mark_alive();
        assert_eq!((poll(&mut node), node.state()), (Poll::Pending, &state));
    }
}

/// Every way to put something in that can tell whether it was taken.
fn all_inputs(node: &mut Node) -> Vec<(&'static str, Result<(), Error>)> {
    let told = Inbound::FromNode(2, message(node, 1, ping(0)));
    let ready = Pin::new(&mut *node).poll_ready(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(ready) = ready else {
        panic!("poll_ready is always ready")
    };
    let commands = [
        Command::Stop,
        Command::Resign,
        Command::MarkAlive,
        Command::SetNodes(vec![1]),
        Command::Transfer(2),
    ];
    let mut results = vec![
        ("poll_ready", ready),
        (
            "start_send(FromNode)",
            Pin::new(&mut *node).start_send(told),
        ),
        ("transfer", node.transfer(2)),
        ("set_nodes", node.set_nodes([1, 2])),
        ("force_nodes", node.force_nodes([1])),
    ];
    results.extend(commands.map(|command| {
        (
            "start_send(FromSelf)",
            Pin::new(&mut *node).start_send(command.into()),
        )
    }));
    results
}

#[tokio::test(start_paused = true)]
async fn anything_after_the_stop_is_an_error_and_changes_nothing() {
    for mut node in [node(1, 3), follower(), candidate().await, leader().await] {
        node.stop();
        let (state, stats) = (node.state().clone(), *node.stats());
        // Once while what has to leave still waits, and once after the end.
        for _ in 0..2 {
            for (name, result) in all_inputs(&mut node) {
                assert_eq!(result, Err(Error::Stopped), "{name}");
            }
            // These cannot tell, so they have no effect.
            hear(&mut node, 2, 9, ping(0));
            node.set_priority(1);
            node.mark_alive();
            node.resign();
            assert_eq!((node.state(), node.stats()), (&state, &stats));
            while node.next().await.is_some() {}
        }
        assert_eq!(node.send(Command::Resign.into()).await, Err(Error::Stopped));
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_nodes_that_no_cluster_can_have_is_refused() {
    let lists = [
        (vec![], Error::NoNodes),
        (
            vec![1, 2, 1],
            Error::DuplicateNode {
                node: "1".to_owned(),
            },
        ),
        ((0..1_025).collect(), Error::TooManyNodes { count: 1_025 }),
    ];
    for mut node in [follower(), candidate().await, leader().await] {
        // What fell due while the others were made.
        drain(&mut node);
        for (list, expected) in &lists {
            let set = refused(&mut node, |node| node.set_nodes(list.clone()));
            let sent = refused(&mut node, |node| {
                Pin::new(node).start_send(Command::SetNodes(list.clone()).into())
            });
            let forced = refused(&mut node, |node| node.force_nodes(list.clone()));
            assert_eq!([&set, &sent, &forced], [expected; 3]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_works_on_after_every_mistake() {
    let mut node = leader().await;
    for _ in 0..100 {
        node.transfer(1).expect_err("itself");
        node.transfer(9).expect_err("a stranger");
        let term = node.state().term();
        hear(&mut node, 9, term, Kind::TimeoutNow);
    }
    advance(ELECTION / 10).await;
    let items = serve(&mut node, |_, message| willing(message));
    assert_eq!(
        items.iter().filter_map(sent).count(),
        2,
        "a heartbeat as ever: {items:?}"
    );
    assert_eq!(
        (node.is_leader(), node.state().node_type()),
        (true, NodeType::Leader)
    );
}
