//! Three machines in one process that share some thousand groups, of which one dies. `cargo run --example groups`.
//!
//! Each machine is one value, which its owner polls; what comes out of one goes into another. Between two machines there
//! is one beat an interval, however many groups they share. Another number of them can be given: `-- 500`.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::StreamExt;
use streamraft::{Config, Groups, MsgRouter, NodeId};

const MACHINES: [&str; 3] = ["a", "b", "c"];

/// So many items of one machine, then it is another's turn.
const MOST_AT_ONCE: usize = 1_000;

/// Nothing here takes as long on a machine that keeps up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fleet {
    machines: BTreeMap<NodeId, Groups<u32>>,
    /// Who leads each group, as its state says.
    led: HashMap<u32, NodeId>,
    messages: u64,
}

impl Fleet {
    fn new(groups: u32) -> Result<Self, Box<dyn std::error::Error>> {
        let mut machines = BTreeMap::new();
        for (at, me) in (0..).zip(MACHINES) {
            // What all groups have in common: the id, the cluster and the durations.
            let config = Config::new(me, MACHINES)?.cluster("shards").bootstrap();
            let mut machine = Groups::new(&config)?;
            for group in 0..groups {
                // A third of them is rather led here than elsewhere.
                let priority = u64::from(group % 3 == at);
                machine.insert(group, config.clone().leader_priority(priority))?;
            }
            machines.insert(me.parse()?, machine);
        }
        Ok(Self {
            machines,
            led: HashMap::new(),
            messages: 0,
        })
    }

    /// Polls every machine in turn and passes on what it says. What is told to one that was polled already wakes this task.
    fn poll(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<NodeId> = self.machines.keys().cloned().collect();
        for me in &ids {
            let mut taken = 0;
            while taken < MOST_AT_ONCE
                && let Some((group, output)) = self.take(me, cx)
            {
                self.pass_on(me, group, output);
                taken += 1;
            }
            if taken == MOST_AT_ONCE {
                // It has more to say, and did not wait.
                cx.waker().wake_by_ref();
            }
        }
    }

    fn take(&mut self, me: &NodeId, cx: &mut Context<'_>) -> Option<(u32, MsgRouter)> {
        match self.machines.get_mut(me)?.poll_next_unpin(cx) {
            Poll::Ready(item) => item,
            Poll::Pending => None,
        }
    }

    fn pass_on(&mut self, me: &NodeId, group: u32, output: MsgRouter) {
        match output {
            // Whoever must survive a restart saves `state.hard_state()` here, before it sends what comes after.
            MsgRouter::ToSelf(state) if state.lease().is_some() => {
                self.led.insert(group, me.clone());
            }
            MsgRouter::ToSelf(_) if self.led.get(&group) == Some(me) => {
                self.led.remove(&group);
            }
            MsgRouter::ToNode(to, message) => {
                self.messages += 1;
                if let Some(machine) = self.machines.get_mut(&to) {
                    machine.on_receive(&group, me.clone(), message);
                }
            }
            _ => {}
        }
    }

    /// Goes on until this holds. How long that took.
    async fn until(&mut self, holds: impl Fn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        poll_fn(|cx| {
            self.poll(cx);
            if holds(self) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        begun.elapsed()
    }

    /// Goes on for so long. How many messages that took.
    async fn run(&mut self, time: Duration) -> u64 {
        let before = self.messages;
        let _ = tokio::time::timeout(time, self.until(|_| false)).await;
        self.messages - before
    }

    fn led_by(&self, me: &str) -> usize {
        self.led
            .values()
            .filter(|leader| leader.as_str() == me)
            .count()
    }
}

async fn story(groups: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut fleet = Fleet::new(groups)?;
    let all = |fleet: &Fleet| fleet.led.len() == groups as usize;

    let took = fleet.until(all).await;
    println!("{groups} groups on three machines: all are led after {took:.2?}");

    let evenly = |fleet: &Fleet| {
        MACHINES
            .iter()
            .all(|me| fleet.led_by(me) >= groups as usize / 3)
    };
    let took = fleet.until(|fleet| all(fleet) && evenly(fleet)).await;
    println!("each machine leads the third that it is preferred for, {took:.2?} later");

    fleet.run(Duration::from_secs(1)).await;
    let seconds = 3;
    let messages = fleet.run(Duration::from_secs(seconds)).await / seconds;
    let alone = 4 * 10 * u64::from(groups);
    println!("at rest: {messages} messages a second; single nodes would send {alone}");

    let dead = "c";
    let lost = fleet.led_by(dead);
    fleet.machines.remove(dead);
    fleet.led.retain(|_, leader| leader.as_str() != dead);
    let before = fleet.messages;
    let took = fleet.until(all).await;
    let messages = fleet.messages - before;
    println!("{dead} dies, and {lost} groups have no leader");
    println!("all are led again after {took:.2?} and {messages} messages");
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let groups = match std::env::args().nth(1) {
        Some(groups) => groups.parse()?,
        None => 2_000,
    };
    tokio::time::timeout(PATIENCE, story(groups))
        .await
        .map_err(|_| format!("{groups} groups are too many for this machine as it is"))?
}
