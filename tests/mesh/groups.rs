//! Many elections over meshes of three machines, all on real sockets.

use std::collections::BTreeMap;

use futures::stream::FuturesUnordered;
use streamraft::{Groups, GroupsOver, NodeType};

use crate::net::*;

type OfGroup = (u64, Message<u64>);
type Machine = GroupsOver<u64, u64, Mesh<u64, OfGroup>>;

const GROUPS: u64 = 300;

fn machines() -> Vec<Machine> {
    let mut meshes: Vec<Mesh<u64, OfGroup>> = (1..=3)
        .map(|id| {
            let builder = Mesh::builder(Hello::new(CLUSTER, id)).listen(any_port());
            builder.carrying::<OfGroup>().build().unwrap()
        })
        .collect();
    let addresses: BTreeMap<u64, SocketAddr> = (1..)
        .zip(meshes.iter().map(|mesh| mesh.local_addr().unwrap()))
        .collect();
    for (id, mesh) in (1..).zip(&mut meshes) {
        for (peer, address) in addresses.iter().filter(|(peer, _)| **peer != id) {
            mesh.insert_peer(*peer, *address);
        }
    }
    let machine = |(id, mesh)| {
        let config = Config::with_id(id, 1..=3).unwrap().cluster(CLUSTER);
        let mut groups = Groups::new(&config).unwrap();
        for group in 0..GROUPS {
            let leads = group % 3 + 1 == id;
            let config = config.clone().leader_priority(leads.into());
            groups.insert(group, config).unwrap();
        }
        groups.over(mesh)
    };
    (1..).zip(meshes).map(machine).collect()
}

/// Polls all until every group has a leader of which this is true, as it says itself.
async fn until(
    machines: &mut [Machine],
    led: &mut BTreeMap<u64, (u64, u64)>,
    is_so: impl Fn(u64, (u64, u64)) -> bool,
) {
    let all = async {
        while (0..GROUPS).any(|group| led.get(&group).is_none_or(|led| !is_so(group, *led))) {
            let mut next: FuturesUnordered<_> = machines
                .iter_mut()
                .map(|machine| async {
                    let id = *machine.get_ref().node_id();
                    (id, machine.next().await)
                })
                .collect();
            let Some((id, Some(Ok((group, state))))) = next.next().await else {
                panic!("a mesh mends by itself what breaks");
            };
            if state.node_type() == NodeType::Leader && state.lease().is_some() {
                let before = led.insert(group, (id, state.term()));
                assert!(before.is_none_or(|(_, term)| term <= state.term()));
            }
        }
    };
    timeout(PATIENCE * 2, all).await.expect("in time");
}

#[tokio::test]
async fn groups_over_meshes_are_led_and_led_again_when_a_machine_dies() {
    let mut machines = machines();
    let mut led = BTreeMap::new();
    // Each machine leads a third.
    until(&mut machines, &mut led, |group, (id, _)| {
        group % 3 + 1 == id
    })
    .await;
    drop(machines.remove(0));
    let before = led.clone();
    let is_led_again = |group: u64, (id, term): (u64, u64)| {
        let (leader, was) = before[&group];
        leader != 1 || (id != 1 && term > was)
    };
    until(&mut machines, &mut led, is_led_again).await;
    for machine in &machines {
        let stats = machine.get_ref().stats();
        assert_eq!((stats.unknown_groups, stats.malformed), (0, 0));
    }
}
