//! What an owner can do wrong: refused in words that name the field, the value and the rule, and nothing has changed.

use std::time::Duration;

use futures::{FutureExt, SinkExt};
use streamraft::{Command, Config, ConfigError, Elections, Error, Groups};

use crate::hand::{Core, ELECTION, Machine, busy, config, config_of, drain, ms};
use crate::world::{World, now};

/// A value that the common settings do not have, and what is said of it.
type Differing = (fn(Config<u64>) -> Config<u64>, &'static str);

const DIFFERING: [Differing; 6] = [
    (|config| config.cluster("bills"), "cluster: another name: "),
    (
        |config| config.election_timeout(2 * ELECTION),
        "election_timeout: 2s: ",
    ),
    (
        |config| config.random_timeout(ms(301)),
        "random_timeout: 301ms: ",
    ),
    (
        |config| config.heartbeat_interval(ms(101)),
        "heartbeat_interval: 101ms: ",
    ),
    (
        |config| config.leadership_timeout(ms(999)),
        "leadership_timeout: 999ms: ",
    ),
    (
        |config| config.max_clock_drift(0.2),
        "max_clock_drift (as the lease): 800ms: ",
    ),
];

/// Refuses this group, and gives the words.
fn refused(machine: &mut Machine, key: u64, config: Config<u64>) -> String {
    let before: Core = machine.get_ref().clone();
    let error = machine.insert(key, config).expect_err("it must be refused");
    assert!(*machine.get_ref() == before, "{error}: nothing has changed");
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_share_links_with_the_others_says_which_setting_differs() {
    let mut machine = busy();
    for (differ, field) in DIFFERING {
        let words = refused(&mut machine, 9, differ(config(1, 3)));
        println!("{words}");
        let rule =
            "it must be the same in all groups of one machine, as it was given to Groups::new (";
        assert!(words.starts_with(&format!("{field}{rule}")), "{words}");
    }
    let words = refused(&mut machine, 9, config(2, 3));
    assert!(words.starts_with("node_id: "), "{words}");
    let taken = refused(&mut machine, 7, config(1, 3));
    assert_eq!(taken, "group 7: there is one of this key already");
    // What single nodes refuse is refused in the same words.
    let bad = config(1, 3).heartbeat_interval(Duration::ZERO);
    let words = refused(&mut machine, 9, bad.clone());
    assert_eq!(
        Some(words),
        bad.check().err().map(|error| error.to_string())
    );
    machine
        .insert(9, config_of(1, [1, 5, 6]).leader_priority(3).seed(1))
        .expect("these may differ");
    machine.stop();
    let words = refused(&mut machine, 10, config(1, 3));
    assert_eq!(
        words,
        "the groups were stopped: none can be inserted any more"
    );
}

#[test]
fn settings_that_no_node_can_work_with_make_no_groups() {
    let bad = config(1, 3).heartbeat_interval(2 * ELECTION);
    let expected = bad.check().expect_err("longer than the election timeout");
    assert_eq!(Groups::<u64, u64>::new(&bad).err(), Some(expected.clone()));
    assert_eq!(Elections::<u64, u64>::new(&bad, 1).err(), Some(expected));
    let error: Box<dyn std::error::Error> = Box::new(ConfigError::GroupsStopped);
    assert!(error.source().is_none());
}

/// A command that cannot be carried out, and what is said of it.
type Refused = (&'static str, u64, Command<u64>, &'static str);

#[tokio::test(start_paused = true)]
async fn commands_that_cannot_be_carried_out_say_why_and_change_nothing() {
    let cases: [Refused; 6] = [
        (
            "no such group",
            99,
            Command::Resign,
            "group 99: this machine takes no part in it",
        ),
        (
            "twice",
            8,
            Command::SetNodes(vec![1, 1, 2]),
            "set_nodes: 1 stands twice",
        ),
        ("nobody", 8, Command::SetNodes(vec![]), "set_nodes: "),
        ("not leading", 7, Command::Transfer(2), "transfer: "),
        ("to itself", 8, Command::Transfer(1), "transfer: "),
        ("to a stranger", 8, Command::Transfer(5), "transfer: "),
    ];
    for (what, key, command, words) in cases {
        let mut machine = busy();
        let before = machine.get_ref().clone();
        let error = machine
            .send((key, command.into()))
            .now_or_never()
            .expect("ready")
            .expect_err(what);
        println!("{what}: {error}");
        assert!(error.to_string().starts_with(words), "{what}: {error}");
        assert!(*machine.get_ref() == before, "{what}: nothing has changed");
        assert_eq!(drain(&mut machine), [], "{what}");
    }
    let mut machine = busy();
    let unknown = Error::UnknownGroup {
        group: "99".to_owned(),
    };
    assert_eq!(machine.set_nodes(&99, [1]), Err(unknown.clone()));
    assert_eq!(machine.transfer(&99, 2), Err(unknown));
    assert_eq!(
        (
            machine.remove(&99),
            machine.state(&99),
            machine.is_leader(&99)
        ),
        (None, None, false)
    );
}

#[tokio::test(start_paused = true)]
async fn mistakes_do_not_disturb_groups_at_rest() {
    let mut world = World::with(3, 0..9);
    world.rest(0..9).await;
    world.spoke.clear();
    for _ in 0..10 {
        for id in 1..=3 {
            let machine = world.machine(id);
            assert!(machine.insert(4, config(id, 3)).is_err());
            assert!(machine.insert(9, config(id, 3).cluster("bills")).is_err());
            assert!(machine.set_nodes(&4, [1, 1]).is_err());
            assert!(machine.transfer(&4, 77).is_err());
        }
        world.run(ELECTION / 3).await;
        assert_eq!(world.led(now(), 0..9), 9);
    }
    assert!(world.spoke.is_empty(), "{:?}", world.spoke);
}
