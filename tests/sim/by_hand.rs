//! Clusters driven by hand: what each fault does, and what the onlooker sees.

use streamraft::sim::{Cluster, Conditions, Fault, Who};
use streamraft::{Command, Election, MessageKind, NodeType};

use crate::ms;

fn three() -> Cluster<Election<u64>> {
    Cluster::elections([1, 2, 3]).build(3).unwrap()
}

#[test]
fn a_good_network_has_a_leader_soon_and_keeps_it() {
    let mut cluster = three();
    let leader = cluster.settle(ms(400)).unwrap();
    let term = cluster.world().shown(&leader)[0].term;
    cluster.run(ms(60_000)).unwrap();
    let (holder, shown) = cluster.world().lease_holders().next().unwrap();
    assert_eq!((*holder, shown.term), (leader, term));
    assert_eq!(cluster.world().summary().elections, 1);
}

#[test]
fn a_paused_leader_shows_its_lease_until_its_own_clock_ends_it() {
    let mut cluster = three();
    let leader = cluster.settle(ms(400)).unwrap();
    let holds = |cluster: &Cluster<Election<u64>>| {
        let mut holders = cluster.world().lease_holders();
        holders.any(|(id, _)| *id == leader)
    };
    cluster.pause(&leader, ms(1_000));
    cluster.run(ms(90)).unwrap();
    assert!(holds(&cluster), "its application goes on reading it");
    cluster.run(ms(100)).unwrap();
    assert!(!holds(&cluster));
    let state = cluster.world().shown(&leader)[0].node_type;
    assert_eq!(state, NodeType::Leader, "it does not know yet");
    cluster.run(ms(300)).unwrap();
    assert_eq!(cluster.world().leaders().count(), 2, "another leads by now");
    cluster.run(ms(600)).unwrap();
    assert_eq!(cluster.world().leaders().count(), 1);
}

#[test]
fn a_one_way_cut_is_one_way() {
    let mut cluster = three();
    let leader = cluster.settle(ms(400)).unwrap();
    let follower = if leader == 1 { 2 } else { 1 };
    let start = cluster.world().now();
    cluster.cut(&leader, &follower);
    cluster.run(ms(300)).unwrap();
    let world = cluster.world();
    let arrived = |from, to| world.last_arrival(from, to).unwrap();
    assert!(arrived(&leader, &follower) < start + ms(10));
    assert!(
        arrived(&follower, &leader) > start + ms(100),
        "it asks for votes"
    );
    assert_eq!(world.connected_for(&leader, &follower), ms(0));
    assert!(world.connected_for(&follower, &leader) > ms(300));
}

#[test]
fn a_stalled_disk_keeps_what_depends_on_it_inside() {
    let mut cluster = three();
    cluster.settle(ms(400)).unwrap();
    let (voter, candidate) = (1, 2);
    let term = cluster.world().shown(&voter)[0].term;
    cluster.crash(&3).unwrap();
    cluster.run(ms(90)).unwrap();
    cluster.stall(&voter, ms(500));
    cluster.run(ms(300)).unwrap();
    let saved = cluster.world().saved(&voter).unwrap().as_ref().unwrap();
    let shown = cluster.world().shown(&candidate)[0].node_type;
    if cluster.world().is_writing(&voter) {
        assert_eq!(saved.term(), term, "nothing is on the disk yet");
        assert_ne!(shown, NodeType::Leader, "its vote has not left");
    }
    cluster.run(ms(1_500)).unwrap();
    assert!(!cluster.world().is_writing(&voter));
}

#[test]
fn what_was_saved_outlives_a_crash_and_what_was_wiped_does_not() {
    let mut cluster = three();
    let leader = cluster.settle(ms(400)).unwrap();
    let saved = cluster.world().saved(&leader).unwrap().clone();
    cluster.restart(&leader).unwrap();
    let restored = cluster
        .world()
        .node(&leader)
        .unwrap()
        .state()
        .hard_state()
        .clone();
    assert_eq!(Some(restored), saved);
    cluster.wipe(&leader).unwrap();
    assert_eq!(cluster.world().saved(&leader), Some(&None));
    assert_eq!(cluster.world().disks(&leader), 2);
    // Without a disk it belongs to nothing, until its leader tells it that it does.
    cluster.start(&leader).unwrap();
    assert_eq!(
        cluster.world().shown(&leader)[0].node_type,
        NodeType::Observer
    );
    cluster.settle(ms(2_000)).unwrap();
    cluster.run(ms(500)).unwrap();
    assert_eq!(
        cluster.world().shown(&leader)[0].node_type,
        NodeType::Follower
    );
}

#[test]
fn a_node_that_is_gone_is_replaced_by_a_spare() {
    let mut cluster = Cluster::elections([1, 2, 3]).spares([9]).build(1).unwrap();
    let leader = cluster.settle(ms(400)).unwrap();
    assert!(cluster.world().node(&9).is_none());
    cluster.apply(&Fault::LoseDisk(Who::Leader)).unwrap();
    assert!(cluster.world().is_gone(&leader) && cluster.world().node(&9).is_some());
    // Another one would leave no quorum of those that hold what was promised.
    let other = if leader == 1 { 2 } else { 1 };
    cluster.apply(&Fault::LoseDisk(Who::Node(other))).unwrap();
    assert!(!cluster.world().is_gone(&other));
    let mut nodes = vec![1, 2, 3, 9];
    nodes.retain(|id| *id != leader);
    let next = cluster.settle(ms(2_000)).unwrap();
    let taken = cluster
        .ask(&next, Command::SetNodes(nodes.clone()))
        .unwrap();
    assert_eq!(taken, Some(true));
    cluster.run(ms(2_000)).unwrap();
    assert_eq!(cluster.world().shown(&9)[0].membership.voters, nodes);
    cluster.recover().unwrap();
    assert!(cluster.world().node(&leader).is_none(), "gone is gone");
}

#[test]
fn clocks_run_at_their_own_rates() {
    let mut cluster = three();
    cluster.set_rate(&1, 50_000);
    cluster.set_rate(&2, -50_000);
    let at = |cluster: &Cluster<Election<u64>>, id| {
        let world = cluster.world();
        world.clock_at(&id, world.now()).unwrap()
    };
    let before = [1, 2, 3].map(|id| at(&cluster, id));
    cluster.run(ms(1_000)).unwrap();
    let passed = [0, 1, 2].map(|i| at(&cluster, i as u64 + 1) - before[i]);
    assert_eq!(passed, [ms(1_050), ms(950), ms(1_000)]);
    let time = cluster.world().time_when(&1, before[0] + ms(525)).unwrap();
    assert_eq!(time, ms(500));
}

#[test]
fn calls_on_nodes_that_do_not_run_do_nothing() {
    let mut cluster = three();
    cluster.crash(&1).unwrap();
    assert_eq!(cluster.ask(&1, Command::Resign).unwrap(), None);
    assert_eq!(cluster.ask(&7, Command::Resign).unwrap(), None);
    assert_eq!(cluster.call(&7, |_, _| ()).unwrap(), None);
    cluster.start(&7).unwrap();
    cluster.pause(&7, ms(5));
    cluster.cut(&7, &1);
    assert_eq!(cluster.world().well_for(&7), ms(0));
    assert!(cluster.world().shown(&1).is_empty());
}

#[test]
fn messages_are_lost_doubled_and_late_as_often_as_was_said() {
    let mut cluster = Cluster::elections([1, 2]).build(2).unwrap();
    cluster.settle(ms(400)).unwrap();
    let count = |cluster: &Cluster<Election<u64>>| cluster.world().summary().clone();
    let before = count(&cluster);
    cluster.set_conditions(Conditions::good().loss(250));
    cluster.run(ms(120_000)).unwrap();
    let after = count(&cluster);
    let share = (after.lost - before.lost) as f64 / (after.messages - before.messages) as f64;
    assert!((0.23..0.27).contains(&share), "{share}");
}

#[test]
fn a_chart_shows_arrows_states_and_losses() {
    let mut cluster = three();
    let leader = cluster.settle(ms(400)).unwrap();
    cluster.crash(&leader).unwrap();
    cluster.run(ms(20)).unwrap();
    cluster.set_conditions(Conditions::good().loss(1_000));
    cluster.run(ms(60)).unwrap();
    let chart = cluster.chart();
    println!("{chart}");
    for part in [
        "leader, term 1",
        "▶",
        "Ping, term 1",
        "(sent ",
        "crashes",
        "follower of",
    ] {
        assert!(chart.contains(part), "{part} is missing in\n{chart}");
    }
    cluster.run(ms(300)).unwrap();
    assert!(cluster.chart().contains("✗"), "{}", cluster.chart());
    assert!(cluster.chart().lines().count() <= 41);
}

/// A ping of an older leadership of the same node tells nothing of this one: the answer must not prolong a lease that
/// nobody has heard of.
#[test]
fn an_old_ping_prolongs_no_lease() {
    let mut cluster = three();
    let leader = cluster.settle(ms(400)).unwrap();
    let old = cluster.world().shown(&leader)[0].clone();
    // It leads again, in a newer term.
    cluster.restart(&leader).unwrap();
    cluster.run(ms(1)).unwrap();
    while cluster.world().lease_holders().all(|(id, _)| *id != leader) {
        let other = cluster.settle(ms(2_000)).unwrap();
        if other != leader {
            cluster.ask(&other, Command::Transfer(leader)).unwrap();
        }
        cluster.run(ms(50)).unwrap();
    }
    cluster.run(ms(100)).unwrap();
    cluster.isolate(&leader);
    cluster.run(ms(10)).unwrap();
    let lease = |cluster: &Cluster<Election<u64>>| cluster.world().shown(&leader)[0].lease.unwrap();
    let before = lease(&cluster);
    cluster.run(ms(100)).unwrap();
    // What it said when it led before was held up all the time. Whatever round it was of, none was heard since.
    cluster.mend();
    for other in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        cluster.cut(&leader, &other);
        for round in (0..400).map(|ms| ms * 1_000) {
            let kind = MessageKind::Ping {
                round,
                succession: None,
            };
            let ping = streamraft::Message::new(old.term, old.membership.stamp(), kind);
            cluster
                .call(&other, |node, now| {
                    let input = streamraft::Inbound::FromNode(leader, ping);
                    node.handle(now, input).unwrap();
                })
                .unwrap();
        }
    }
    cluster.run(ms(10)).unwrap();
    assert_eq!(lease(&cluster), before);
}
