//! Three machines that share groups, in logical time: what passes between them arrives at once.

use std::time::{Duration, Instant};

use streamraft::{Config, Elections, Inbound, MessageKind, MsgRouter, NodeType};

pub const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
const MACHINES: u64 = 3;

pub struct Machines {
    pub now: Instant,
    machines: Vec<Option<Elections<u64, u64>>>,
    /// Beats, their answers not counted.
    pub beats: u64,
    pub messages: u64,
    /// By group: who was seen to be elected last, and in which term.
    pub led: Vec<(u64, u64)>,
}

fn config(id: u64) -> Config<u64> {
    let config = Config::with_id(id, 1..=MACHINES).expect("good settings");
    config.election_timeout(ELECTION_TIMEOUT)
}

impl Machines {
    /// All have just started, and each is to lead a third of the groups.
    pub fn new(groups: u64) -> Self {
        let now = Instant::now();
        let machine = |id| {
            let mut elections = Elections::new(&config(id), id << 32).expect("good settings");
            for group in 0..groups {
                let leads = group % MACHINES + 1 == id;
                let config = config(id).seed(group).leader_priority(u64::from(leads));
                elections.insert(now, group, config).expect("good settings");
            }
            Some(elections)
        };
        Self {
            now,
            machines: (1..=MACHINES).map(machine).collect(),
            beats: 0,
            messages: 0,
            led: vec![(0, 0); groups as usize],
        }
    }

    /// The same, ten seconds later: at rest.
    pub fn at_rest(groups: u64) -> Self {
        let mut machines = Self::new(groups);
        machines.run(Duration::from_secs(10));
        assert!(machines.led.iter().all(|(leader, _)| *leader > 0));
        machines
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let all = self.machines.iter().flatten();
            let next = all.filter_map(Elections::poll_timeout).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            for elections in self.machines.iter_mut().flatten() {
                if elections.poll_timeout().is_some_and(|at| at <= self.now) {
                    elections.handle_timeout(self.now);
                }
            }
            self.deliver();
        }
    }

    /// Hands everything over until nobody has anything more to say.
    fn deliver(&mut self) {
        let mut is_quiet = false;
        while !is_quiet {
            is_quiet = true;
            for at in 0..self.machines.len() {
                while let Some((group, output)) =
                    self.machines[at].as_mut().and_then(Elections::poll_output)
                {
                    is_quiet = false;
                    self.pass(at as u64 + 1, group, output);
                }
            }
        }
    }

    fn pass(&mut self, from: u64, group: u64, output: MsgRouter<u64>) {
        match output {
            MsgRouter::ToSelf(state) if state.node_type() == NodeType::Leader => {
                self.led[group as usize] = (from, state.term());
            }
            MsgRouter::ToNode(to, message) => {
                self.messages += 1;
                self.beats += u64::from(matches!(message.kind, MessageKind::Beat(_)));
                if let Some(elections) = &mut self.machines[to as usize - 1] {
                    let input = Inbound::FromNode(from, message);
                    elections.handle(self.now, &group, input).expect("it runs");
                }
            }
            _ => {}
        }
    }

    /// This machine is gone. Which groups it led.
    pub fn kill(&mut self, id: u64) -> Vec<usize> {
        self.machines[id as usize - 1] = None;
        let led = self.led.iter().enumerate();
        led.filter(|(_, (leader, _))| *leader == id)
            .map(|(group, _)| group)
            .collect()
    }

    /// The leaders of so many groups hand over to another.
    pub fn stir(&mut self, groups: u64) {
        for group in 0..groups {
            let (leader, _) = self.led[group as usize];
            let resign = streamraft::Command::Resign.into();
            if let Some(elections) = &mut self.machines[leader as usize - 1] {
                elections.handle(self.now, &group, resign).expect("it runs");
            }
        }
        self.deliver();
    }
}
