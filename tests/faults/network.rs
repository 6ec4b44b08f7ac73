//! The network among the members: who speaks through a proxy, and what its faults are.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use super::Failure;
use super::plan::{Fault, Kind, Plan};
use super::proxy::{Counts, Way, Weather};
use super::sandbox;

pub(crate) const NODES: u8 = 5;

/// Where every member listens.
pub(crate) const PORT: u16 = 7000;

/// Who does not hear from which addresses.
pub(crate) type Cut = Vec<(u8, Vec<Ipv4Addr>)>;

pub(crate) struct Network {
    ways: BTreeMap<(u8, u8), Way>,
    pub(crate) counts: Arc<Counts>,
}

impl Network {
    /// Lays the cables and starts the proxies.
    pub(crate) fn new(plan: &mut Plan) -> Result<Self, Failure> {
        let pairs: Vec<_> = (1..=NODES)
            .flat_map(|i| (i + 1..=NODES).map(move |j| (i, j)))
            .filter(|pair| is_proxied(*pair))
            .collect();
        let addresses = pairs.iter().flat_map(|(i, j)| [via(*i, *j), via(*j, *i)]);
        sandbox::network(NODES, &addresses.collect::<Vec<_>>())?;
        let counts = Arc::new(Counts::default());
        let ways = pairs
            .into_iter()
            .map(|pair| (pair, Way::new(plan.seed(), &counts)))
            .collect();
        run_proxies(&ways)?;
        Ok(Self { ways, counts })
    }

    /// Drops packets, each where it arrives.
    pub(crate) fn cut(fault: &Fault) -> Result<Cut, Failure> {
        let (victim, others) = (fault.victim, &fault.others);
        let apart = |group: &[u8]| {
            let rest = (1..=NODES).filter(|node| !group.contains(node));
            let pairs = rest.flat_map(|i| group.iter().map(move |j| (i, *j)));
            pairs.flat_map(|(i, j)| [(i, j), (j, i)]).collect()
        };
        // (who does not hear, whom)
        let deaf: Vec<(u8, u8)> = match fault.kind {
            Kind::Split => apart(&[victim, others[0]]),
            Kind::Isolate => apart(&[victim]),
            Kind::Deaf => others.iter().map(|other| (victim, *other)).collect(),
            Kind::Mute => others.iter().map(|other| (*other, victim)).collect(),
            Kind::Link => vec![(victim, others[0]), (others[0], victim)],
            _ => vec![(others[0], victim)],
        };
        let mut rules = BTreeMap::<u8, Vec<Ipv4Addr>>::new();
        for (to, from) in deaf {
            let sources = if is_proxied((to, from)) {
                vec![via(to, from), via(from, to)]
            } else {
                vec![sandbox::address(from)]
            };
            rules.entry(to).or_default().extend(sources);
        }
        for (node, from) in &rules {
            sandbox::drop_from(*node, from, true)?;
        }
        Ok(rules.into_iter().collect())
    }

    /// Makes bad weather between the victim and others, or, if the chance of the order says so, everywhere.
    pub(crate) fn blow(&self, fault: &Fault) -> Vec<(u8, u8)> {
        let everywhere = fault.others[0] > fault.others[1];
        let pairs = self.ways.keys().copied();
        let pairs: Vec<_> = pairs
            .filter(|(i, j)| everywhere || *i == fault.victim || *j == fault.victim)
            .collect();
        let long = fault.time / 8;
        for pair in &pairs {
            self.ways[pair].change(|weather| match fault.kind {
                Kind::Delay => weather.delay = long,
                Kind::Reorder => weather.scatter = long,
                Kind::Duplicate => weather.twice = 50,
                _ => weather.lost = 40,
            });
        }
        pairs
    }

    /// Lets packets pass again.
    pub(crate) fn mend(cut: Cut) -> Result<(), Failure> {
        for (node, from) in cut {
            sandbox::drop_from(node, &from, false)?;
        }
        Ok(())
    }

    /// Ends bad weather of one kind.
    pub(crate) fn calm(&self, kind: Kind, pairs: &[(u8, u8)]) {
        let calm = Weather::default();
        for pair in pairs {
            self.ways[pair].change(|weather| match kind {
                Kind::Delay => weather.delay = calm.delay,
                Kind::Reorder => weather.scatter = calm.scatter,
                Kind::Duplicate => weather.twice = calm.twice,
                _ => weather.lost = calm.lost,
            });
        }
    }
}

/// Six of the ten pairs of nodes speak through a proxy, the others with each other.
fn is_proxied((i, j): (u8, u8)) -> bool {
    (i + j) % 2 == 1
}

/// The address of the proxy between two nodes for what the first one dials.
fn via(from: u8, to: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, from, to)
}

/// The address by which a member reaches another.
pub(crate) fn reached_at(from: u8, to: u8) -> Ipv4Addr {
    if is_proxied((from, to)) {
        via(from, to)
    } else {
        sandbox::address(to)
    }
}

/// In a thread, for as long as the process lives.
fn run_proxies(ways: &BTreeMap<(u8, u8), Way>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ways = ways.clone();
    thread::spawn(move || {
        let runs = ways.into_iter().flat_map(|((i, j), way)| {
            let to = |node| SocketAddr::from((sandbox::address(node), PORT));
            let other = way.clone();
            [way.run(via(i, j), to(j), 0), other.run(via(j, i), to(i), 1)]
        });
        let failed = runtime.block_on(futures::future::try_join_all(runs));
        eprintln!("the proxies have failed: {failed:?}");
        std::process::exit(1);
    });
    Ok(())
}
