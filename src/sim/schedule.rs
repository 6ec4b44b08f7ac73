//! Draws the steps of a random run: nasty ones, and another mixture for every seed.

use std::time::Duration;

use super::builder::Builder;
use super::conditions::Conditions;
use super::dice::{Dice, nanos};
use super::fault::{Fault, Step, Who};
use super::machine::Machine;

/// The steps of a run.
pub(super) type Steps<M> = Vec<Step<<M as Machine>::Id, <M as Machine>::Input>>;

/// A sort of trouble.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Crash,
    LostDisk,
    Cut,
    Pause,
    Stall,
    Clock,
    Weather,
    Input,
}

struct Draw<'a, M: Machine> {
    builder: &'a Builder<M>,
    dice: Dice,
    steps: Steps<M>,
    /// Whoever can be named: all but the spares that wait.
    ids: Vec<M::Id>,
    spares: Vec<M::Id>,
}

/// The steps of this seed's run.
pub(super) fn draw<M: Machine>(builder: &Builder<M>, seed: u64) -> Steps<M> {
    let mut ids = builder.voters.clone();
    ids.extend(builder.joiners.iter().cloned());
    let mut draw = Draw {
        builder,
        dice: Dice::of(seed, [1, 0, 0]),
        steps: Vec::new(),
        ids,
        spares: builder.spares.clone(),
    };
    draw.beginning();
    let troubles = draw.mixture();
    let (least, most) = builder.faults.steps;
    let count = draw.dice.nanos_between(least, most);
    let hurry = draw.dice.pick(&[3, 30, 120]).copied().unwrap_or(30);
    for _ in 0..count {
        let Some(trouble) = draw.dice.pick(&troubles).copied() else {
            break;
        };
        let at = draw.steps.len();
        draw.trouble(trouble);
        let gap = draw.gap(hurry);
        if let Some(first) = draw.steps.get_mut(at) {
            first.after = gap;
        }
    }
    draw.steps
}

impl<M: Machine> Draw<'_, M> {
    fn add(&mut self, fault: Fault<M::Id, M::Input>) {
        self.steps.push(Step {
            after: Duration::ZERO,
            fault,
        });
    }

    /// The clocks, and the network that a run begins with.
    fn beginning(&mut self) {
        if self.builder.faults.clocks {
            for id in self.builder.ids() {
                self.clock(Who::Node(id));
            }
        }
        if self.builder.faults.conditions {
            self.add_weather();
        }
    }

    /// Each sort of trouble as often as this run draws it, if at all.
    fn mixture(&mut self) -> Vec<Trouble> {
        let faults = self.builder.faults;
        let sorts = [
            (Trouble::Crash, faults.crashes),
            (
                Trouble::LostDisk,
                faults.lost_disks && !self.spares.is_empty(),
            ),
            (Trouble::Cut, faults.cuts),
            (Trouble::Cut, faults.cuts),
            (Trouble::Pause, faults.pauses),
            (Trouble::Stall, faults.stalls),
            (Trouble::Clock, faults.clocks),
            (Trouble::Weather, faults.conditions),
            (Trouble::Input, faults.inputs),
            (Trouble::Input, faults.inputs),
        ];
        let mut mixture = Vec::new();
        for (trouble, is_wanted) in sorts {
            let often = self.dice.pick(&[0, 1, 2, 4]).copied().unwrap_or(0);
            let often = if is_wanted { often } else { 0 };
            mixture.extend(std::iter::repeat_n(trouble, often));
        }
        mixture
    }

    /// The time until the next step: often nearly none, sometimes more than a campaign.
    fn gap(&mut self, hurry: u64) -> Duration {
        let timeout = nanos(self.builder.timing.election_timeout);
        let percent = match self.dice.up_to(3) {
            0 => 2,
            1 => hurry,
            _ => 60,
        };
        let most = (timeout / 100).saturating_mul(percent);
        Duration::from_nanos(self.dice.nanos_between(0, most))
    }

    fn span(&mut self, most_percent: u64) -> Duration {
        let timeout = nanos(self.builder.timing.election_timeout);
        let most = (timeout / 100).saturating_mul(most_percent);
        Duration::from_nanos(self.dice.nanos_between(0, most))
    }

    fn someone(&mut self) -> Who<M::Id> {
        match self.dice.pick(&self.ids) {
            Some(id) => Who::Node(id.clone()),
            None => Who::Leader,
        }
    }

    /// The leader as often as all others together.
    fn anyone(&mut self) -> Who<M::Id> {
        if self.dice.chance(500) {
            Who::Leader
        } else {
            self.someone()
        }
    }

    fn trouble(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Crash => self.crash(),
            Trouble::LostDisk => self.lose_disk(),
            Trouble::Cut => self.cut(),
            Trouble::Pause => self.pause(),
            Trouble::Stall => {
                let (who, time) = (self.anyone(), self.span(200));
                self.add(Fault::Stall(who, time));
            }
            Trouble::Clock => {
                let who = self.someone();
                self.clock(who);
            }
            Trouble::Weather => self.add_weather(),
            Trouble::Input => self.input(),
        }
    }

    fn crash(&mut self) {
        let who = self.anyone();
        match self.dice.up_to(8) {
            0 | 1 => self.add(Fault::Crash(who)),
            2 => {
                self.add(Fault::Crash(who));
                let other = self.someone();
                self.add(Fault::Crash(other));
            }
            3 | 4 => self.add(Fault::Restart(who)),
            5 | 6 => {
                // A rack that loses its power for a moment, while the leader goes on.
                for id in self.ids.clone() {
                    if self.dice.chance(600) {
                        self.add(Fault::Restart(Who::Node(id)));
                    }
                }
            }
            _ => self.add(Fault::StartAll),
        }
    }

    fn lose_disk(&mut self) {
        let Some(spare) = self.spares.pop() else {
            return;
        };
        let who = self.someone();
        self.add(Fault::LoseDisk(who));
        self.ids.push(spare);
    }

    fn cut(&mut self) {
        let (one, other) = (self.anyone(), self.someone());
        match self.dice.up_to(13) {
            0 | 1 => self.add(Fault::Cut(one, other)),
            2 => self.add(Fault::Cut(other, one)),
            3 | 4 => self.add(Fault::Part(one, other)),
            5 => self.add(Fault::Mute(one)),
            6 => self.add(Fault::Deafen(one)),
            7 => self.add(Fault::Isolate(one)),
            8 | 9 => {
                let ids = self.ids.clone();
                let side = ids.into_iter().filter(|_| self.dice.chance(500)).collect();
                self.add(Fault::Mend);
                self.add(Fault::Split(side));
            }
            _ => self.add(Fault::Mend),
        }
    }

    fn pause(&mut self) {
        let (who, time) = (self.anyone(), self.span(400));
        if self.dice.chance(300) {
            // What it has said last is lost, too: the others are on their own at once.
            self.add(Fault::Mute(who.clone()));
        }
        self.add(Fault::Pause(who, time));
    }

    /// One of two is as fast or as slow as the bound allows.
    fn clock(&mut self, who: Who<M::Id>) {
        let most = self.builder.timing.most_ppm();
        let wide = u64::from(most.unsigned_abs()) * 2;
        let ppm = match self.dice.up_to(3) {
            0 => -most,
            1 => most,
            _ => i32::try_from(self.dice.up_to(wide)).unwrap_or(0) - most,
        };
        self.add(Fault::Rate(who, ppm));
    }

    fn add_weather(&mut self) {
        let weather = Conditions::random(&mut self.dice, &self.builder.timing);
        self.add(Fault::Conditions(weather));
    }

    fn input(&mut self) {
        let Some(input) = self.builder.random_input(&mut self.dice, &self.ids) else {
            return;
        };
        let who = match self.dice.up_to(9) {
            0..=4 => Who::Leader,
            5..=7 => self.someone(),
            _ => Who::All,
        };
        self.add(Fault::Ask(who, input));
    }
}
